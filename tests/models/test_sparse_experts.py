"""Experts evaluated at their own points only, beside all experts at all points."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models import moe, moe_losses
from models.choices import Mixing, Routing
from models.moe import MixtureOfExperts
from models.sparse_experts import evaluate_chosen
from tests.models.small import mixture_of_experts


def outputs_and_gradients(
    model: MixtureOfExperts, x: Tensor, labels: Tensor, *, dense: bool, monkeypatch: Any
) -> list[Tensor]:
    with monkeypatch.context() as patch:
        if dense:
            patch.setattr(moe, "evaluate_chosen", lambda experts, x, chosen: experts(x))
            patch.setattr(moe, "SparseMixture", moe.Mixture)
        torch.manual_seed(3)  # of the routing's noise
        model.zero_grad()
        x = x.clone().requires_grad_()
        logits = model.mix(x).combine(model.mixing)
    moe_losses.cross_entropy(logits, labels).sum().backward()
    gradients = [parameter.grad for parameter in (x, *model.parameters())]
    return [logits, *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("stack", [(), (3,)])
@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
@pytest.mark.parametrize(
    ("routing", "top_k"), [("top_k", 1), ("top_k", 2), ("noisy_top_k", 2), ("expert_choice", 2)]
)
def test_outputs_and_gradients_are_those_of_all_experts_masked(
    routing: Routing,
    top_k: int,
    mixing: Mixing,
    num_classes: int,
    stack: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(
        6,
        expert_hidden=7,
        routing=routing,
        top_k=top_k,
        mixing=mixing,
        num_classes=num_classes,
        stack=stack,
    ).train()
    x, labels = torch.randn(40, 2), torch.randint(num_classes, (40,))
    target = labels.float() if num_classes == 2 else labels
    sparse, dense = (
        outputs_and_gradients(model, x, target, dense=dense, monkeypatch=monkeypatch)
        for dense in (False, True)
    )
    assert len(sparse) == 2 + len(list(model.parameters()))
    for one, other in zip(sparse, dense, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_each_expert_sees_its_own_points_and_no_more_than_the_busiest_has() -> None:
    x = torch.arange(6.0).unsqueeze(1)
    chosen = torch.tensor([[1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    seen: list[Tensor] = []

    def experts(points: Tensor) -> Tensor:
        seen.append(points.squeeze(-1))
        return 10 * points.mT  # (K, 1, N)

    outputs = evaluate_chosen(experts, x, chosen)
    assert seen[0].shape == (3, 3)
    assert set(seen[0][0].tolist()) == {0, 2, 5}
    assert 1 in seen[0][1]
    assert torch.equal(outputs.squeeze(1)[chosen], torch.tensor([0.0, 20, 50, 10]))


def test_the_exported_model_evaluates_as_training_does() -> None:
    """torch.export takes the dense form, whose shapes do not depend on the data."""
    torch.manual_seed(0)
    model = mixture_of_experts(6, expert_hidden=7, top_k=2, num_classes=5)
    x = torch.randn(40, 2)
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: batch},)).module()
    trained = model.train()(x)
    torch.testing.assert_close(exported(x), trained, rtol=0, atol=1e-5)
    torch.testing.assert_close(exported(x[:3]), trained[:3], rtol=0, atol=1e-5)


def test_merging_the_idle_experts_leaves_the_mixture_as_it_is() -> None:
    """Also where points have different numbers of experts, none or all of them."""
    torch.manual_seed(0)
    chosen = torch.tensor([[1, 0, 1, 0, 1], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]).bool()
    gate_logits, logits = torch.randn(3, 5), torch.randn(4, 3, 5)
    for several in (False, True):
        expert_logits = logits if several else logits[0]
        dense = moe.Mixture(gate_logits, chosen, expert_logits)
        sparse = moe.SparseMixture(gate_logits, chosen, expert_logits)
        for mixing in ("logits", "probabilities"):
            torch.testing.assert_close(sparse.combine(mixing), dense.combine(mixing))
        torch.testing.assert_close(sparse.gate, dense.gate)

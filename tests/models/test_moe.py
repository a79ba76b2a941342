"""The mixture against arithmetic written out by hand, one point and one expert at a time."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models import moe_losses, stacked
from models.choices import Mixing
from models.moe import Mixture, MixtureOfExperts
from models.stacked import MLP
from tests.models.small import mixture_of_experts

VARIANTS: list[dict[str, Any]] = [
    {"mixing": mixing, "gate_hidden": hidden, "top_k": top_k}
    for mixing, hidden, top_k in itertools.product(("logits", "probabilities"), (0, 5), (0, 1, 2))
]


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@torch.no_grad()
def by_hand(model: MixtureOfExperts, x: Tensor, mixing: Mixing, top_k: int) -> Tensor:
    """P(class 1) of each point, with Python loops and double precision."""
    gate: Any = model.gate.scores.layers
    experts = model.experts
    last: Any
    result = []
    for point in x.double():
        hidden = point
        if isinstance(gate, torch.nn.Sequential):
            hidden = torch.tanh(gate[0].weight.double() @ point + gate[0].bias.double())
            last = gate[2]
        else:
            last = gate
        scores = [
            float(w.double() @ hidden + b.double()) / model.temperature
            for w, b in zip(last.weight, last.bias, strict=True)
        ]
        keep = sorted(range(len(scores)), key=lambda k: -scores[k])[: top_k or len(scores)]
        total = sum(map(math.exp, scores))
        outputs = [
            model.temperature * float(w.double() @ point + b.double())
            for w, b in zip(experts.weight, experts.bias, strict=True)
        ]
        outputs = [output if k in keep else 0.0 for k, output in enumerate(outputs)]
        weighted = [(math.exp(z) / total, f) for z, f in zip(scores, outputs, strict=True)]
        if mixing == "logits":
            result.append(sigma(sum(g * f for g, f in weighted)))
        else:
            result.append(sum(g * sigma(f) for g, f in weighted))
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_equals_the_sum_written_out(variant: dict[str, Any], temperature: float) -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(4, temperature=temperature, **variant).double().eval()
    x = 3 * torch.randn(20, 2).double()
    expected = by_hand(model, x, variant["mixing"], variant["top_k"])
    torch.testing.assert_close(model(x).sigmoid().detach(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
def test_a_stack_is_so_many_separate_models(mixing: Mixing) -> None:
    torch.manual_seed(0)
    stack = mixture_of_experts(3, mixing=mixing, gate_hidden=4, stack=(5,))
    x = torch.randn(7, 2)
    assert stack(x).shape == (5, 7)
    for i in range(5):
        one = mixture_of_experts(3, mixing=mixing, gate_hidden=4)
        one.load_state_dict(stacked.select_from_stack(stack.state_dict(), i))
        torch.testing.assert_close(stack(x)[i], one(x))


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_exactly_k_experts_have_a_weight_which_is_that_of_the_softmax_over_all(top_k: int) -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(4, top_k=top_k, routing_noise=1.0)
    for mode in (model.train(), model.eval()):
        mixture = mode.mix(torch.randn(50, 2))
        torch.testing.assert_close(mixture.gate.sum(-2), torch.ones(50))
        assert ((mixture.weights > 0).sum(-2) == top_k).all()
        chosen = mixture.weights > 0
        torch.testing.assert_close(mixture.weights[chosen], mixture.gate[chosen])


LOSSES: dict[str, Callable[[MixtureOfExperts, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda model, x, labels: moe_losses.cross_entropy(model(x), labels),
    "competitive": lambda model, x, labels: moe_losses.competitive_loss(model.mix(x), labels),
    "balance": lambda model, x, labels: moe_losses.switch_loss(model.mix(x), model.gate.top_k),
    "z": lambda model, x, labels: moe_losses.z_loss(model.mix(x).gate_logits),
}


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
@pytest.mark.parametrize("top_k", [0, 1, 2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_moves_the_gate_of_every_routing(loss: str, top_k: int, mixing: Mixing) -> None:
    """The gradient of each weight of the gate is that of finite differences, and not zero."""
    torch.manual_seed(0)
    model = mixture_of_experts(3, mixing=mixing, top_k=top_k, bias_update_rate=0.1).double()
    x, labels = torch.randn(20, 2).double(), torch.randint(2, (20,)).double()
    model.train()(x)  # with selection biases that are not zero
    model.eval()
    value = LOSSES[loss]
    value(model, x, labels).backward()
    for parameter in model.gate.parameters():
        expected = torch.zeros_like(parameter)
        for index in range(parameter.numel()):
            either = []
            for step in (1e-6, -1e-6):
                parameter.data.flatten()[index] += step
                either.append(value(model, x, labels).item())
                parameter.data.flatten()[index] -= step
            expected.flatten()[index] = (either[0] - either[1]) / 2e-6
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-8)
        assert (expected.abs() > 1e-6).all()


def test_noise_is_of_training_only() -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(4, top_k=1, routing_noise=2.0)
    x = torch.randn(50, 2)
    assert torch.equal(model.eval()(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_stable_where_probabilities_vanish() -> None:
    """The logit of a mixture of two certain experts stays finite, and so does its gradient."""
    model = mixture_of_experts(2, mixing="probabilities")
    x = torch.tensor([[1e4, -1e4]])
    logit = model(x)
    logit.sum().backward()
    assert logit.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_competitive_loss_is_written_out_and_equals_cross_entropy_of_mixed_probabilities() -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(3, mixing="probabilities").double()
    x, labels = torch.randn(30, 2).double(), torch.randint(2, (30,)).double()
    mixture = model.mix(x)
    p = mixture.expert_logits.sigmoid()
    likelihood = torch.where(labels == 1, p, 1 - p)
    expected = -(mixture.gate * likelihood).sum(-2).log().mean()
    competitive = moe_losses.competitive_loss(mixture, labels)
    torch.testing.assert_close(competitive, expected)
    torch.testing.assert_close(competitive, moe_losses.cross_entropy(model(x), labels))
    mixed = moe_losses.cross_entropy(mixture.combine("logits"), labels)
    assert (competitive - mixed).abs() > 1e-3


def test_the_cross_entropy_of_two_classes_is_torchs() -> None:
    logits, labels = torch.randn(40), torch.randint(2, (40,)).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(moe_losses.cross_entropy(logits, labels), expected)


@pytest.mark.parametrize("top_k", [0, 1, 2])
def test_balance_loss_is_one_in_balance_and_highest_where_one_expert_takes_all(top_k: int) -> None:
    num_experts, width = 4, max(top_k, 1)
    balanced = torch.zeros(num_experts, 8)
    for i in range(8):
        for j in range(width):
            balanced[(i + j) % num_experts, i] = 1
    torch.testing.assert_close(moe_losses.switch_loss(routed(balanced), top_k), torch.tensor(1.0))
    collapsed = torch.zeros(num_experts, 8)
    collapsed[:width] = 1
    expected = torch.tensor(num_experts / width)
    torch.testing.assert_close(moe_losses.switch_loss(routed(collapsed), top_k), expected)


def routed(chosen: Tensor) -> Mixture:
    """Return a mixture of a gate that is certain of the experts chosen, (K, B) 0 or 1."""
    return Mixture(99 * chosen, chosen > 0, torch.zeros_like(chosen))


def test_balance_loss_is_written_out() -> None:
    """Two points, three experts, one of them chosen for both: K sum_k f_k P_k by hand."""
    gate = torch.tensor([[0.5, 0.6], [0.3, 0.1], [0.2, 0.3]])
    chosen = torch.tensor([[True, True], [False, False], [False, False]])
    mixture = Mixture(gate.log(), chosen, torch.zeros(3, 2))
    torch.testing.assert_close(moe_losses.switch_loss(mixture, 1), torch.tensor(3 * 0.55))
    chosen = torch.tensor([[True, True], [True, False], [False, True]])
    mixture = Mixture(gate.log(), chosen, torch.zeros(3, 2))
    expected = 3 * (0.5 * 0.55 + 0.25 * 0.2 + 0.25 * 0.25)
    torch.testing.assert_close(moe_losses.switch_loss(mixture, 2), torch.tensor(expected))


def test_routing_to_all_experts_is_weighing_all_of_them() -> None:
    gate = torch.tensor([[0.9, 0.8], [0.1, 0.2]])
    mixture = Mixture(gate.log(), torch.ones(2, 2) > 0, torch.zeros(2, 2))
    for top_k in (0, 2):
        assert moe_losses.expert_load(mixture, top_k).tolist() == [1, 0]


def test_balance_loss_pushes_the_gate_towards_the_idle_expert() -> None:
    logits = torch.tensor([[2.0, 2.0], [0.0, 0.0]], requires_grad=True)
    for top_k, chosen in ((0, torch.ones(2, 2)), (1, torch.tensor([[1, 1], [0, 0]]))):
        logits.grad = None
        moe_losses.switch_loss(Mixture(logits, chosen > 0, torch.zeros(2, 2)), top_k).backward()
        assert logits.grad is not None
        assert (logits.grad[0] > 0).all()
        assert (logits.grad[1] < 0).all()


def test_small_terms_against_their_formulas() -> None:
    logits = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    expected = (math.log(2) ** 2 + math.log(math.e + 1 / math.e) ** 2) / 2
    torch.testing.assert_close(moe_losses.z_loss(logits.T), torch.tensor(expected))
    gate = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    torch.testing.assert_close(moe_losses.gate_entropy(gate.T), torch.tensor(math.log(2) / 2))
    load = torch.tensor([0.5, 0.25, 0.25])
    expected = torch.tensor([0.5, 0.25, 0.25]).numpy().std() * 3
    torch.testing.assert_close(moe_losses.coefficient_of_variation(load).item(), float(expected))


def test_loss_free_bias_evens_out_the_load() -> None:
    torch.manual_seed(1)
    model = mixture_of_experts(4, top_k=1, bias_update_rate=0.01)
    x = torch.randn(400, 2)
    before = moe_losses.expert_load(model.eval().mix(x), 1).max()
    model.train()
    for _ in range(300):
        model(x)
    after = moe_losses.expert_load(model.eval().mix(x), 1).max()
    assert before > 0.4
    assert after < 0.3


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(3, **variant)
    mixture = model.mix(torch.randn(64, 2))
    labels = torch.randint(2, (64,)).float()
    moe_losses.cross_entropy(mixture.combine(variant["mixing"]), labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_eight_points_can_be_overfitted(variant: dict[str, Any]) -> None:
    """Alternating classes on a line: a single straight boundary classifies five of the eight."""
    torch.manual_seed(0)
    x = torch.stack([torch.linspace(-2, 2, 8), torch.zeros(8)], dim=1)
    labels = torch.tensor([0.0, 0, 1, 1, 0, 0, 1, 1])
    model = mixture_of_experts(6, stack=(8,), **variant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        moe_losses.cross_entropy(model(x), labels).sum().backward()
        optimizer.step()
    correct = ((model.eval()(x) > 0) == (labels > 0.5)).all(-1)
    assert correct.any()


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_experts=0"):
        mixture_of_experts(0)
    with pytest.raises(ValueError, match="top_k=3 is not between 0 and num_experts=2"):
        mixture_of_experts(2, top_k=3)


@torch.no_grad()
def test_an_mlp_without_hidden_units_is_an_affine_map() -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 3)
    linear: Any = MLP(3, 0, 1)
    expected = x @ linear.layers.weight.T + linear.layers.bias
    torch.testing.assert_close(linear(x), expected.T)
    mlp: Any = MLP(3, 4, 1)
    first, _, last = mlp.layers
    hidden = torch.tanh(x @ first.weight.T + first.bias)
    torch.testing.assert_close(mlp(x), (hidden @ last.weight.T + last.bias).T)


@torch.no_grad()
def test_top1_logits_are_those_of_the_expert_with_the_largest_weight() -> None:
    torch.manual_seed(0)
    mixture = mixture_of_experts(3, stack=(2,)).mix(torch.randn(9, 2))
    for copy, point in itertools.product(range(2), range(9)):
        best = int(mixture.gate[copy, :, point].argmax())
        assert mixture.top1_logits[copy, point] == mixture.expert_logits[copy, best, point]

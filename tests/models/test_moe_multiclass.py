"""Mixtures of experts of more than two classes, beside computations by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from models import moe_losses, stacked
from models.moe import MixtureOfExperts
from models.standardised import StandardisedInput

B, D, K, C = 5, 4, 3, 6
OPTIONS: dict[str, Any] = {
    "expert_hidden": 0,
    "gate": "softmax",
    "gate_hidden": 0,
    "top_k": 0,
    "routing": "top_k",
    "routing_noise": 0.0,
    "bias_update_rate": 0.0,
    "temperature": 2.0,
}


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]


def by_hand(model: MixtureOfExperts, x: np.ndarray, mixing: str, top_k: int) -> list[float]:
    """Return the probabilities of the classes of one point."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    gate_logits = state["gate.scores.layers.weight"] @ x + state["gate.scores.layers.bias"]
    gate = softmax((gate_logits / 2).tolist())
    outputs = 2 * (state["experts.weight"] @ x + state["experts.bias"])
    chosen = sorted(range(K), key=lambda k: -gate[k])[: top_k or K]
    experts = [[outputs[c * K + k] if k in chosen else 0.0 for c in range(C)] for k in range(K)]
    if mixing == "logits":
        return softmax([sum(gate[k] * experts[k][c] for k in chosen) for c in range(C)])
    return [sum(gate[k] * softmax(experts[k])[c] for k in range(K)) for c in range(C)]


@pytest.mark.parametrize("mixing", ["probabilities", "logits"])
@pytest.mark.parametrize("top_k", [0, 1, 2])
def test_probabilities_and_loss_are_those_by_hand(mixing: Any, top_k: int) -> None:
    torch.manual_seed(0)
    options = OPTIONS | {"top_k": top_k}
    model = MixtureOfExperts(D, K, num_classes=C, mixing=mixing, **options).eval()
    x, labels = torch.randn(B, D), torch.randint(C, (B,))
    expected = np.array([by_hand(model, row, mixing, top_k) for row in x.double().numpy()])
    mixture = model.mix(x)
    logits = mixture.combine(mixing)
    assert logits.shape == (C, B)
    np.testing.assert_allclose(
        moe_losses.class_probabilities(logits, labels).detach(), expected, rtol=1e-4
    )
    np.testing.assert_allclose(model(x).softmax(-1).detach(), expected, rtol=1e-4)
    loss = moe_losses.cross_entropy(logits, labels).item()
    assert loss == pytest.approx(-np.log(expected[range(B), labels]).mean(), rel=1e-4)
    if mixing == "probabilities":
        assert moe_losses.competitive_loss(mixture, labels).item() == pytest.approx(loss, rel=1e-5)
    weights = model.expert_weights()
    assert weights.shape == (K, C, D)
    torch.testing.assert_close(weights[1, 4], 2 * model.experts.weight[4 * K + 1])


def test_a_stack_is_its_models_side_by_side() -> None:
    options = OPTIONS | {"mixing": "probabilities", "num_classes": C}
    stack = MixtureOfExperts(D, K, stack=(2,), **options)
    x, labels = torch.randn(B, D), torch.randint(C, (B,))
    outputs = stack(x)
    losses = moe_losses.cross_entropy(stack.mix(x).combine("probabilities"), labels)
    assert outputs.shape == (2, B, C)
    top1 = stack.mix(x).top1_logits
    for i in range(2):
        one = MixtureOfExperts(D, K, **options)
        one.load_state_dict(stacked.select_from_stack(stack.state_dict(), i))
        torch.testing.assert_close(one(x), outputs[i])
        expected = torch.nn.functional.cross_entropy(one(x), labels)
        torch.testing.assert_close(losses[i], expected)
        mixture = one.mix(x)
        best = mixture.weights.argmax(0)
        by_point = [mixture.expert_logits[:, best[b], b] for b in range(B)]
        torch.testing.assert_close(top1[i], torch.stack(by_point, dim=1))


def test_standardised_inputs_are_those_of_the_training_rows() -> None:
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([2.0, 0.5])
    model = StandardisedInput(torch.nn.Identity(), mean, std)
    x = torch.tensor([[3.0, -1.0]])
    assert model(x).tolist() == [[1.0, 2.0]]
    assert set(model.state_dict()) == {"mean", "std"}

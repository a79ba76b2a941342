"""Noisy top-k, expert choice and the loss-free bias against their papers' equations by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import moe, moe_losses
from models.choices import Mixing, Routing
from models.moe import MixtureOfExperts
from tests.models.small import mixture_of_experts

B, K = 10, 4


@pytest.fixture
def points() -> Tensor:
    return torch.randn(B, 2, generator=torch.Generator().manual_seed(0)).double()


def scores_by_hand(model: MixtureOfExperts, points: Tensor) -> np.ndarray:
    """Return the linear gate's outputs before the temperature, (K, B)."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    weight, bias = state["gate.scores.layers.weight"], state["gate.scores.layers.bias"]
    return np.asarray(weight @ points.numpy().T + bias[:, None])


def mixture(routing: Routing, top_k: int, **changes: Any) -> MixtureOfExperts:
    torch.manual_seed(1)
    return mixture_of_experts(K, routing=routing, top_k=top_k, **changes).double()


@pytest.mark.parametrize("training", [True, False])
def test_noisy_top_k_is_a_softmax_over_the_k_largest_noisy_logits(
    training: bool, points: Tensor
) -> None:
    """Shazeer et al. 2017, eq. 3 to 5; the noise is of training only."""
    model = mixture("noisy_top_k", 2, temperature=0.5).train(training)
    torch.manual_seed(7)
    weights = model.mix(points).weights.detach().numpy()
    torch.manual_seed(7)
    noise = torch.randn(K, B, dtype=torch.float64).numpy()
    layer: Any = model.gate.noise_scores.layers
    raw = (layer.weight @ points.T + layer.bias[:, None]).detach().numpy()
    scores = scores_by_hand(model, points) + training * noise * np.log1p(np.exp(raw))
    for b in range(B):
        kept = np.argsort(-scores[:, b])[:2]
        powers = {k: math.exp(scores[k, b] / 0.5) for k in kept}
        expected = [powers.get(k, 0) / sum(powers.values()) for k in range(K)]
        np.testing.assert_allclose(weights[:, b], expected, rtol=1e-9)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_by_expert_choice_each_expert_takes_the_points_that_weight_it_most(
    top_k: int, points: Tensor
) -> None:
    """Zhou et al. 2022, eq. 1 and 2; a prediction alone is that among others."""
    model = mixture("expert_choice", top_k)
    powers = np.exp(scores_by_hand(model, points))
    gate = powers / powers.sum(0)
    capacity = math.ceil(top_k * B / K)
    expected = np.zeros((K, B))
    for k in range(K):
        for b in sorted(range(B), key=lambda b: -gate[k, b])[:capacity]:
            expected[k, b] = gate[k, b]
    weights = model.train().mix(points).weights
    np.testing.assert_allclose(weights.detach(), expected, rtol=1e-9)
    model.eval()
    assert (model.mix(points).chosen.sum(0) == top_k).all()
    torch.testing.assert_close(model(points[3:4]), model(points)[3:4])


def test_the_bias_rises_by_the_step_where_the_load_is_low_and_only_chooses(points: Tensor) -> None:
    """Wang et al. 2024, algorithm 1: the weights are those of the logits without the bias."""
    model = mixture("top_k", 1, bias_update_rate=0.25).train()
    scores = scores_by_hand(model, points)
    bias = np.zeros(K)
    for _ in range(3):
        best = (scores + bias[:, None]).argmax(0)
        weights = model.mix(points).weights.detach().numpy()
        gate = np.exp(scores) / np.exp(scores).sum(0)
        np.testing.assert_allclose(weights, gate * (np.arange(K)[:, None] == best), rtol=1e-9)
        bias += 0.25 * np.sign(B / K - np.bincount(best, minlength=K))
        np.testing.assert_allclose(model.gate.selection_bias, bias)


@pytest.mark.parametrize("routing", ["noisy_top_k", "expert_choice"])
def test_other_routings_have_no_bias(routing: Routing, points: Tensor) -> None:
    """Their own losses, or the choice itself, balance the load."""
    model = mixture(routing, 2, bias_update_rate=0.25).train()
    model.mix(points)
    assert not model.gate.selection_bias.any()


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
@pytest.mark.parametrize(("routing", "top_k"), [("noisy_top_k", 2), ("expert_choice", 1)])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_loss_moves_gate_and_noise(
    routing: Routing, top_k: int, mixing: Mixing, num_classes: int, points: Tensor
) -> None:
    """In training the gradient of each weight of the gate is that of finite differences."""
    model = mixture(routing, top_k, mixing=mixing, num_classes=num_classes, expert_hidden=3)
    labels = torch.arange(B) % num_classes
    target = labels.double() if num_classes == 2 else labels

    def loss() -> Tensor:
        torch.manual_seed(2)  # the same noise each time
        outputs = model.train().mix(points)
        balance = moe_losses.switch_loss(outputs, top_k)
        return moe_losses.cross_entropy(outputs.combine(mixing), target) + 0.1 * balance

    check_gradients_of_the_gate(model, loss)


def check_gradients_of_the_gate(model: MixtureOfExperts, loss: Callable[[], Tensor]) -> None:
    """Compare the gradient of each weight with finite differences."""
    loss().backward()
    for name, parameter in model.gate.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-4, name
        for index in range(parameter.numel()):
            either = []
            for step in (1e-6, -1e-6):
                parameter.data.flatten()[index] += step
                either.append(loss().item())
                parameter.data.flatten()[index] -= step
            expected = (either[0] - either[1]) / 2e-6
            assert parameter.grad.flatten()[index].item() == pytest.approx(
                expected, rel=1e-4, abs=1e-8
            )


def selection_by_hand(model: MixtureOfExperts, points: Tensor, noise: np.ndarray) -> np.ndarray:
    """Return P(x, i) of Shazeer et al. 2017, eq. 9, (K, B)."""
    layer: Any = model.gate.noise_scores.layers
    raw = (layer.weight @ points.T + layer.bias[:, None]).detach().numpy()
    clean, std = scores_by_hand(model, points), np.log1p(np.exp(raw))
    noisy = clean + noise * std
    found = np.zeros((K, B))
    for i in range(K):
        for b in range(B):
            kth_excluding = sorted(np.delete(noisy[:, b], i))[-model.gate.top_k]
            z = (clean[i, b] - kth_excluding) / std[i, b]
            found[i, b] = (1 + math.erf(z / math.sqrt(2))) / 2
    return found


@pytest.mark.parametrize("top_k", [2, 3])
def test_importance_and_load_are_written_out(top_k: int, points: Tensor) -> None:
    """Shazeer et al. 2017, eq. 6 to 11; with probabilities that are those of drawn noise."""
    model = mixture("noisy_top_k", top_k, temperature=0.5).train()
    torch.manual_seed(7)
    outputs = model.mix(points)
    torch.manual_seed(7)
    noise = torch.randn(K, B, dtype=torch.float64).numpy()
    selected = selection_by_hand(model, points, noise)
    assert outputs.selection_probability is not None
    np.testing.assert_allclose(outputs.selection_probability.detach(), selected, rtol=1e-9)
    importance = outputs.weights.detach().numpy().sum(1)
    expected = [float(np.var(v) / np.mean(v) ** 2) for v in (importance, selected.sum(1))]
    assert moe_losses.importance_loss(outputs).item() == pytest.approx(expected[0])
    assert moe_losses.load_loss(outputs).item() == pytest.approx(expected[1])
    both = moe_losses.balance_loss(outputs, top_k, "importance_and_load")
    assert both.item() == pytest.approx(sum(expected))
    switch = moe_losses.balance_loss(outputs, top_k, "switch")
    assert switch.item() == moe_losses.switch_loss(outputs, top_k).item()


@pytest.mark.parametrize("loss", [moe_losses.importance_loss, moe_losses.load_loss])
def test_importance_and_load_move_the_gate(
    loss: Callable[[moe.Mixture], Tensor], points: Tensor
) -> None:
    model = mixture("noisy_top_k", 2).train()

    def value() -> Tensor:
        torch.manual_seed(2)  # the same noise each time
        return loss(model.mix(points))

    check_gradients_of_the_gate(model, value)


def test_without_noise_the_load_is_the_number_of_points(points: Tensor) -> None:
    outputs = mixture("noisy_top_k", 2).eval().mix(points)
    counts = outputs.chosen.sum(-1).numpy()
    expected = np.var(counts) / np.mean(counts) ** 2
    assert moe_losses.load_loss(outputs).item() == pytest.approx(expected)


def test_noise_that_has_died_out_leaves_finite_gradients(points: Tensor) -> None:
    model = mixture("noisy_top_k", 2).float().train()
    bias = model.gate.noise_scores.layers.bias
    assert isinstance(bias, Tensor)
    torch.nn.init.constant_(bias, -200.0)
    moe_losses.load_loss(model.mix(points.float())).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.gate.parameters() if p.grad is not None)


def test_an_expert_with_a_hidden_layer_is_a_perceptron(points: Tensor) -> None:
    model = mixture("top_k", 0, expert_hidden=5, num_classes=3, temperature=2.0)
    first, _, last = model.experts.layers
    logits = model.mix(points).expert_logits
    for k in range(K):
        hidden = torch.tanh(points @ first.weight[k].T + first.bias[k])
        expected = 2 * (hidden @ last.weight[k].T + last.bias[k])
        torch.testing.assert_close(logits[:, k].T, expected)


def test_active_parameters_are_those_of_the_gate_and_the_experts_of_a_point() -> None:
    gate = 2 * K + K
    assert mixture("top_k", 1).num_active_parameters() == gate + 3
    assert mixture("noisy_top_k", 2).num_active_parameters() == gate + 6
    hidden = mixture("top_k", 3, expert_hidden=5, num_classes=3)
    assert hidden.num_active_parameters() == gate + 3 * (2 * 5 + 5 + 5 * 3 + 3)
    assert mixture("top_k", 0).num_active_parameters() == gate + 3

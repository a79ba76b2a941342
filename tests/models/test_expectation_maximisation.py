"""EM for mixtures: never downhill, at the optimum that another method finds, and never NaN."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax

from datasets.toy_datasets import toy_dataset
from models import expectation_maximisation as em
from models import moe_losses, stacked
from models.expectation_maximisation import Coefficients, Samples
from tests.models.small import mixture_of_experts

POINTS, LABELS = toy_dataset("ring").generate(2_000, 0, "train")


def three_classes() -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    return points, (2 * points[:, 0] * points[:, 1]).clamp(-1, 1).round().long() + 1


def cross_entropy(model: Any, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = model.mix(points).combine("probabilities")
    return moe_losses.cross_entropy(logits, labels).detach()


@pytest.mark.parametrize(
    ("num_experts", "gate"),
    [(1, "softmax"), (2, "softmax"), (4, "softmax"), (4, "hierarchical"), (8, "hierarchical")],
)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_likelihood_never_falls(num_experts: int, gate: str, num_classes: int) -> None:
    points, labels = (POINTS, LABELS) if num_classes == 2 else three_classes()
    torch.manual_seed(1)
    model = mixture_of_experts(
        num_experts,
        gate=gate,
        num_classes=num_classes,
        temperature=10.0,
        stack=(4,),
    )
    samples, coefficients = Samples.of(points, labels, num_classes), Coefficients.of(model)
    likelihood = em.log_likelihood(coefficients, samples)
    torch.testing.assert_close(
        -likelihood.float(), cross_entropy(model, points, labels), rtol=1e-4, atol=1e-4
    )
    first, overrelaxation = likelihood, torch.ones(4, dtype=torch.float64)
    for _ in range(15):
        coefficients, overrelaxation = em.iterate(coefficients, samples, overrelaxation)
        before, likelihood = likelihood, em.log_likelihood(coefficients, samples)
        assert (likelihood >= before - 1e-10).all()
    assert (likelihood > first).all()


def optimum(points: np.ndarray, labels: np.ndarray, num_experts: int, starts: int) -> float:
    """Return the lowest cross-entropy of a mixture of binary experts that L-BFGS finds."""
    design = np.c_[points, np.ones(len(points))].astype(float)
    sign, size = 2.0 * labels[:, None] - 1, num_experts * design.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        experts, gate = (w.reshape(num_experts, -1) for w in np.split(weights, [size]))
        logits = sign * (design @ experts.T)
        log_gate = log_softmax(design @ gate.T, axis=1)
        joint = log_gate - np.logaddexp(0, -logits)
        total, share = logsumexp(joint, axis=1), softmax(joint, axis=1)
        slope = share * sign / (1 + np.exp(logits.clip(-500, 500)))
        gradient = np.r_[
            (slope.T @ design).ravel(), ((share - np.exp(log_gate)).T @ design).ravel()
        ]
        return -total.mean(), -gradient / len(design)

    rng = np.random.default_rng(0)
    found = (
        minimize(loss, rng.normal(size=2 * size), jac=True, method="L-BFGS-B")
        for _ in range(starts)
    )
    return float(min(result.fun for result in found))


def test_thirty_iterations_end_at_the_optimum_of_the_likelihood() -> None:
    torch.manual_seed(0)
    model = mixture_of_experts(2, temperature=10.0, stack=(8,))
    em.expectation_maximisation(model, POINTS, LABELS, num_iterations=30)
    reached = cross_entropy(model, POINTS, LABELS).min().item()
    expected = optimum(POINTS.numpy(), LABELS.numpy(), num_experts=2, starts=3)
    assert reached == pytest.approx(expected, abs=3e-4)


def test_one_expert_is_logistic_regression_by_newtons_method() -> None:
    """One step from zero is one of iteratively reweighted least squares, written out."""
    design = np.c_[POINTS.numpy(), np.ones(len(POINTS))].astype(float)
    start = np.array([0.1, -0.2, 0.3])
    p = 1 / (1 + np.exp(-design @ start))
    hessian = (design * (p * (1 - p))[:, None]).T @ design
    expected = start + np.linalg.solve(hessian, design.T @ (LABELS.numpy() - p))
    samples = Samples.of(POINTS, LABELS, 2)
    coefficients = Coefficients(
        torch.from_numpy(start).view(1, 1, 3), torch.zeros(1, 3, dtype=torch.float64)
    )
    end, _ = em.iterate(coefficients, samples, torch.ones((), dtype=torch.float64))
    np.testing.assert_allclose(end.experts.flatten(), expected, rtol=1e-5)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("gate", ["softmax", "hierarchical"])
def test_points_that_can_be_separated_do_not_lead_to_nan(gate: str, num_classes: int) -> None:
    """The optimum is at infinity, and the curvature on the way there goes to zero."""
    centres = torch.tensor([[-5.0, 0], [5, 0], [0, 8]])[:num_classes]
    points, labels = centres.repeat(10, 1), torch.arange(num_classes).repeat(10)
    labels = labels.float() if num_classes == 2 else labels
    model = mixture_of_experts(4, gate=gate, num_classes=num_classes, stack=(4,))
    em.expectation_maximisation(model, points, labels, num_iterations=60)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert (cross_entropy(model, points, labels) < 1e-3).all()


def test_a_stack_iterates_as_each_mixture_would_alone_until_its_half_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(em, "HALVINGS", (5, 10))
    torch.manual_seed(0)
    stack = mixture_of_experts(3, temperature=5.0, stack=(6,))
    weights = [stacked.select_from_stack(stack.state_dict(), i) for i in range(6)]
    optimizer, losses = em.ExpectationMaximisation(stack), []
    for _ in range(12):
        losses.append(cross_entropy(stack, POINTS, LABELS))
        optimizer.step(POINTS, LABELS)
    best = losses[5].argsort()[:3]  # three go on, and two of them after ten iterations
    num_iterations = torch.full((6,), 5)
    num_iterations[best] = 10
    num_iterations[best[losses[10][best].argsort()[:2]]] = 12
    for i, count in enumerate(num_iterations.tolist()):
        alone = mixture_of_experts(3, temperature=5.0)
        alone.load_state_dict(weights[i])
        em.expectation_maximisation(alone, POINTS, LABELS, count)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(stack.state_dict()[name][i], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("num_experts", [1, 2, 4])
def test_features_that_depend_on_each_other_do_not_lead_to_nan(
    num_experts: int, num_classes: int
) -> None:
    """A column that is constant, and one that is another's double: the curvature is singular."""
    points, labels = three_classes()
    points = torch.cat([points, 2 * points[:, :1], torch.zeros(len(points), 1)], dim=1)
    labels = (labels > 1).float() if num_classes == 2 else labels
    torch.manual_seed(0)
    model = mixture_of_experts(num_experts, in_features=4, num_classes=num_classes, stack=(2,))
    before = cross_entropy(model, points, labels)
    em.expectation_maximisation(model, points, labels, num_iterations=20)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert (cross_entropy(model, points, labels) < before).all()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_newton_direction_is_that_of_the_curvature_by_automatic_differentiation(
    num_classes: int,
) -> None:
    """Of several logits, by the pseudo-inverse: a shift of all of them changes nothing."""
    torch.manual_seed(0)
    points, num_logits = torch.randn(50, 2), 1 if num_classes == 2 else num_classes
    samples = Samples.of(points, torch.randint(num_classes, (50,)), num_classes)
    weights, start = torch.rand(50).double(), torch.randn(num_logits * 3).double()

    def objective(coefficients: torch.Tensor) -> torch.Tensor:
        logits = coefficients.view(num_logits, 3) @ samples.design.T
        return (weights * em.log_probability(logits, samples.targets)).sum()

    gradient = torch.autograd.functional.jacobian(objective, start)
    hessian = torch.autograd.functional.hessian(objective, start)
    expected = torch.linalg.lstsq(-hessian, gradient, driver="gelsd").solution
    logits = start.view(num_logits, 3) @ samples.design.T
    found = em.newton_direction(logits, samples, samples.targets, weights)
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"gate_hidden": 3}, {"expert_hidden": 3}, {"top_k": 1}])
def test_what_is_no_mixture_of_regressions_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expectation maximisation needs "):
        em.expectation_maximisation(mixture_of_experts(2, **changes), POINTS, LABELS, 1)

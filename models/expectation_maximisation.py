"""Expectation maximisation for mixtures of linear experts under a linear gate.

    E-step    responsibilities h_k = g_k p_k(y) / sum_j g_j p_j(y) of the experts for each point
    M-step    each expert is a logistic regression of the labels, its points weighted by h_k;
              the gate is one of the responsibilities on the points; of a hierarchical gate, each
              inner node is one of its branches' shares of the responsibility of the leaves below
              it, its points weighted by that responsibility

after M. Jordan, R. Jacobs, "Hierarchical mixtures of experts and the EM algorithm", 1994. A
regression takes one Newton step (iteratively reweighted least squares) in each M-step, which is
halved until the regression's likelihood does not fall; so the mixture's does not fall either.

EM takes ever smaller steps near the optimum. They are stretched ever more, as long as the
likelihood rises more for it: R. Salakhutdinov, S. Roweis, "Adaptive overrelaxed bound optimization
methods", 2003.

Letters: S the stack of mixtures, N points, D features, K experts, G logits of the gate: K, or K - 1
of a hierarchical one; C classes, F free logits of a regression: 1 of two classes, otherwise one for
each.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.hierarchical import branch_sums, leaf_log_probabilities
from models.moe import MixtureOfExperts, StackedLinear

STRETCH = 1.5
"""What the overrelaxation grows by after each step that it has improved."""
DAMPING = 1e-8
"""Added to the curvature, per point: that of a regression which separates its points is zero."""
MAX_HALVINGS = 20
TINY = 1e-30
"""Responsibility below which a point has no say in how a node divides what reaches it."""
ROUNDING = 1e-12
"""Of a likelihood, by which it may differ where nothing has changed."""


class Coefficients(NamedTuple):
    """The weights of all regressions, each followed by its bias, float64."""

    experts: Tensor
    """(*S, K, F, D + 1)."""
    gate: Tensor
    """(*S, G, D + 1)."""

    @property
    def is_hierarchical(self) -> bool:
        """Whether the gate is a tree, which has one node fewer than leaves."""
        return self.gate.shape[-2] < self.experts.shape[-3]

    @classmethod
    def of(cls, model: MixtureOfExperts) -> "Coefficients":
        """Return those of a mixture, or of a stack, as they act on its inputs."""
        experts, gate = _layers(model)
        by_logit = model.temperature * _joined(experts.weight, experts.bias)
        return cls(
            by_logit.unflatten(-2, (-1, model.num_experts)).transpose(-3, -2),
            _joined(gate.weight, gate.bias) / model.temperature,
        )

    @torch.no_grad()
    def copy_to(self, model: MixtureOfExperts) -> None:
        """Give a mixture these coefficients."""
        experts = self.experts.transpose(-3, -2).flatten(-3, -2) / model.temperature
        for layer, values in zip(
            _layers(model), (experts, self.gate * model.temperature), strict=True
        ):
            layer.weight.copy_(values[..., :-1])
            layer.bias.copy_(values[..., -1])

    def stretched(self, target: "Coefficients", by: Tensor) -> "Coefficients":
        """Return what lies `by`, (*S,), times as far as the target."""
        experts = self.experts + by[..., None, None, None] * (target.experts - self.experts)
        return Coefficients(experts, self.gate + by[..., None, None] * (target.gate - self.gate))

    def where(self, condition: Tensor, other: "Coefficients") -> "Coefficients":
        """Return these where the condition, (*S,), holds, and the others elsewhere."""
        experts = self.experts.where(condition[..., None, None, None], other.experts)
        return Coefficients(experts, self.gate.where(condition[..., None, None], other.gate))


class Samples(NamedTuple):
    """What the regressions are fitted to, float64."""

    design: Tensor
    """(N, D + 1): the points, and a one for the bias."""
    products: Tensor
    """(N, (D + 1)^2): of each pair of columns of the design."""
    targets: Tensor
    """(F, N): 1 for the class of a point, and 0 for the others; of two classes, that of class 1."""

    @classmethod
    def of(cls, points: Tensor, labels: Tensor, num_classes: int) -> "Samples":
        """Prepare points (N, D) and labels (N,)."""
        dtype = torch.float32 if points.device.type == "mps" else torch.float64
        design = _joined(points, torch.ones_like(points[:, 0]), dtype)
        products = (design.unsqueeze(-1) * design.unsqueeze(-2)).flatten(1)
        one_hot = F.one_hot(labels.long(), num_classes).T.to(dtype)
        return cls(design, products, one_hot[1:] if num_classes == 2 else one_hot)


class ExpectationMaximisation(torch.optim.Optimizer):
    """EM as an optimiser whose steps are given the points; it has no learning rate.

    Each mixture of a stack keeps its own overrelaxation.
    """

    def __init__(self, model: MixtureOfExperts):
        super().__init__(model.parameters(), {"lr": 0.0})
        self.model = model

    @torch.no_grad()
    def step(self, points: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        """Take one iteration on points (N, D) with labels (N,)."""
        start = Coefficients.of(self.model)
        state = self.state[self.model.experts.weight]
        ones = torch.ones_like(start.gate[..., 0, 0])
        samples = Samples.of(points, labels, self.model.num_classes)
        end, state["overrelaxation"] = iterate(start, samples, state.get("overrelaxation", ones))
        end.copy_to(self.model)


def expectation_maximisation(
    model: MixtureOfExperts, points: Tensor, labels: Tensor, num_iterations: int
) -> None:
    """Take so many iterations on points (N, D) with labels (N,)."""
    optimizer = ExpectationMaximisation(model)
    for _ in range(num_iterations):
        optimizer.step(points, labels)


def iterate(
    start: Coefficients, samples: Samples, overrelaxation: Tensor
) -> tuple[Coefficients, Tensor]:
    """Take one E-step and one M-step; return the coefficients, and the overrelaxation (*S,)."""
    design, products, targets = samples
    joint = log_joint(start, samples)
    before, responsibility = joint.logsumexp(-2).mean(-1), joint.softmax(-2)  # (*S,), (*S, K, N)
    experts = newton_step(start.experts, design, products, targets, responsibility)
    gate = start.gate
    if start.is_hierarchical:
        branches = branch_sums(responsibility)  # (*S, G, 2, N)
        reach = branches.sum(-2)
        right = branches[..., 1:, :] / reach.unsqueeze(-2).clamp(min=TINY)
        gate = newton_step(gate.unsqueeze(-2), design, products, right, reach).squeeze(-2)
    elif gate.shape[-2] > 1:
        gate = newton_step(gate, design, products, responsibility, torch.ones_like(design[:, 0]))
    plain = Coefficients(experts, gate)
    stretched = start.stretched(plain, overrelaxation)
    # What is no number is not greater than anything.
    better = log_likelihood(stretched, samples) >= before
    grown = torch.where(better, STRETCH * overrelaxation, torch.ones_like(overrelaxation))
    return stretched.where(better, plain), grown


def log_joint(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return log g_k + log p_k(y), (*S, K, N)."""
    columns = samples.design.T
    logits = coefficients.gate @ columns
    is_tree = coefficients.is_hierarchical
    log_gate = leaf_log_probabilities(logits) if is_tree else logits.log_softmax(-2)
    return log_gate + log_probability(coefficients.experts @ columns, samples.targets)


def responsibilities(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return h_k = g_k p_k(y) / sum_j g_j p_j(y), (*S, K, N); they sum to one over K."""
    return log_joint(coefficients, samples).softmax(-2)


def log_likelihood(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return the mean over the points of log sum_k g_k p_k(y), (*S,), in nats."""
    return log_joint(coefficients, samples).logsumexp(-2).mean(-1)


def newton_step(
    coefficients: Tensor, design: Tensor, products: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """Take a Newton step of many weighted logistic regressions at once, (..., F, D + 1).

    It maximises sum_n w_n log p_n(t_n), and is halved where that would fall.

    Args:
        coefficients: (..., F, D + 1) where to start.
        design: (N, D + 1).
        products: (N, (D + 1)^2): see `Samples`.
        targets: (..., F, N) t in [0, 1].
        weights: (..., N) w, not negative.

    """

    def objective(logits: Tensor) -> Tensor:
        return (weights * log_probability(logits, targets)).sum(-1)

    logits = coefficients @ design.T  # (..., F, N)
    num_free, columns = coefficients.shape[-2:]
    p = logits.sigmoid() if num_free == 1 else logits.softmax(-2)
    weighted = weights.unsqueeze(-2)
    gradient = (weighted * (targets - p)) @ design
    identity = torch.eye(num_free, dtype=p.dtype, device=p.device).unsqueeze(-1)
    # w (diag(p) - p p^T) of each point, (..., F, F, N); then its sum over the points' x x^T.
    variance = (weighted * p).unsqueeze(-2) * (identity - p.unsqueeze(-3))
    curvature = (variance @ products).unflatten(-1, (columns, columns))
    curvature = curvature.transpose(-3, -2).flatten(-4, -3).flatten(-2)
    curvature.diagonal(dim1=-2, dim2=-1).add_(DAMPING * len(design))
    step: Tensor = torch.linalg.solve_ex(curvature, gradient.flatten(-2))[0].view_as(gradient)
    before = objective(logits)
    least = before - ROUNDING * before.abs()
    for _ in range(MAX_HALVINGS):
        worse = ~(objective((coefficients + step) @ design.T) >= least)[..., None, None]
        if not worse.any():
            return coefficients + step
        step = torch.where(worse, step / 2, step)
    return coefficients + step.where(~worse, 0)


def log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Return sum_c t_c log p_c, (..., N), from free logits and targets, (..., F, N)."""
    chosen = (targets * logits).sum(-2)
    if logits.shape[-2] == 1:
        return chosen - F.softplus(logits, threshold=40).squeeze(-2)
    return chosen - logits.logsumexp(-2)


def _layers(model: MixtureOfExperts) -> tuple[StackedLinear, StackedLinear]:
    """Return the linear maps of the experts and of the gate.

    Raises:
        ValueError: one has a hidden layer, or points are routed to some of the experts only.

    """
    experts, gate = model.experts, model.gate.scores.layers
    if not (isinstance(experts, StackedLinear) and isinstance(gate, StackedLinear)):
        raise ValueError("expectation maximisation needs linear experts and a linear gate")
    if model.gate.top_k not in (0, model.num_experts):
        raise ValueError("expectation maximisation needs a gate that weighs every expert")
    return experts, gate


def _joined(weight: Tensor, bias: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    if weight.device.type == "mps":
        dtype = torch.float32
    return torch.cat([weight, bias.unsqueeze(-1)], dim=-1).detach().to(dtype)

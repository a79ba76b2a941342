"""Expectation maximisation for mixtures of linear experts under a linear gate.

    E-step    responsibilities h_k = g_k p_k(y) / sum_j g_j p_j(y) of the experts for each point
    M-step    each expert is a logistic regression of the labels, its points weighted by h_k;
              the gate is one of the responsibilities on the points; of a hierarchical gate, each
              inner node is one of its branches' shares of the responsibility of the leaves below
              it, its points weighted by that responsibility

after M. Jordan, R. Jacobs, "Hierarchical mixtures of experts and the EM algorithm", 1994. In each
M-step, a regression takes one Newton step (iteratively reweighted least squares). The steps of a
mixture's regressions together point to where its likelihood rises; they are halved until it does
not fall: K. Lange, "A gradient algorithm locally equivalent to the EM algorithm", 1995.

EM takes ever smaller steps near the optimum. They are stretched ever more, as long as the
likelihood does not fall for it: R. Salakhutdinov, S. Roweis, "Adaptive overrelaxed bound
optimization methods", 2003.

Of a stack of mixtures, the less likely half stops at times (successive halving: K. Jamieson,
A. Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016).

Letters: S the stack of mixtures, N points, D features, K experts, G logits of the gate: K, or K - 1
of a hierarchical one; C classes, F logits of a regression: 1 of two classes, otherwise one for
each; M pairs of columns of the design, whatever their order.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.hierarchical import branch_sums, leaf_log_probabilities
from models.moe import MixtureOfExperts
from models.stacked import StackedLinear

STRETCH = 1.5
"""What the overrelaxation grows by after each step that it has improved."""
HALVINGS = (12, 16, 20)
"""Iterations after which half of a stack stops; after fewer, the best may not yet be ahead."""
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

    def logits(self, design: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the gate, (*S, G, N), and of the experts, (*S, K, F, N)."""
        return self.gate @ design.T, self.experts @ design.T

    def log_gate(self, logits: Tensor) -> Tensor:
        """Return log g_k, (*S, K, N), from the gate's logits, (*S, G, N)."""
        return leaf_log_probabilities(logits) if self.is_hierarchical else logits.log_softmax(-2)

    @torch.no_grad()
    def copy_to(self, model: MixtureOfExperts) -> None:
        """Give a mixture these coefficients."""
        experts = self.experts.transpose(-3, -2).flatten(-3, -2) / model.temperature
        for layer, values in zip(
            _layers(model), (experts, self.gate * model.temperature), strict=True
        ):
            layer.weight.copy_(values[..., :-1])
            layer.bias.copy_(values[..., -1])

    def moved(self, by: Tensor, direction: "Coefficients") -> "Coefficients":
        """Return what lies `by`, (*S,), times a direction away."""
        experts = self.experts + by[..., None, None, None] * direction.experts
        return Coefficients(experts, self.gate + by[..., None, None] * direction.gate)

    def where(self, condition: Tensor) -> "Coefficients":
        """Return those of the A mixtures for which a condition, (*S,), holds, with S = (A,)."""
        return Coefficients(self.experts[condition], self.gate[condition])

    def replaced(self, condition: Tensor, by: "Coefficients") -> "Coefficients":
        """Return these with others in the place of `where(condition)`."""
        experts, gate = self.experts.clone(), self.gate.clone()
        experts[condition], gate[condition] = by
        return Coefficients(experts, gate)


class Samples(NamedTuple):
    """What the regressions are fitted to, float64."""

    design: Tensor
    """(N, D + 1): the points, and a one for the bias."""
    products: Tensor
    """(N, M): of each pair of columns of the design."""
    targets: Tensor
    """(F, N): 1 for the class of a point, and 0 for the others; of two classes, that of class 1."""

    @classmethod
    def of(cls, points: Tensor, labels: Tensor, num_classes: int) -> "Samples":
        """Prepare points (N, D) and labels (N,)."""
        dtype = torch.float32 if points.device.type == "mps" else torch.float64
        design = _joined(points, torch.ones_like(points[:, 0]), dtype)
        first, second, _ = pairs(design.shape[1], design.device)
        products = design[:, first] * design[:, second]
        one_hot = F.one_hot(labels.long(), num_classes).T.to(dtype)
        return cls(design, products, one_hot[1:] if num_classes == 2 else one_hot)


class ExpectationMaximisation(torch.optim.Optimizer):
    """EM as an optimiser whose steps are given the points; it has no learning rate.

    Each mixture of a stack keeps its own overrelaxation, which is 0 once it has stopped.
    """

    def __init__(self, model: MixtureOfExperts):
        super().__init__(model.parameters(), {"lr": 0.0})
        self.model = model

    @torch.no_grad()
    def step(self, points: Tensor, labels: Tensor) -> None:  # type: ignore[override]
        """Take one iteration on points (N, D) with labels (N,)."""
        start, state = Coefficients.of(self.model), self.state[self.model.experts.weight]
        samples = Samples.of(points, labels, self.model.num_classes)
        ones = torch.ones_like(start.gate[..., 0, 0])
        overrelaxation = state.get("overrelaxation", ones).to(ones.dtype)
        if state.get("step", 0) in HALVINGS:
            overrelaxation = overrelaxation * is_likelier_half(start, samples, overrelaxation > 0)
        goes_on = overrelaxation > 0
        end, grown = iterate(start.where(goes_on), samples, overrelaxation[goes_on])
        start.replaced(goes_on, end).copy_to(self.model)
        state["overrelaxation"] = overrelaxation.masked_scatter(goes_on, grown)
        state["step"] = state.get("step", 0) + 1


def expectation_maximisation(
    model: MixtureOfExperts, points: Tensor, labels: Tensor, num_iterations: int
) -> None:
    """Take so many iterations on points (N, D) with labels (N,)."""
    optimizer = ExpectationMaximisation(model)
    for _ in range(num_iterations):
        optimizer.step(points, labels)


def is_likelier_half(coefficients: Coefficients, samples: Samples, among: Tensor) -> Tensor:
    """Return which mixtures are the likelier half of those `among`, both (*S,) bool."""
    likelihood = log_likelihood(coefficients.where(among), samples)
    best = likelihood.topk(math.ceil(len(likelihood) / 2)).indices
    return among.masked_scatter(among, torch.zeros_like(likelihood).scatter(0, best, 1) > 0)


def iterate(
    start: Coefficients, samples: Samples, overrelaxation: Tensor
) -> tuple[Coefficients, Tensor]:
    """Take one E-step and one M-step; return the coefficients, and the overrelaxation (*S,)."""
    gate_logits, expert_logits = start.logits(samples.design)
    joint = start.log_gate(gate_logits) + log_probability(expert_logits, samples.targets)
    before, responsibility = joint.logsumexp(-2).mean(-1), joint.softmax(-2)  # (*S,), (*S, K, N)
    experts = newton_direction(expert_logits, samples, samples.targets, responsibility)
    if start.is_hierarchical:
        branches = branch_sums(responsibility)  # (*S, G, 2, N)
        reach = branches.sum(-2)
        right = branches[..., 1:, :] / reach.unsqueeze(-2).clamp(min=TINY)
        gate = newton_direction(gate_logits.unsqueeze(-2), samples, right, reach).squeeze(-2)
    else:
        gate = newton_direction(gate_logits, samples, responsibility)
    direction = Coefficients(experts, gate)
    by, least = overrelaxation, before - ROUNDING * before.abs()
    falls = torch.ones_like(by, dtype=torch.bool)
    for _ in range(MAX_HALVINGS):
        trial = start.where(falls).moved(by[falls], direction.where(falls))
        # What is no number is not greater than anything.
        is_worse = ~(log_likelihood(trial, samples) >= least[falls])
        falls = falls.masked_scatter(falls, is_worse)
        if not falls.any():
            break
        by = torch.where(falls, torch.where(by > 1, 1, by / 2), by)
    by = by.where(~falls, 0)
    grown = torch.where(by < overrelaxation, 1, STRETCH * overrelaxation)
    return start.moved(by, direction), grown


def log_joint(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return log g_k + log p_k(y), (*S, K, N)."""
    gate_logits, expert_logits = coefficients.logits(samples.design)
    log_gate = coefficients.log_gate(gate_logits)
    return log_gate + log_probability(expert_logits, samples.targets)


def responsibilities(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return h_k = g_k p_k(y) / sum_j g_j p_j(y), (*S, K, N); they sum to one over K."""
    return log_joint(coefficients, samples).softmax(-2)


def log_likelihood(coefficients: Coefficients, samples: Samples) -> Tensor:
    """Return the mean over the points of log sum_k g_k p_k(y), (*S,), in nats."""
    return log_joint(coefficients, samples).logsumexp(-2).mean(-1)


def newton_direction(
    logits: Tensor, samples: Samples, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the Newton steps of many weighted logistic regressions at once, (..., F, D + 1).

    They maximise sum_n w_n log p_n(t_n). Of F > 1 logits only the differences matter: the step is
    computed with the last one fixed, and then moves their mean by nothing.

    Args:
        logits: (..., F, N) at the start.
        samples: the design and its products.
        targets: (..., F, N) t in [0, 1].
        weights: (..., N) w, not negative; otherwise 1.

    """
    num_free = max(logits.shape[-2] - 1, 1)
    p = (logits.sigmoid() if logits.shape[-2] == 1 else logits.softmax(-2))[..., :num_free, :]
    residual, weighted = targets[..., :num_free, :] - p, p
    if weights is not None:
        residual, weighted = residual * weights.unsqueeze(-2), p * weights.unsqueeze(-2)
    gradient = (residual @ samples.design).flatten(-2)
    # w (diag(p) - p p^T) of each point and pair; then the sum over the points' x x^T.
    first, second, place = pairs(num_free, p.device)
    is_same = (first == second).to(p.dtype).unsqueeze(-1)
    variance = weighted[..., first, :] * (is_same - p[..., second, :])
    by_pair = variance @ samples.products  # (..., pairs of logits, M)
    columns = pairs(samples.design.shape[1], p.device)[2]
    curvature = by_pair[..., place[:, None, :, None], columns[None, :, None, :]]
    curvature = curvature.flatten(-2).flatten(-3, -2)  # (..., F (D + 1), F (D + 1))
    curvature.diagonal(dim1=-2, dim2=-1).add_(DAMPING * len(samples.design))
    step: Tensor = torch.linalg.solve_ex(curvature, gradient)[0].unflatten(-1, (num_free, -1))
    if num_free < logits.shape[-2]:
        step = F.pad(step, (0, 0, 0, 1))
        step -= step.mean(-2, keepdim=True)
    return step


def pairs(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return first and second of each pair of numbers below a size, and (size, size) its place."""
    first, second = torch.triu_indices(size, size, device=device)
    place = torch.zeros(size, size, dtype=torch.long, device=device)
    place[first, second] = place[second, first] = torch.arange(len(first), device=device)
    return first, second, place


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

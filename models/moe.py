"""Mixture of experts: several small classifiers and a gating network that weights them.

R. Jacobs, M. Jordan, S. Nowlan, G. Hinton, "Adaptive mixtures of local experts", 1991;
sparse routing after W. Fedus, B. Zoph, N. Shazeer, "Switch Transformers", 2021, and the papers that
`GatingNetwork` names.

Letters for dimensions: S a stack of independent copies of the model (often none), B batch,
D input features, H hidden units, K experts, L logits of an expert: 1, or C of C > 2 classes.

Points are given as rows, (B, D). Inside they are columns, as in y = W x + b, so that experts come
before the batch, (K, B): sums over a few experts then run along many contiguous points, which on a
CPU takes half the time of the other order.

The copies of a stack are trained in one computation (models/stacked.py). Losses are in
models/moe_losses.py.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import GateName, Mixing, Routing
from models.hierarchical import leaf_log_probabilities
from models.size import num_parameters
from models.sparse_experts import evaluate_chosen
from models.stacked import MLP, StackedLinear


class GatingNetwork(nn.Module):
    """Weighs the experts for each point.

    Args:
        in_features, num_experts: D and K.
        kind: `softmax` of K logits, or `hierarchical`: a binary tree of gates, whose K leaves are
            the experts (models/hierarchical.py). The logits are then log-probabilities.
        hidden_units: units of the gate's hidden layer (0: a linear gate, so that the regions of
            the experts meet in straight lines).
        top_k: number of experts that each point is routed to (0: all of them).
        routing: who chooses.
            `top_k`: each point takes the experts of its k largest logits, and weights them by the
            softmax over all experts (Fedus et al. 2021).
            `noisy_top_k`: likewise, of logits with Gaussian noise, whose standard deviation is
            learned for each point and expert (Shazeer et al. 2017, eq. 3 to 5). The softmax is
            over the k experts only, so with k = 1 the gate has no gradient.
            `expert_choice`: in training, each expert takes the k B / K points of the batch that
            give it the largest weights, so that all have the same load (Zhou et al. 2022,
            eq. 1 and 2). A prediction must not depend on the other points of its batch: in
            evaluation each point takes k experts, as above.
        routing_noise: standard deviation of the Gaussian noise that `top_k` adds to the gate's
            logits in training, so that experts just outside the top k are explored as well.
        bias_update_rate: step of the loss-free load balancing (Wang et al. 2024): after each
            training batch, the selection bias of an expert rises by this much when it was
            chosen less often than the average and falls when it was chosen more often. The
            bias affects which experts are chosen, not their weights.
        temperature: divides the gate's logits.
        stack: leading axes of every parameter.

    """

    selection_bias: Tensor

    def __init__(
        self,
        in_features: int,
        num_experts: int,
        kind: GateName,
        hidden_units: int,
        top_k: int,
        routing: Routing,
        routing_noise: float,
        bias_update_rate: float,
        temperature: float,
        stack: tuple[int, ...],
    ):
        super().__init__()
        if not 0 <= top_k <= num_experts:
            raise ValueError(f"top_k={top_k} is not between 0 and num_experts={num_experts}")
        if kind == "hierarchical" and num_experts.bit_count() != 1:
            raise ValueError(f"num_experts={num_experts} is no power of two")
        self.kind = kind
        num_scores = num_experts - 1 if kind == "hierarchical" else num_experts
        self.scores = MLP(in_features, hidden_units, num_scores, stack)
        self.top_k, self.routing, self.temperature = top_k, routing, temperature
        if routing == "noisy_top_k":
            self.noise_scores = MLP(in_features, 0, num_experts, stack)
        self.routing_noise, self.bias_update_rate = routing_noise, bias_update_rate
        self.register_buffer("selection_bias", torch.zeros(*stack, num_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the gate's logits, and whether a point is routed to an expert; both (*S, K, B).

        With `top_k`, exactly that many experts are chosen for each point, otherwise all; by
        `expert_choice`, so many on average. A logit of minus infinity is an expert without weight.
        The third is `Mixture.selection_probability`.
        """
        selection_probability = None
        logits = self.scores(x) / self.temperature
        if self.kind == "hierarchical":
            logits = leaf_log_probabilities(logits)
        if self.top_k in (0, logits.shape[-2]):
            return logits, torch.ones_like(logits, dtype=torch.bool), None
        if self.routing == "noisy_top_k" and self.training:
            std = F.softplus(self.noise_scores(x)) / self.temperature
            noisy = logits + torch.randn_like(logits) * std
            selection_probability = self._selection_probability(logits, std, noisy)
            logits = noisy
        if self.routing == "expert_choice" and self.training:
            return logits, self._points_of_experts(logits.softmax(-2)), None
        if self.training and self.routing_noise > 0:
            logits = logits + self.routing_noise * torch.randn_like(logits)
        chosen = self._experts_of_points(logits + self.selection_bias.unsqueeze(-1))
        if self.training and self.routing == "top_k" and self.bias_update_rate > 0:
            load = chosen.to(self.selection_bias.dtype).mean(-1)  # (*S, K)
            too_low = (load.mean(-1, keepdim=True) - load).sign()
            self.selection_bias += self.bias_update_rate * too_low
        if self.routing == "noisy_top_k":
            logits = logits.where(chosen, -math.inf)
        return logits, chosen, selection_probability

    def _selection_probability(self, logits: Tensor, std: Tensor, noisy: Tensor) -> Tensor:
        """Return with what probability an expert is chosen if its own noise is drawn anew.

        Shazeer et al. 2017, eq. 8 and 9. To be chosen, it must exceed the k-th largest of the
        others' noisy logits.
        """
        last_chosen, next_one = noisy.topk(self.top_k + 1, dim=-2).values[..., -2:, :].split(1, -2)
        threshold = torch.where(noisy >= last_chosen, next_one, last_chosen)
        probability: Tensor = torch.special.ndtr((logits - threshold) / std.clamp(min=1e-6))
        return probability

    def _experts_of_points(self, scores: Tensor) -> Tensor:
        best = scores.topk(self.top_k, dim=-2).indices  # (*S, top_k, B)
        # A mask rather than a gather keeps every shape fixed, which torch.export needs.
        return torch.zeros_like(scores).scatter(-2, best, 1.0) > 0

    def _points_of_experts(self, scores: Tensor) -> Tensor:
        num_experts, batch_size = scores.shape[-2:]
        capacity = math.ceil(self.top_k * batch_size / num_experts)
        best = scores.topk(capacity, dim=-1).indices  # (*S, K, capacity)
        return torch.zeros_like(scores).scatter(-1, best, 1.0) > 0


class Mixture(NamedTuple):
    """Outputs of gate and experts for a batch."""

    gate_logits: Tensor
    """(*S, K, B), before the softmax."""
    chosen: Tensor
    """(*S, K, B) bool, whether the point is routed to the expert."""
    expert_logits: Tensor
    """(*S, K, B), each expert's logit of class 1 of two; of C > 2 classes (*S, C, K, B).

    Where an expert is not chosen they have no meaning: in training they may be missing (0)."""
    selection_probability: Tensor | None = None
    """(*S, K, B), of the noise of `noisy_top_k` in training; otherwise None."""

    @property
    def is_multiclass(self) -> bool:
        """Whether there are more than two classes."""
        return self.expert_logits.dim() > self.gate_logits.dim()

    @property
    def gate(self) -> Tensor:
        """The softmax over all experts, (*S, K, B), in [0, 1]; they sum to one over K."""
        return self.gate_logits.softmax(-2)

    @property
    def weights(self) -> Tensor:
        """The gate's probabilities of the chosen experts, and 0 for the others, (*S, K, B)."""
        return self.gate.where(self.chosen, 0)

    @property
    def top1_logits(self) -> Tensor:
        """Logits of the chosen expert with the largest gate probability, (*S, B) or (*S, C, B)."""
        best = self.weights.argmax(-2, keepdim=True)  # (*S, 1, B)
        if self.is_multiclass:
            best = best.unsqueeze(-3)
        return torch.take_along_dim(self.expert_logits, best, -2).squeeze(-2)

    def log_likelihood(self, label: Tensor | float) -> Tensor:
        """Return log sum_k g_k p_k(label), (*S, B); the label, (B,) or a number, is 0 or 1.

        Computed as log-sums, which neither overflow nor cancel where a probability is tiny. An
        expert that is not chosen has a logit of 0: it takes both classes for equally probable.
        """
        signed = (2 * label - 1) * self.expert_logits.where(self.chosen, 0)
        return torch.logsumexp(self.gate_logits.log_softmax(-2) + F.logsigmoid(signed), dim=-2)

    def class_log_likelihoods(self) -> Tensor:
        """Return log sum_k g_k p_k(c) of each of C > 2 classes c, (*S, C, B), likewise."""
        logits = self.expert_logits.where(self.chosen.unsqueeze(-3), 0)
        log_gate = self.gate_logits.log_softmax(-2).unsqueeze(-3)
        return torch.logsumexp(log_gate + logits.log_softmax(-3), dim=-2)

    def combine(self, mixing: Mixing) -> Tensor:
        """Logit of P(class 1), (*S, B); of C > 2 classes the logits of each, (*S, C, B).

        `logits`: sum_k g_k f_k. `probabilities`: of P = sum_k g_k sigma(f_k). The gate g is the
        softmax over all experts, and the f_k of those that are not chosen is 0 (Fedus et al. 2021,
        eq. 2): each weight thus grows where its expert is correct, even where only one is chosen.
        Of C classes, f_k has C logits, and sigma is their softmax.
        """
        if mixing == "logits":
            weights = self.weights.unsqueeze(-3) if self.is_multiclass else self.weights
            return (weights * self.expert_logits).sum(-2)
        if self.is_multiclass:
            return self.class_log_likelihoods()
        return self.log_likelihood(1.0) - self.log_likelihood(0.0)


class SparseMixture(Mixture):
    """A mixture in which a point has few of many experts, and the others cost next to nothing.

    The experts that are not chosen for a point have logits of 0, all of them: together they are one
    expert, whose gate probability is the sum of theirs.
    """

    def merged(self) -> Mixture:
        """Return the same mixture of J + 1 experts, where a point has at most J: (*S, J + 1, B)."""
        most = int(self.chosen.sum(-2).max())
        own = self.chosen.to(torch.uint8).topk(most, dim=-2).indices  # (*S, J, B)
        is_other = torch.ones_like(self.chosen).scatter(-2, own, False)
        lowest = torch.finfo(self.gate_logits.dtype).min  # finite also where there is no other
        other = self.gate_logits.where(is_other, lowest).logsumexp(-2, keepdim=True)
        index = own.unsqueeze(-3) if self.is_multiclass else own
        return Mixture(
            torch.cat([self.gate_logits.gather(-2, own), other], -2),
            F.pad(self.chosen.gather(-2, own), (0, 0, 0, 1)),
            F.pad(torch.take_along_dim(self.expert_logits, index, -2), (0, 0, 0, 1)),
        )

    def log_likelihood(self, label: Tensor | float) -> Tensor:
        """Return what `Mixture.log_likelihood` does."""
        return self.merged().log_likelihood(label)

    def class_log_likelihoods(self) -> Tensor:
        """Return what `Mixture.class_log_likelihoods` does."""
        return self.merged().class_log_likelihoods()

    def combine(self, mixing: Mixing) -> Tensor:
        """Return what `Mixture.combine` does."""
        return self.merged().combine(mixing)


class MixtureOfExperts(nn.Module):
    """K experts and a gating network on points in D dimensions.

    All linear experts are one affine map: its k-th output is the k-th expert's logit. In training,
    experts with a hidden layer are evaluated only at the points routed to them; linear ones are so
    small that choosing would cost more than it saves.

    Args:
        in_features, num_experts: D and K.
        expert_hidden: H, units of each expert's hidden layer (0: linear experts).
        num_classes: 2, which have one logit, that of class 1; or C > 2, which have one each.
        mixing: what the gate averages, the experts' `logits` or their `probabilities`.
        temperature: T divides the gate's logits and multiplies the experts'. The set of
            functions that the model can represent stays the same; training starts from a soft
            gate and steep experts. Mixed logits need that. Where the gate is nearly linear, its
            product with a linear expert is nearly quadratic, and the boundary can be a curve; at
            T = 1 that region lies at tiny gate weights and huge expert weights, which Adam does
            not reach.
        stack: shape of a stack of independent copies, trained and evaluated side by side.
        gate, gate_hidden: kind and hidden units of the gate, see `GatingNetwork`.
        top_k, routing, routing_noise, bias_update_rate: likewise.

    Raises:
        ValueError: `num_experts` below 1, or no power of two under a hierarchical gate; `top_k`
            above it.

    """

    def __init__(
        self,
        in_features: int,
        num_experts: int,
        *,
        num_classes: int,
        mixing: Mixing,
        expert_hidden: int,
        gate: GateName,
        gate_hidden: int,
        top_k: int,
        routing: Routing,
        routing_noise: float,
        bias_update_rate: float,
        temperature: float,
        stack: tuple[int, ...] = (),
    ):
        super().__init__()
        if num_experts < 1:
            raise ValueError(f"num_experts={num_experts} is below 1")
        self.mixing: Mixing = mixing
        self.temperature, self.num_classes, self.num_experts = temperature, num_classes, num_experts
        self.expert_hidden = expert_hidden
        num_logits = 1 if num_classes == 2 else num_classes
        self.experts: Any = (  # whose weights have another shape in each case
            MLP(in_features, expert_hidden, num_logits, (*stack, num_experts))
            if expert_hidden
            else StackedLinear(in_features, num_logits * num_experts, stack)
        )
        routing_options = (top_k, routing, routing_noise, bias_update_rate, temperature)
        self.gate = GatingNetwork(
            in_features, num_experts, gate, gate_hidden, *routing_options, stack
        )

    def mix(self, x: Tensor) -> Mixture:
        """Evaluate gate and experts at points x, (B, D) float."""
        gate_logits, chosen, selection_probability = self.gate(x)
        is_sparse = self.training and self.expert_hidden and 0 < self.gate.top_k < self.num_experts
        if is_sparse:
            logits = evaluate_chosen(self._experts_apart, x, chosen).transpose(-3, -2)
        elif self.expert_hidden:
            logits = self._experts_apart(x).transpose(-3, -2)
        else:
            logits = self.temperature * self.experts(x.mT).unflatten(-2, (-1, self.num_experts))
        if self.num_classes == 2:  # from (*S, L, K, B)
            logits = logits.squeeze(-3)
        kind = SparseMixture if is_sparse else Mixture
        return kind(gate_logits, chosen, logits, selection_probability)

    def _experts_apart(self, x: Tensor) -> Tensor:
        """Map points (B, D), or (*S, K, B, D) of each expert, to (*S, K, L, B)."""
        logits: Tensor = self.temperature * self.experts(x)
        return logits

    def num_active_parameters(self) -> int:
        """Return the parameters with which a point is classified: the gate's and its experts'.

        Where a point is not routed to `top_k` experts, it is to one, by hard (top-1) routing.
        """
        experts = num_parameters(self.experts) // self.num_experts * (self.gate.top_k or 1)
        return num_parameters(self.gate.scores) + experts

    def expert_weights(self) -> Tensor:
        """Return the linear experts' weights, without S: (K, 1, D), or (K, C, D) of C > 2."""
        weights: Tensor = self.temperature * self.experts.weight.detach()
        return weights.view(-1, self.num_experts, weights.shape[-1]).transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits for points x, (B, D) float: (*S, B), or (*S, B, C) of C > 2 classes."""
        logits = self.mix(x).combine(self.mixing)
        return logits.mT if self.num_classes > 2 else logits

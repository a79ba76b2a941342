"""Losses of a mixture of experts, and how evenly its gate spreads the points over them.

Letters for dimensions are those of models/moe.py: S a stack of independent copies of the model
(often none), B batch, K experts, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.choices import BalanceLoss
from models.moe import Mixture


def competitive_loss(mixture: Mixture, labels: Tensor) -> Tensor:
    """-log sum_k g_k p_k(y), the mean over the batch, (*S,); Jacobs et al. 1991, eq. 1.3.

    The gradient of each expert is weighted by its responsibility for the point, so that experts
    specialise. p_k is the Bernoulli likelihood of expert k, in place of the Gaussian of the paper.
    `labels` is (B,) float, 0 or 1.

    With `mixing="probabilities"` this equals the cross-entropy of the mixture; with
    `mixing="logits"` it does not. Of C > 2 classes, labels are (B,) int64.
    """
    if mixture.is_multiclass:
        return cross_entropy(mixture.class_log_likelihoods(), labels)
    return -mixture.log_likelihood(labels).mean(-1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of -log P(label), (*S,), in nats.

    Logits are (*S, B) with labels (B,) float, 0 or 1; or (*S, C, B) with labels (B,) int64.
    """
    if labels.is_floating_point():
        return F.softplus(torch.where(labels > 0.5, -logits, logits)).mean(-1)
    indices = labels.expand(*logits.shape[:-2], 1, -1)
    return -logits.log_softmax(-2).gather(-2, indices).squeeze(-2).mean(-1)


def class_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of each class, (B, C), from logits and labels as above, without S."""
    if labels.is_floating_point():
        return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=1)
    return logits.softmax(0).T


def expert_load(mixture: Mixture, top_k: int) -> Tensor:
    """Fraction of the routed points that each expert gets, (*S, K), summing to one over K.

    A point counts for each of the `top_k` experts that are chosen for it; where all are (0), for
    the one of largest weight.
    """
    gate = mixture.gate
    if 0 < top_k < gate.shape[-2]:
        return mixture.chosen.to(gate.dtype).mean(-1) / top_k
    return torch.zeros_like(gate).scatter(-2, gate.argmax(-2, keepdim=True), 1).mean(-1)


def balance_loss(mixture: Mixture, top_k: int, kind: BalanceLoss) -> Tensor:
    """Return what is the larger, the less evenly the points are spread over the experts, (*S,)."""
    if kind == "importance_and_load":
        return importance_loss(mixture) + load_loss(mixture)
    return switch_loss(mixture, top_k)


def importance_loss(mixture: Mixture) -> Tensor:
    """Squared coefficient of variation of the experts' importance, (*S,), the sum of their weights.

    Shazeer et al. 2017, eq. 6 and 7.
    """
    return coefficient_of_variation(mixture.weights.sum(-1)).square()


def load_loss(mixture: Mixture) -> Tensor:
    """Squared coefficient of variation of the experts' expected load, (*S,).

    The expected load is the sum of the probabilities with which the noise chooses an expert: in
    contrast to the number of points, it has a gradient. Without noise it is that number.
    Shazeer et al. 2017, eq. 10 and 11.
    """
    selected = mixture.selection_probability
    if selected is None:
        selected = mixture.chosen.to(mixture.gate_logits.dtype)
    return coefficient_of_variation(selected.sum(-1)).square()


def switch_loss(mixture: Mixture, top_k: int) -> Tensor:
    """K sum_k f_k P_k, (*S,): load times mean probability; Fedus et al. 2021 (Switch), eq. 4 to 6.

    It is 1 where points and probabilities are spread evenly over the experts, and K where one
    expert gets all of both. P_k is that of the softmax over all experts: it is the load that has
    no gradient, and P_k that moves the gate.
    """
    gate = mixture.gate
    return gate.shape[-2] * (expert_load(mixture, top_k) * gate.mean(-1)).sum(-1)


def z_loss(gate_logits: Tensor) -> Tensor:
    """Mean of (log sum_k exp gate_logits_k)^2, (*S,), a penalty on large logits of the gate.

    Zoph et al. 2022 (ST-MoE), eq. 5. `gate_logits` is (*S, K, B).
    """
    return torch.logsumexp(gate_logits, dim=-2).square().mean(-1)


def gate_entropy(gate: Tensor) -> Tensor:
    """Mean entropy of the gate's probabilities (*S, K, B), in nats: (*S,), from 0 to log K."""
    entropy: Tensor = torch.special.entr(gate)
    return entropy.sum(-2).mean(-1)


def coefficient_of_variation(load: Tensor) -> Tensor:
    """Divide the standard deviation of the experts' load by its mean, (*S,); 0 is perfect balance.

    `load` is (*S, K); Shazeer et al. 2017, section 4.
    """
    return load.std(-1, correction=0) / load.mean(-1)

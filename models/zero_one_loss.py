"""The zero-one loss, which counts errors, made smooth so that it has a gradient.

Letters: S a stack of independent models (often none), B batch, C classes.
"""

import torch
from torch import Tensor


def smoothed_zero_one_loss(logits: Tensor, labels: Tensor, sharpness: float) -> Tensor:
    """Mean over the batch of sigmoid(-sharpness * margin), (*S,), in [0, 1].

    The margin is the label's logit minus the largest other one; of two classes with one logit, that
    logit with the label's sign. Where `sharpness` grows, the loss approaches the share of points
    that are classified incorrectly. Logits are (*S, B) with labels (B,) float, 0 or 1; or
    (*S, C, B) with labels (B,) int64.
    """
    return (-sharpness * _margin(logits, labels)).sigmoid().mean(-1)


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return torch.where(labels > 0.5, logits, -logits)
    indices = labels.expand(*logits.shape[:-2], 1, -1)
    others = logits.scatter(-2, indices, -torch.inf).amax(-2)
    return logits.gather(-2, indices).squeeze(-2) - others

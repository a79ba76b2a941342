"""Sparse computation of a mixture: each expert is evaluated at the points routed to it, no others.

The points of each expert are gathered into rows of equal length, as many as the busiest expert
has, so that the experts remain batched matrix products. S is a stack of copies, K experts, B batch,
D features and L outputs of an expert.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def evaluate_chosen(experts: Callable[[Tensor], Tensor], x: Tensor, chosen: Tensor) -> Tensor:
    """Return the outputs of experts at the points routed to them, (*S, K, L, B).

    Where the load is even, this costs about top_k / K of evaluating all experts at all points, and
    more as it becomes uneven. Elsewhere outputs are zero, or, of experts with fewer points than the
    busiest one, what the expert says: a mixture must not use them.

    Args:
        experts: maps points (*S, K, N, D), N for each expert, to outputs (*S, K, L, N).
        x: (B, D) float.
        chosen: (*S, K, B) bool, whether a point is routed to an expert.

    """
    # The one number that is read back from the device in a step: the shapes depend on it.
    capacity = int(chosen.sum(-1).max())
    # Indices of each expert's own points first, then of others until all experts have as many.
    points = chosen.to(torch.uint8).topk(capacity, dim=-1, sorted=False).indices  # (*S, K, N)
    outputs = experts(x[points])
    everywhere = outputs.new_zeros(*outputs.shape[:-1], x.shape[0])
    return everywhere.scatter(-1, points.unsqueeze(-2).expand_as(outputs), outputs)

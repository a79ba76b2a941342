"""The tree of gates of a hierarchical mixture of experts.

Each inner node of a binary tree is a gate, which sends a point to the left or to the right; the
leaves are the experts. A leaf's probability is the product of those along its path:

    g_k = prod over the nodes m above k of sigmoid(z_m) to the right, or sigmoid(-z_m) to the left

M. Jordan, R. Jacobs, "Hierarchical mixtures of experts and the EM algorithm", 1994, section 2.

Nodes are numbered level by level from the root, and from left to right within a level; so are the
leaves. S is a stack of trees, K = 2^depth leaves, B points; there are K - 1 nodes. A function goes
through the levels one after the other, with all nodes of one at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def leaf_log_probabilities(node_logits: Tensor) -> Tensor:
    """Return log g_k, (*S, K, B), from the logits z_m of going right, (*S, K - 1, B)."""
    log_reach = torch.zeros_like(node_logits[..., :1, :])  # of the nodes of a level; first the root
    while (width := log_reach.shape[-2]) <= node_logits.shape[-2]:
        z = node_logits[..., width - 1 : 2 * width - 1, :]
        both = torch.stack([log_reach + F.logsigmoid(-z), log_reach + F.logsigmoid(z)], dim=-2)
        log_reach = both.flatten(-3, -2)
    return log_reach


def branch_sums(values: Tensor) -> Tensor:
    """Return what the leaves to the left and to the right of each node add up to.

    From values of the leaves, (*S, K, B), to (*S, K - 1, 2, B), left and right.
    """
    levels: list[Tensor] = []
    while values.shape[-2] > 1:
        pairs = values.unflatten(-2, (-1, 2))
        levels.insert(0, pairs)
        values = pairs.sum(-2)
    return torch.cat(levels, dim=-3)

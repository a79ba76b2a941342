"""Pooling over the steps of sequences of different lengths, without their padding.

Letters: B sequences, T steps, F features.
"""

import math

import torch
from torch import Tensor, nn

from models.choices import PoolingName


class Pooling(nn.Module):
    """One feature vector for each sequence.

    Args:
        kind: `last` takes the features of the last step; `mean` and `max` are over all steps;
            `attention` is a mean with trained weights (Bahdanau et al. 2015, with one query).
        width: F.

    """

    def __init__(self, kind: PoolingName, width: int):
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(width, 1) if kind == "attention" else None

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, F) and lengths (B,) int64 to (B, F)."""
        if self.kind == "last":
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, features.shape[-1])  # (B, 1, F)
            return features.gather(1, last).squeeze(1)
        padding = padding_mask(features, lengths).unsqueeze(-1)  # (B, T, 1)
        if self.kind == "max":
            return features.masked_fill(padding, -math.inf).amax(1)
        weighted = self.weights(features, lengths).unsqueeze(-1) * features
        return weighted.masked_fill(padding, 0).sum(1)

    def weights(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the weight of each step in the mean, (B, T), which sum to 1 over the steps."""
        padding = padding_mask(features, lengths)
        if self.score is None:
            return (~padding).to(features.dtype) / lengths.unsqueeze(1)
        scores: Tensor = self.score(features).squeeze(-1)
        return scores.masked_fill(padding, -math.inf).softmax(-1)


def padding_mask(features: Tensor, lengths: Tensor) -> Tensor:
    """Return which steps of (B, T, ...) lie beyond the ends of the sequences, (B, T) bool."""
    steps = torch.arange(features.shape[1], device=features.device)
    return steps >= lengths.unsqueeze(1)

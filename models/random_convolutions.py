"""Random convolutions as features of series: no weight of them is trained.

    A. Dempster, D. F. Schmidt, G. I. Webb, "Hydra: competing convolutional kernels for fast and
    accurate time series classification", 2023

Letters: B sequences, N of a training split, T steps, C channels, F features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pooling import padding_mask

KERNEL_SIZE = 9
GROUP_SIZE = 4  # eight in the paper; so any multiple of 4 can be the width
MAX_CHANNELS = 8
"""How many channels a group of kernels sees at most."""
SMALLEST_MEAN = 1e-4
"""Added before the square root, whose gradient at 0 is infinite."""


class Hydra(nn.Module):
    """Random kernels that compete in groups: at each step, the largest response of a group counts.

    A feature is the response of its kernel where that is the largest of four and positive, else 0:
    its mean over the steps says how often, and how well, a pattern fits. Layer l of L has a
    dilation of 2 ** l; half of its groups see the channels, the others their changes from step to
    step. Padding is set to 0, like the steps before the beginning of a sequence. The paper also
    counts the smallest responses.

    Args:
        num_channels: C; each group sees the sum of a random half of them, two to eight.
        width: F, a multiple of 4.
        num_layers: L.

    """

    kernels: Tensor

    def __init__(self, num_channels: int, width: int, num_layers: int):
        super().__init__()
        kernels = torch.randn(width, 1, KERNEL_SIZE)
        kernels = kernels - kernels.mean(-1, keepdim=True)
        kernels = kernels / kernels.abs().sum(-1, keepdim=True)
        num_groups, num_seen = width // GROUP_SIZE, min(max(num_channels // 2, 2), MAX_CHANNELS)
        is_seen = torch.rand(num_groups, num_channels).argsort(1) < num_seen  # (groups, C)
        is_seen = is_seen.repeat_interleave(GROUP_SIZE, dim=0).unsqueeze(-1)  # (F, C, 1)
        self.register_buffer("kernels", kernels * is_seen)  # (F, C, 9)
        branches = 2 * num_layers  # of each layer, one sees the channels and one their changes
        self.sizes = [
            GROUP_SIZE * len(range(branch, num_groups, branches)) for branch in range(branches)
        ]

    def forward(
        self,
        channels: Tensor,
        lengths: Tensor,
        pool: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F), or with `pool` to (B, F).

        What pools each feature by itself is best given here: the thousands of features of all steps
        are then never in memory together.
        """
        padding = padding_mask(channels, lengths).unsqueeze(-1)  # (B, T, 1)
        changes = F.pad(channels[:, 1:] - channels[:, :-1], (0, 0, 1, 0))
        seen = [each.masked_fill(padding, 0).transpose(1, 2) for each in (channels, changes)]
        features = []
        for branch, kernels in enumerate(self.kernels.split(self.sizes)):
            if len(kernels):
                layer, kind = divmod(branch, 2)
                responses = F.conv1d(seen[kind], kernels, padding="same", dilation=2**layer)
                groups = responses.unflatten(1, (-1, GROUP_SIZE))  # (B, groups, 4, T)
                largest = groups.amax(2, keepdim=True).relu()
                winners = groups.masked_fill(groups < largest, 0).flatten(1, 2).transpose(1, 2)
                features.append(pool(winners, lengths) if pool else winners)
        return torch.cat(features, dim=-1)


class RandomFeatureScaling(nn.Module):
    """Square roots of pooled features, with a mean of 0 and a variance of 1 over training.

    The deviation of a feature that hardly varies there, because its kernel hardly ever wins, counts
    as a tenth of the largest. Before `fit`, it is the square root alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, pooled: Tensor) -> None:
        """Take mean and standard deviation from the pooled features of sequences, (N, F)."""
        roots = self.root(pooled)
        std = roots.std(0, correction=0)
        std = std.clamp(min=0.1 * std.max())
        self.mean.copy_(roots.mean(0))
        self.std.copy_(torch.where(std > 0, std, 1.0))  # of a single sequence, it is 0

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (B, F) to the same shape."""
        return (self.root(pooled) - self.mean) / self.std

    def root(self, pooled: Tensor) -> Tensor:
        """Return the square roots of (B, F), which are at least 0."""
        return (pooled + SMALLEST_MEAN).sqrt()

"""Random convolutions as features of series: no weight of them is trained.

    A. Dempster, D. F. Schmidt, G. I. Webb, "Hydra: competing convolutional kernels for fast and
    accurate time series classification", 2023
    C. W. Tan, A. Dempster, C. Bergmeir, G. I. Webb, "MultiRocket: multiple pooling operators and
    transformations for fast and effective time series classification", 2022

Letters: B sequences, N of a training split, T steps, C channels, F features, K kernels.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.pooling import padding_mask

Pool = Callable[[Tensor, Tensor], Tensor]
"""What maps features of all steps and lengths to one vector for each sequence, as `Pooling`."""

KERNEL_SIZE = 9
GROUP_SIZE = 4  # eight in the paper; so any multiple of 4 can be the width
MAX_CHANNELS = 8
"""How many channels a group of kernels sees at most."""
NUM_STATISTICS = 4
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2
SMALLEST_MEAN = 1e-4
"""Added before the square root, whose gradient at 0 is infinite."""


class RandomConvolutions(nn.Module):
    """Kernels of nine steps that are drawn at random, by branch.

    Layer l of L has a dilation of 2 ** l; half of its kernels see the channels, the others their
    changes from step to step. Padding is set to 0, like the steps before the beginning of a
    sequence.

    Args:
        kernels: (K, 9), drawn.
        num_channels: C; each group sees the sum of a random half of them, two to eight.
        num_layers: L.
        group_size: how many kernels that follow each other are a group, in one branch.

    """

    kernels: Tensor

    def __init__(self, kernels: Tensor, num_channels: int, num_layers: int, group_size: int):
        super().__init__()
        num_groups = len(kernels) // group_size
        num_seen = min(max(num_channels // 2, 2), MAX_CHANNELS)
        is_seen = torch.rand(num_groups, num_channels).argsort(1) < num_seen  # (groups, C)
        is_seen = is_seen.repeat_interleave(group_size, dim=0).unsqueeze(-1)  # (K, C, 1)
        self.register_buffer("kernels", kernels.unsqueeze(1) * is_seen)  # (K, C, 9)
        branches = 2 * num_layers  # of each layer, one sees the channels and one their changes
        self.sizes = [
            group_size * len(range(branch, num_groups, branches)) for branch in range(branches)
        ]

    def responses(self, channels: Tensor, lengths: Tensor) -> Iterator[Tensor]:
        """Yield the outputs of the kernels of each branch that has some, (B, K of it, T)."""
        padding = padding_mask(channels, lengths).unsqueeze(-1)  # (B, T, 1)
        changes = F.pad(channels[:, 1:] - channels[:, :-1], (0, 0, 1, 0))
        seen = [each.masked_fill(padding, 0).transpose(1, 2) for each in (channels, changes)]
        for branch, kernels in enumerate(self.kernels.split(self.sizes)):
            if len(kernels):
                layer, kind = divmod(branch, 2)
                yield F.conv1d(seen[kind], kernels, padding="same", dilation=2**layer)


class Hydra(RandomConvolutions):
    """Random kernels that compete in groups: at each step, the largest response of a group counts.

    A feature is the response of its kernel where that is the largest of four and positive, else 0:
    its mean over the steps says how often, and how well, a pattern fits. The paper also counts the
    smallest responses.

    Args:
        num_channels: C.
        width: F, a multiple of 4.
        num_layers: L.

    """

    def __init__(self, num_channels: int, width: int, num_layers: int):
        kernels = torch.randn(width, KERNEL_SIZE)
        kernels = kernels - kernels.mean(-1, keepdim=True)
        kernels = kernels / kernels.abs().sum(-1, keepdim=True)
        super().__init__(kernels, num_channels, num_layers, GROUP_SIZE)
        self.num_means = width

    def forward(self, channels: Tensor, lengths: Tensor, pool: Pool | None = None) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F), or with `pool` to (B, F).

        What pools each feature by itself is best given here: the thousands of features of all steps
        are then never in memory together.
        """
        features = []
        for responses in self.responses(channels, lengths):
            groups = responses.unflatten(1, (-1, GROUP_SIZE))  # (B, groups, 4, T)
            largest = groups.amax(2, keepdim=True).relu()
            winners = groups.masked_fill(groups < largest, 0).flatten(1, 2).transpose(1, 2)
            features.append(pool(winners, lengths) if pool else winners)
        return torch.cat(features, dim=-1)


class MultiRocket(RandomConvolutions):
    """Four statistics of where the response of a kernel is above a threshold.

    Share of these steps, mean of what exceeds the threshold, mean place of these steps (0 at the
    beginning, 1 at the end), and longest stretch of them as a share of the sequence. A kernel has
    the weights 2/12 at three places and -1/12 at the six others; the paper has different dilations,
    and leaves the steps near the ends out of half of its statistics.

    Args:
        num_channels: C.
        width: F, a multiple of 4.
        num_layers: L.

    """

    thresholds: Tensor

    def __init__(self, num_channels: int, width: int, num_layers: int):
        places = torch.combinations(torch.arange(KERNEL_SIZE), 3)  # (84, 3)
        kernels = torch.full((len(places), KERNEL_SIZE), -1 / 12).scatter(1, places, 2 / 12)
        count = width // NUM_STATISTICS
        drawn = torch.randperm(max(count, len(kernels)))[:count] % len(kernels)
        super().__init__(kernels[drawn], num_channels, num_layers, group_size=1)
        self.register_buffer("thresholds", torch.zeros(count))

    def fit(self, channels: Tensor, lengths: Tensor) -> None:
        """Take the thresholds from sequences (N, T, C) of lengths (N,): quantiles of responses.

        Which quantile is a multiple of the golden ratio, without its integer part: of any number of
        kernels, these lie evenly between 0 and 1.
        """
        is_step = ~padding_mask(channels, lengths)
        ordered = [
            responses.transpose(1, 2)[is_step].sort(0).values  # (steps, K of the branch)
            for responses in self.responses(channels, lengths)
        ]
        ranks = torch.cat(ordered, dim=1)
        levels = torch.arange(1, len(self.kernels) + 1) * GOLDEN_RATIO % 1
        index = (levels * len(ranks)).long().unsqueeze(0)  # (1, K)
        self.thresholds.copy_(ranks.gather(0, index).squeeze(0))

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, F)."""
        is_step = ~padding_mask(channels, lengths).unsqueeze(1)  # (B, 1, T)
        steps = torch.arange(channels.shape[1], device=channels.device).to(channels.dtype)
        length = lengths.unsqueeze(1).to(channels.dtype)  # (B, 1)
        sizes = [size for size in self.sizes if size]
        statistics = []
        branches = zip(self.responses(channels, lengths), self.thresholds.split(sizes), strict=True)
        for responses, thresholds in branches:
            excess = responses - thresholds.unsqueeze(1)  # (B, K, T)
            is_above = (excess > 0) & is_step
            count = is_above.sum(-1).to(channels.dtype)
            last_below = steps.masked_fill(is_above, -1).cummax(-1).values
            longest = (steps - last_below).amax(-1)  # 0 steps where it is not above
            several = count.clamp(min=1)
            statistics += [
                count / length,
                excess.masked_fill(~is_above, 0).sum(-1) / several,
                ((steps + 0.5) * is_above).sum(-1) / (several * length),
                longest / length,
            ]
        return torch.cat(statistics, dim=1)


class MultiRocketHydra(nn.Module):
    """Hydra for one half of the features, MultiRocket for the other.

    Args:
        num_channels: C.
        width: F, a multiple of 8.
        num_layers: L.

    """

    def __init__(self, num_channels: int, width: int, num_layers: int):
        super().__init__()
        self.num_means = width // 2
        self.hydra = Hydra(num_channels, width // 2, num_layers)
        self.multirocket = MultiRocket(num_channels, width // 2, num_layers)

    def forward(self, channels: Tensor, lengths: Tensor, pool: Pool | None = None) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F), or with `pool` to (B, F).

        The statistics are of whole sequences, the same at each step: there is nothing to pool.
        """
        winners = self.hydra(channels, lengths, pool)
        statistics = self.multirocket(channels, lengths)
        if not pool:
            statistics = statistics.unsqueeze(1).expand(-1, channels.shape[1], -1)
        return torch.cat([winners, statistics], dim=-1)


class RandomFeatureScaling(nn.Module):
    """Pooled features with a mean of 0 and a variance of 1 over training.

    Of those of Hydra, square roots are taken first; the deviation of one that hardly varies over
    training, because its kernel hardly ever wins, counts as a tenth of the largest. Before `fit`,
    these roots are all that is done.

    Args:
        width: F.
        num_means: how many of them, the first, are means of Hydra.

    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, num_means: int):
        super().__init__()
        self.num_means = num_means
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, pooled: Tensor) -> None:
        """Take mean and standard deviation from the pooled features of sequences, (N, F)."""
        features = self.root(pooled)
        std = features.std(0, correction=0)
        std[: self.num_means].clamp_(min=0.1 * std[: self.num_means].max())
        self.mean.copy_(features.mean(0))
        self.std.copy_(torch.where(std > 0, std, 1.0))  # of a single sequence, it is 0

    def forward(self, pooled: Tensor) -> Tensor:
        """Map (B, F) to the same shape."""
        return (self.root(pooled) - self.mean) / self.std

    def root(self, pooled: Tensor) -> Tensor:
        """Return (B, F) with the square roots of Hydra's features, which are at least 0."""
        means, statistics = pooled.tensor_split([self.num_means], dim=1)
        return torch.cat([(means + SMALLEST_MEAN).sqrt(), statistics], dim=1)

"""How many parameters a network has, and how wide one of so many parameters is."""

from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import nn


def num_parameters(network: nn.Module) -> int:
    """Count the parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def matching_width(build: Callable[[int], nn.Module], count: int, multiple_of: int = 1) -> int:
    """Return the width with which a network comes nearest to a number of parameters.

    Args:
        build: returns the network of a width; it is called without memory for the parameters.
        count: number of parameters.
        multiple_of: what the width has to be a multiple of.

    """

    def size(steps: int) -> int:
        with torch.device("meta"):  # shapes without numbers
            return num_parameters(build(steps * multiple_of))

    limit = 2
    while size(limit) < count:
        limit *= 2
    wider = 1 + bisect_left(range(1, limit), count, key=size)  # the first that has as many
    steps = min(wider, max(1, wider - 1), key=lambda each: abs(size(each) - count))
    return steps * multiple_of

"""Points with classes, as the mixtures of experts take them."""

from typing import NamedTuple

from torch import Tensor


class Points(NamedTuple):
    """Points (N, D) float32 and their classes (N,): float32, 0 or 1; of more than two, int64."""

    points: Tensor
    labels: Tensor

"""Batches of tensors that already lie where the arithmetic is."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


class TensorBatches:
    """Iterate over rows of tensors that share their first dimension, shuffled or in order.

    A last batch of one row, of which batch norm can measure no variance, joins the one before.

    A batch is one indexing operation per tensor; nothing is loaded, copied between devices or
    looped over by sample. Each pass shuffles anew with torch's global generator, which a
    checkpoint holds, so a resumed run sees the very same batches.

    Args:
        tensors: each (N, ...), all on one device.
        batch_size: rows per batch; the last batch of a pass may be smaller.
        shuffle: whether each pass has an order of its own.

    """

    def __init__(self, *tensors: Tensor, batch_size: int, shuffle: bool = False):
        if len({len(tensor) for tensor in tensors}) != 1:
            raise ValueError(f"tensors of different lengths: {[len(t) for t in tensors]}")
        self.tensors = tensors
        self.shuffle = shuffle
        whole, left = divmod(len(tensors[0]), batch_size)
        self._sizes = [batch_size] * whole + [left] * (left > 0)
        if left == 1 and whole > 0:
            self._sizes[-2:] = [batch_size + 1]

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if not self.shuffle:
            yield from zip(*(torch.split(t, self._sizes) for t in self.tensors), strict=True)
            return
        order = torch.randperm(len(self.tensors[0])).to(self.tensors[0].device)
        for rows in torch.split(order, self._sizes):
            yield tuple(tensor[rows] for tensor in self.tensors)


class MappedBatches:
    """Batches that pass through a function on their way, on the device they lie on.

    Args:
        batches: where they come from.
        function: takes the tensors of a batch and returns what the loss function is given.

    """

    def __init__(self, batches: TensorBatches, function: Callable[..., Any]):
        self.batches = batches
        self.function = function

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            yield self.function(*batch)


class DrawnBatches:
    """Batches of an epoch that are drawn when their turn comes, and never again.

    Args:
        draw: draws the batch of a number, from 0 on; the same number gives the same batch.
        epoch: which one, counted from 1.
        num_batches: of each epoch.

    """

    def __init__(self, draw: Callable[[int], Any], epoch: int, num_batches: int):
        self.draw = draw
        self.numbers = range((epoch - 1) * num_batches, epoch * num_batches)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Any]:
        return map(self.draw, self.numbers)

"""Batches of tensors that already lie where the arithmetic is."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

CPU = torch.device("cpu")


class Batches(Protocol):
    """Any iterable of batches that knows how many there are."""

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class TensorBatches:
    """Iterate over rows of tensors that share their first dimension, shuffled or in order.

    A last batch of one row, of which batch norm can measure no variance, joins the one before.
    Each pass shuffles anew with torch's global generator, which a checkpoint holds, so a resumed
    run sees the very same batches.

    Args:
        tensors: each (N, ...), all on one device; anything else among them is left out.
        batch_size: rows per batch; the last batch of a pass may be smaller.
        shuffle: whether each pass has an order of its own.

    """

    def __init__(self, *tensors: Any, batch_size: int, shuffle: bool = False):
        self.tensors = [each for each in tensors if isinstance(each, Tensor)]
        if len({len(tensor) for tensor in self.tensors}) != 1:
            raise ValueError(f"tensors of different lengths: {[len(t) for t in self.tensors]}")
        self.shuffle = shuffle
        whole, left = divmod(len(self.tensors[0]), batch_size)
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
            yield tuple(rows_of(tensor, rows) for tensor in self.tensors)


def rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return the rows of a tensor (N, ...), in its memory layout; eight times as fast as indexing.

    `index_select` copies whole rows where they lie in one piece, as those of channels_last images
    do once their channels come last, too.
    """
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return tensor.index_select(0, rows)


@dataclasses.dataclass(frozen=True)
class MappedBatches:
    """Batches that pass through a function, which takes the parts of a batch, on their way."""

    batches: Batches
    function: Callable[..., Any]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            yield self.function(*batch)


@dataclasses.dataclass(frozen=True)
class GeneratedSamples:
    """A training split without end: new samples in every epoch, generated when they are needed.

    Args:
        generate: returns a batch, given the epoch, counted from 1, the number of the batch, from
            0 on over all epochs, and the device that it is to lie on; the same batch each time.
        num_batches: of each epoch.
        device: where batches are generated.

    """

    generate: Callable[[int, int, torch.device], Any]
    num_batches: int
    device: torch.device = CPU

    def batches(self, epoch: int) -> "GeneratedBatches":
        """Return the batches of an epoch, counted from 1."""
        return GeneratedBatches(self, epoch)


@dataclasses.dataclass(frozen=True)
class GeneratedBatches:
    """The batches of one epoch, each generated when it is its turn."""

    samples: GeneratedSamples
    epoch: int

    def __len__(self) -> int:
        return self.samples.num_batches

    def __iter__(self) -> Iterator[Any]:
        first = (self.epoch - 1) * len(self)
        for number in range(first, first + len(self)):
            yield self.samples.generate(self.epoch, number, self.samples.device)


def to_device(split: Any, device: torch.device) -> Any:
    """Return a split with its tensors on a device: a named tuple, or `GeneratedSamples`."""
    if isinstance(split, GeneratedSamples):
        return dataclasses.replace(split, device=device)
    return type(split)(*(p.to(device) if isinstance(p, Tensor) else p for p in split))

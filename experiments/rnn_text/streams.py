"""A text as parallel streams that are read chunk by chunk, with the state that is carried along.

Letters: N characters, B streams, T steps of a chunk.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.corpus import Text, contiguous_chunks
from harness.experiment import Splits
from models.recurrent import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextSplits(Splits[Text]):
    """The three thirds, what they are made of, and what was left out of them."""

    vocabulary: Vocabulary
    dropped_share: float
    """Fraction of the text's characters that are dropped, see `datasets.corpus.Corpus`."""


@dataclasses.dataclass
class Carry:
    """The state of the network after the chunk before, which the chunks of one pass share."""

    state: State | None = None
    """None where the text begins."""

    def keep(self, state: State) -> None:
        """Keep a state without its history: gradients end where a chunk begins."""
        self.state = detached(state)


def detached(state: State) -> State:
    """Return a state, or the parts of one, without their history."""
    return tuple(map(detached, state)) if isinstance(state, tuple) else state.detach()


class Chunk(NamedTuple):
    """Consecutive characters (B, T) int64 of every stream, those that follow, and the state."""

    inputs: Tensor
    targets: Tensor
    carry: Carry
    naming_bits: float = 0.0
    """What rare characters cost besides, see `datasets.corpus.Text`."""


class Streams:
    """The chunks of a text in order, as `contiguous_chunks` cuts it; each pass has a new state."""

    def __init__(self, symbols: Tensor, batch_size: int, length: int, naming_bits: float = 0.0):
        self.chunks = contiguous_chunks(symbols, batch_size, length)
        self.naming_bits = naming_bits

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[Chunk]:
        carry = Carry()
        for inputs, targets in self.chunks:
            yield Chunk(inputs, targets, carry, self.naming_bits)


def one_stream(symbols: Tensor, length: int) -> Streams:
    """Return a text as one stream in which every character is a target: symbol 0 is read first."""
    return Streams(F.pad(symbols, (1, 0)), batch_size=1, length=length)

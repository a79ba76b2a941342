"""Sequences that are to be classified as a whole, drawn without end: what came when, and how much.

    temporal order    two or three marks among hundreds of distractors; the class is their order
    adding            two marked numbers among hundreds; the answer is their sum

Both are of Hochreiter & Schmidhuber 1997 (experiments 4 and 6), and cannot be solved without a
memory that lasts from the first mark to the end.

Letters: B sequences, T steps, C channels.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from datasets.errors import DataError
from datasets.tasks import Task, draw_integers

LevelName = Literal["easy", "normal", "moderate", "hard", "nightmare", "abyss"]

SYMBOLS = "BEabcdXY"
"""First and last symbol of a sequence, distractors, marks; a symbol's integer is its place."""
FIRST, LAST, DISTRACTORS, MARKS = 0, 1, (2, 6), (6, 8)


class LabelledSequences(NamedTuple):
    """Sequences side by side, the shorter ones padded by zeros at their end."""

    inputs: Tensor
    """Symbols (B, T) int64, or channels (B, T, C) float32."""
    lengths: Tensor
    """(B,) int64, at least 1."""
    labels: Tensor
    """(B,): classes, int64, or answers, float32."""


class Range(NamedTuple):
    """Where an integer is drawn from, `low` included and `high` not."""

    low: int
    high: int


class Level(NamedTuple):
    """How long sequences are and where their marks stand, counted from 0."""

    length: Range
    marks: tuple[Range, ...]


# The course's levels; "hard" has the lengths of 1997.
TWO_MARKS: dict[LevelName, Level] = {
    "easy": Level(Range(7, 9), (Range(1, 3), Range(4, 6))),
    "normal": Level(Range(30, 41), (Range(2, 6), Range(20, 28))),
    "moderate": Level(Range(60, 81), (Range(10, 21), Range(45, 55))),
    "hard": Level(Range(100, 111), (Range(10, 21), Range(50, 61))),
    "nightmare": Level(Range(300, 501), (Range(10, 81), Range(250, 291))),
}
# "hard" is of 1997; the others keep the lengths of two marks, but for "easy", which is too short.
THREE_MARKS: dict[LevelName, Level] = {
    "easy": Level(Range(9, 11), (Range(1, 3), Range(3, 5), Range(6, 8))),
    "normal": Level(Range(30, 41), (Range(2, 6), Range(11, 15), Range(20, 28))),
    "moderate": Level(Range(60, 81), (Range(10, 21), Range(28, 38), Range(45, 55))),
    "hard": Level(Range(100, 111), (Range(10, 21), Range(33, 44), Range(66, 77))),
    "nightmare": Level(Range(300, 501), (Range(10, 81), Range(130, 171), Range(250, 291))),
}
ABYSS = Range(2000, 3001)


@dataclass(frozen=True)
class TemporalOrder(Task[LabelledSequences]):
    """Marks X or Y among distractors: the class is which came first, second (and third).

    Args:
        num_marks: 2 (experiment 6a of 1997, four classes) or 3 (6b, eight classes).
        level: how long sequences are and where marks stand.

    """

    num_marks: int
    level: LevelName

    @property
    def classes(self) -> tuple[str, ...]:
        """The orders, such as XY, in the order of their labels."""
        return tuple("".join(marks) for marks in product("XY", repeat=self.num_marks))

    @property
    def longest(self) -> int:
        """Steps of the longest sequence."""
        return (ABYSS if self.level == "abyss" else self._limits.length).high - 1

    @property
    def _limits(self) -> Level:
        return (TWO_MARKS if self.num_marks == 2 else THREE_MARKS)[self.level]

    def sample(self, count: int, generator: Generator) -> LabelledSequences:  # noqa: D102
        device = generator.device
        lengths, places = self._draw_places(count, generator)  # (B,), (B, marks)
        inputs = torch.randint(
            *DISTRACTORS, (count, int(lengths.max())), generator=generator, device=device
        )
        marks = torch.randint(*MARKS, places.shape, generator=generator, device=device)
        inputs.scatter_(1, places, marks)
        inputs[:, 0] = FIRST
        inputs.scatter_(1, lengths.unsqueeze(1) - 1, LAST)
        steps = torch.arange(inputs.shape[1], device=device)
        inputs.masked_fill_(steps >= lengths.unsqueeze(1), 0)
        powers = 2 ** torch.arange(self.num_marks - 1, -1, -1, device=device)
        return LabelledSequences(inputs, lengths, ((marks - MARKS[0]) * powers).sum(1))

    def _draw_places(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw lengths (B,) and the places of the marks (B, marks)."""
        if self.level == "abyss":  # anywhere in the first third, the second, and the third
            lengths = draw_integers(ABYSS.low, ABYSS.high, (count,), generator)
            edges = lengths.unsqueeze(1) * torch.arange(4, device=lengths.device) // 3
            edges[:, 0], edges[:, 3] = 1, lengths - 1
            low, high = edges[:, : self.num_marks], edges[:, 1 : self.num_marks + 1]
            part = torch.rand(low.shape, generator=generator, device=lengths.device)
            return lengths, low + (part * (high - low)).long()
        lengths = draw_integers(*self._limits.length, (count,), generator)
        places = [draw_integers(*mark, (count,), generator) for mark in self._limits.marks]
        return lengths, torch.stack(places, dim=1)


@dataclass(frozen=True)
class Adding(Task[LabelledSequences]):
    """The sum of two numbers between 0 and 1 that are marked among others, one in each half.

    The first channel has the numbers, the second is 1 where one is marked. Who always says 1 has a
    mean squared error of 1/6; an answer is right within 0.04 (Hochreiter & Schmidhuber 1997).

    Args:
        length: T.

    """

    length: int

    tolerance = 0.04

    def sample(self, count: int, generator: Generator) -> LabelledSequences:  # noqa: D102
        device, half = generator.device, self.length // 2
        numbers = torch.rand(count, self.length, generator=generator, device=device)
        places = torch.cat(
            [
                draw_integers(0, half, (count, 1), generator),
                draw_integers(half, self.length, (count, 1), generator),
            ],
            dim=1,
        )
        marked = torch.zeros_like(numbers).scatter_(1, places, 1.0)
        lengths = torch.full((count,), self.length, device=device)
        inputs = torch.stack([numbers, marked], dim=-1)
        return LabelledSequences(inputs, lengths, numbers.gather(1, places).sum(1))


def to_text(inputs: Tensor, length: int) -> str:
    """Write a sequence (T,) of temporal order as text, such as `BacXbdcYaE`."""
    return "".join(SYMBOLS[symbol] for symbol in inputs[:length].tolist())


def from_text(text: str) -> Tensor:
    """Read a sequence of temporal order, (T,) int64.

    Raises:
        DataError: a character is none of its symbols.

    """
    for place, character in enumerate(text, start=1):
        if character not in SYMBOLS:
            raise DataError(f"{character!r} at position {place} is none of {SYMBOLS}")
    return torch.tensor([SYMBOLS.index(character) for character in text], dtype=torch.int64)

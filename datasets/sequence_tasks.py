"""Synthetic tasks in which one target belongs to a whole sequence (many to one).

    temporal order    two or three marks among hundreds of distractors; the class is their order
    adding            two marked numbers among hundreds; the target is their sum

Both are from Hochreiter & Schmidhuber 1997 (experiments 4 and 6), and cannot be solved without a
memory that lasts from the first mark to the end.

Letters: B sequences, T steps, C channels.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from datasets.choices import LevelName
from datasets.generated import GeneratedDataset, random_integers

SYMBOLS = "BEabcdXY"
"""First and last symbol of a sequence, distractors, marks; a symbol's integer is its index."""
FIRST, LAST, DISTRACTORS, MARKS = 0, 1, range(2, 6), range(6, 8)


class LabelledSequences(NamedTuple):
    """A batch of sequences, the shorter ones padded with zeros at their end."""

    inputs: Tensor
    """Symbols (B, T) int64, or channels (B, T, C) float32."""
    lengths: Tensor
    """(B,) int64, at least 1."""
    labels: Tensor
    """(B,): classes, int64, or targets of a regression, float32."""


class Level(NamedTuple):
    """The length of sequences and the positions of their marks, from 0; all equally probable."""

    length: range
    marks: tuple[range, ...]


# "hard" has the lengths of the paper.
TWO_MARKS: dict[LevelName, Level] = {
    "easy": Level(range(7, 9), (range(1, 3), range(4, 6))),
    "normal": Level(range(30, 41), (range(2, 6), range(20, 28))),
    "moderate": Level(range(60, 81), (range(10, 21), range(45, 55))),
    "hard": Level(range(100, 111), (range(10, 21), range(50, 61))),
    "nightmare": Level(range(300, 501), (range(10, 81), range(250, 291))),
}
# "hard" is that of the paper; the others keep the lengths of two marks, except "easy", which would
# be too short.
THREE_MARKS: dict[LevelName, Level] = {
    "easy": Level(range(9, 11), (range(1, 3), range(3, 5), range(6, 8))),
    "normal": Level(range(30, 41), (range(2, 6), range(11, 15), range(20, 28))),
    "moderate": Level(range(60, 81), (range(10, 21), range(28, 38), range(45, 55))),
    "hard": Level(range(100, 111), (range(10, 21), range(33, 44), range(66, 77))),
    "nightmare": Level(range(300, 501), (range(10, 81), range(130, 171), range(250, 291))),
}
ABYSS = range(2000, 3001)


@dataclass(frozen=True)
class TemporalOrder(GeneratedDataset[LabelledSequences]):
    """Marks X or Y among distractors: the class is which came first, second (and third).

    Args:
        num_marks: 2 (experiment 6a of the paper, four classes) or 3 (6b, eight classes).
        level: determines the length of sequences and the positions of marks.

    """

    num_marks: int
    level: LevelName

    symbols = tuple(SYMBOLS)

    @property
    def classes(self) -> tuple[str, ...]:
        """The orders, such as XY, in the order of their labels."""
        return tuple("".join(marks) for marks in product("XY", repeat=self.num_marks))

    @property
    def max_length(self) -> int:
        """Steps of the longest sequence."""
        return (ABYSS if self.level == "abyss" else self._limits.length)[-1]

    @property
    def _limits(self) -> Level:
        return (TWO_MARKS if self.num_marks == 2 else THREE_MARKS)[self.level]

    def sample(self, count: int, generator: Generator) -> LabelledSequences:  # noqa: D102
        lengths, positions = self._sample_positions(count, generator)  # (B,), (B, marks)
        # A program that asks a GPU for the longest waits for it: there, all are padded alike.
        on_cpu = generator.device.type == "cpu"
        steps_of_all = int(lengths.max()) if on_cpu else self.max_length
        inputs = random_integers(DISTRACTORS, (count, steps_of_all), generator)
        marks = random_integers(MARKS, positions.shape, generator)
        inputs.scatter_(1, positions, marks)
        inputs[:, 0] = FIRST
        inputs.scatter_(1, lengths.unsqueeze(1) - 1, LAST)
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        inputs.masked_fill_(steps >= lengths.unsqueeze(1), 0)
        powers = 2 ** torch.arange(self.num_marks - 1, -1, -1, device=inputs.device)
        return LabelledSequences(inputs, lengths, ((marks - MARKS.start) * powers).sum(1))

    def _sample_positions(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return random lengths (B,) and positions of the marks (B, marks)."""
        if self.level == "abyss":  # one mark in each third of the sequence (two: in the first two)
            lengths = random_integers(ABYSS, (count,), generator)
            edges = lengths.unsqueeze(1) * torch.arange(4, device=lengths.device) // 3
            edges[:, 0], edges[:, 3] = 1, lengths - 1
            low, high = edges[:, : self.num_marks], edges[:, 1 : self.num_marks + 1]
            part = torch.rand(low.shape, generator=generator, device=lengths.device)
            return lengths, low + (part * (high - low)).long()
        lengths = random_integers(self._limits.length, (count,), generator)
        positions = [random_integers(mark, (count,), generator) for mark in self._limits.marks]
        return lengths, torch.stack(positions, dim=1)


@dataclass(frozen=True)
class Adding(GeneratedDataset[LabelledSequences]):
    """The sum of two marked numbers among others in [0, 1), one in each half of the sequence.

    The first channel has the numbers, the second is 1 where one is marked. Always predicting 1 has
    a mean squared error of 1/6; a prediction is correct within 0.04 (Hochreiter & Schmidhuber
    1997).
    """

    length: int
    """Steps of every sequence, T."""

    classes = ()
    symbols: tuple[str, ...] = ()
    tolerance = 0.04

    @property
    def max_length(self) -> int:  # noqa: D102
        return self.length

    def sample(self, count: int, generator: Generator) -> LabelledSequences:  # noqa: D102
        device, half = generator.device, self.length // 2
        numbers = torch.rand(count, self.length, generator=generator, device=device)
        halves = (range(half), range(half, self.length))
        positions = torch.cat([random_integers(h, (count, 1), generator) for h in halves], dim=1)
        marked = torch.zeros_like(numbers).scatter_(1, positions, 1.0)
        lengths = torch.full((count,), self.length, device=device)
        inputs = torch.stack([numbers, marked], dim=-1)
        return LabelledSequences(inputs, lengths, numbers.gather(1, positions).sum(1))

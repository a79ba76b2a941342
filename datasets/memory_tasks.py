"""Tasks that test how much a recurrent network remembers, and for how long.

    echo            repeat the character of `delay` steps ago
    variable_echo   the same, but each sequence has a delay of its own, which the network is given
    copy            remember symbols over many blanks, then repeat them all

Those in which the inputs say what to remember, and when, are in `datasets.selective_tasks`.

Each has a chance level: the accuracy of the best predictor without memory, which knows the present
symbol (and the delay, where there is one) and nothing of those before it.

Letters: B sequences, T steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from datasets.characters import BLANK, FIRST_LETTER, VOCABULARY_SIZE
from datasets.generated import GeneratedDataset, random_integers

LETTERS = range(FIRST_LETTER, VOCABULARY_SIZE)
MARKER = LETTERS[-1]
"""z, where it says that something is to be recalled."""


class Sequences(NamedTuple):
    """A batch of sequences, the shorter ones padded with blanks at their end."""

    inputs: Tensor
    """(B, T) int64."""
    targets: Tensor
    """(B, T) int64."""
    mask: Tensor
    """(B, T) bool: which targets are scored. Blanks and padding, which are easy, are not."""
    delays: Tensor
    """(B,) int64: steps between a symbol and its echo; 0 where there is none."""


@dataclass(frozen=True)
class Echo(GeneratedDataset[Sequences]):
    """Repeat the letter of some steps ago, and blanks as long as there was none.

    Delay and number of letters are uniformly distributed over the sequences, limits included.
    """

    min_delay: int
    max_delay: int
    min_length: int
    max_length: int

    def sample(self, count: int, generator: Generator) -> Sequences:  # noqa: D102
        shape = (count, self.max_length)
        letters = random_integers(LETTERS, shape, generator)
        all_lengths = range(self.min_length, self.max_length + 1)
        lengths = random_integers(all_lengths, (count, 1), generator)
        delays = random_integers(range(self.min_delay, self.max_delay + 1), (count,), generator)
        padding = torch.arange(self.max_length, device=generator.device) >= lengths
        inputs = letters.masked_fill(padding, BLANK)
        targets = echo(inputs, delays).masked_fill(padding, BLANK)
        return Sequences(inputs, targets, targets != BLANK, delays)

    @property
    def chance_accuracy(self) -> float:
        """1 for a delay of 0, and otherwise 1/26: all letters are as frequent after any other."""
        delays = torch.arange(self.min_delay, self.max_delay + 1)
        lengths = torch.arange(self.min_length, self.max_length + 1).unsqueeze(1)
        scored = (lengths - delays).clamp(min=0).sum(0).double()  # of each delay
        correct = scored.where(delays == 0, scored / len(LETTERS))
        return (correct.sum() / scored.sum()).item()


@dataclass(frozen=True)
class Copy(GeneratedDataset[Sequences]):
    """The copy-memory task (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016, section 5.1).

    Symbols are shown, then blanks, then a marker; from the step after the marker on, where the
    input is blank, the targets are the symbols in the same order.

    Args:
        blank_length: steps from the last symbol to the marker, T of the papers.
        num_symbols: symbols to remember.
        alphabet_size: number of different symbols: a, b, c, ...

    """

    blank_length: int
    num_symbols: int = 10
    alphabet_size: int = 8

    marker = MARKER

    @property
    def max_length(self) -> int:
        """Steps of every sequence, T."""
        return self.blank_length + 2 * self.num_symbols

    @property
    def chance_accuracy(self) -> float:
        """That of a guess: blanks say nothing of the symbols."""
        return 1 / self.alphabet_size

    def sample(self, count: int, generator: Generator) -> Sequences:  # noqa: D102
        shape = (count, self.num_symbols)
        alphabet = range(FIRST_LETTER, FIRST_LETTER + self.alphabet_size)
        symbols = random_integers(alphabet, shape, generator)
        inputs = self.build_inputs(symbols)
        targets = torch.full_like(inputs, BLANK)
        targets[:, -self.num_symbols :] = symbols
        return Sequences(inputs, targets, targets != BLANK, symbols.new_zeros(count))

    def build_inputs(self, symbols: Tensor) -> Tensor:
        """Return inputs (B, T) in which `symbols` (B, num_symbols) are to be copied."""
        inputs = symbols.new_full((len(symbols), self.max_length), BLANK)
        inputs[:, : self.num_symbols] = symbols
        inputs[:, self.num_symbols + self.blank_length - 1] = self.marker
        return inputs


def echo(inputs: Tensor, delays: Tensor) -> Tensor:
    """Return `inputs` (B, T), each row shifted right by its delay (B,) and filled with blanks."""
    source = torch.arange(inputs.shape[1], device=inputs.device) - delays.unsqueeze(1)  # (B, T)
    return inputs.gather(1, source.clamp(min=0)).masked_fill(source < 0, BLANK)

"""Sequences of characters, as integers from 0 to 26: 0 is the blank, 1 to 26 are a to z.

Three tasks ask what a recurrent network can hold in memory, and draw as many sequences as wanted;
the fourth is English, and asks for the next character.

    echo            repeat what came `delay` steps ago
    variable_echo   the same, but each sequence has a delay of its own, which is told
    copy            remember symbols, wait, and say them all
    next_character  say how probable each character is to follow

Letters: B sequences, T steps.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from datasets.errors import DataError, disk_errors
from datasets.tasks import Task, draw_integers

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
BLANK, FIRST_LETTER, NUM_SYMBOLS = 0, 1, len(ALPHABET)

TaskName = Literal["echo", "variable_echo", "copy", "next_character"]


class Vocabulary:
    """Turns text into integers and back.

    Args:
        symbols: the characters, each once; a character's integer is its place.

    """

    def __init__(self, symbols: str = ALPHABET):
        self.symbols = symbols
        self._index = {symbol: index for index, symbol in enumerate(symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> Tensor:
        """Return the integers of `text`, (T,) int64.

        Raises:
            DataError: a character is outside the vocabulary.

        """
        for place, character in enumerate(text, start=1):
            if character not in self._index:
                raise DataError(
                    f"character {character!r} at position {place} is outside the alphabet "
                    f"{self.symbols!r}"
                )
        return torch.tensor([self._index[character] for character in text], dtype=torch.int64)

    def decode(self, indices: Tensor) -> str:
        """Return the text of integers (T,).

        Raises:
            DataError: an integer is none of a character.

        """
        values = indices.tolist()
        for place, value in enumerate(values, start=1):
            if not 0 <= value < len(self):
                raise DataError(
                    f"integer {value} at position {place} is none of a character, which are "
                    f"0 to {len(self) - 1}"
                )
        return "".join(self.symbols[value] for value in values)


class Sequences(NamedTuple):
    """Sequences side by side, the shorter ones padded by blanks at their end."""

    inputs: Tensor
    """(B, T) int64."""
    targets: Tensor
    """(B, T) int64."""
    counted: Tensor
    """(B, T) bool: where the target is asked for. Blanks and padding are given away for nothing."""
    delays: Tensor
    """(B,) int64: steps between a symbol and its echo; 0 where there is none."""


@dataclass(frozen=True)
class Echo(Task[Sequences]):
    """Repeat the letter of some steps ago, and blanks as long as there was none.

    Args:
        min_delay: smallest delay of a sequence.
        max_delay: largest one; each sequence draws its own.
        min_length: smallest number of letters.
        max_length: largest one; each sequence draws its own.

    """

    min_delay: int
    max_delay: int
    min_length: int
    max_length: int

    def sample(self, count: int, generator: Generator) -> Sequences:  # noqa: D102
        letters = draw_integers(FIRST_LETTER, NUM_SYMBOLS, (count, self.max_length), generator)
        lengths = draw_integers(self.min_length, self.max_length + 1, (count, 1), generator)
        delays = draw_integers(self.min_delay, self.max_delay + 1, (count,), generator)
        padding = torch.arange(self.max_length, device=generator.device) >= lengths
        inputs = letters.masked_fill(padding, BLANK)
        targets = echo(inputs, delays).masked_fill(padding, BLANK)
        return Sequences(inputs, targets, targets != BLANK, delays)


@dataclass(frozen=True)
class Copy(Task[Sequences]):
    """The copy-memory task (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016, section 5.1).

    Symbols are shown, then blanks, then a marker; from the step after the marker on, where the
    input is blank, the symbols are to be said in the same order.

    Args:
        wait: steps from the last symbol to the marker, T of the papers.
        num_shown: symbols to remember.
        num_kinds: different symbols: a, b, c, ...

    """

    wait: int
    num_shown: int = 10
    num_kinds: int = 8

    marker = NUM_SYMBOLS - 1

    def sample(self, count: int, generator: Generator) -> Sequences:  # noqa: D102
        shown = draw_integers(
            FIRST_LETTER, FIRST_LETTER + self.num_kinds, (count, self.num_shown), generator
        )
        inputs = self.ask_for(shown)
        targets = torch.full_like(inputs, BLANK)
        targets[:, -self.num_shown :] = shown
        return Sequences(inputs, targets, targets != BLANK, shown.new_zeros(count))

    def ask_for(self, shown: Tensor) -> Tensor:
        """Return the sequences (B, T) in which symbols (B, num_shown) are to be copied."""
        inputs = shown.new_full((len(shown), self.wait + 2 * self.num_shown), BLANK)
        inputs[:, : self.num_shown] = shown
        inputs[:, self.num_shown + self.wait - 1] = self.marker
        return inputs


def echo(inputs: Tensor, delays: Tensor) -> Tensor:
    """Return `inputs` (B, T), each row moved on by its delay (B,), after blanks."""
    source = torch.arange(inputs.shape[1], device=inputs.device) - delays.unsqueeze(1)  # (B, T)
    return inputs.gather(1, source.clamp(min=0)).masked_fill(source < 0, BLANK)


class Corpus(NamedTuple):
    """A text in three contiguous thirds, each (N,) uint8."""

    train: Tensor
    validation: Tensor
    test: Tensor


@functools.lru_cache(maxsize=1)  # a run asks for its text several times
def corpus(path: str, shortest: int) -> Corpus:
    """Read a text and cut it in three.

    Args:
        path: of a text file in UTF-8; empty for the documentation of Python's language that comes
            with Python itself.
        shortest: characters that each third needs.

    Raises:
        DataError: it cannot be read, or is too short.

    """
    text = clean(read(path) if path else "\n".join(topics.topics.values()))
    third = len(text) // 3
    if third < shortest:
        raise DataError(
            f"{len(text):,} characters from a to z and blanks are in it; "
            f"three parts of {shortest:,} each are needed"
        )
    symbols = Vocabulary().encode(text[: 3 * third]).to(torch.uint8)
    return Corpus(*symbols.split(third))


def read(path: str) -> str:
    """Read a text file.

    Raises:
        DataError: there is none, or it is no text in UTF-8.

    """
    file = Path(path).expanduser()
    with disk_errors(file):
        content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"is no text in UTF-8: {error.reason} at byte {error.start:,}") from None


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def clean(text: str) -> str:
    """Reduce a text to a-z and single blanks, digits spelled out, as text8 is (Mahoney 2006)."""
    spelled = re.sub(r"[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return re.sub(r"[^a-z]+", " ", spelled).strip()


def streams(symbols: Tensor, count: int, length: int) -> list[tuple[Tensor, Tensor]]:
    """Cut a text into `count` streams side by side, and those into chunks that follow each other.

    Args:
        symbols: (N,) integers, N > count.
        count: B.
        length: steps of a chunk; the last may be shorter.

    Returns:
        Chunks of inputs (B, T) int64 and targets (B, T) int64, the characters that follow. Up to
        `count` characters at the end of the text belong to no stream.

    """
    steps = (len(symbols) - 1) // count
    inputs = symbols[: count * steps].view(count, steps).long()
    targets = symbols[1 : count * steps + 1].view(count, steps).long()
    return list(zip(inputs.split(length, dim=1), targets.split(length, dim=1), strict=True))

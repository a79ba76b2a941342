"""English text to predict the next character of: a file, or the documentation of Python."""

import functools
import logging
import re
from collections import Counter
from pathlib import Path
from pydoc_data import topics
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError, disk_errors

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MAX_LISTED = 5
"""Dropped characters that a message lists, the most frequent ones."""

log = logging.getLogger(__name__)


class Corpus(NamedTuple):
    """A text in three contiguous thirds, each (N,) uint8."""

    train: Tensor
    validation: Tensor
    test: Tensor
    dropped_share: float
    """Fraction of the text's characters, white space aside, that are dropped, in [0, 1]."""


@functools.lru_cache(maxsize=1)  # the trials of a study read the same text
def load_corpus(path: str, min_length: int) -> Corpus:
    """Read a text file in UTF-8 and split it into thirds.

    Without a path the text is the documentation of the Python language, which every installation of
    Python contains. Of a file, a warning says which share of the characters is dropped.

    Raises:
        DataError: the file cannot be read, or a third has fewer than `min_length` characters.

    """
    original = read_text(path) if path else "\n".join(topics.topics.values())
    text, dropped = clean(original), dropped_characters(original)
    share = dropped.total() / max(1, len("".join(original.split())))
    notice = f"{100 * share:.1f} % of its characters, neither a to z nor digits, are dropped"
    third = len(text) // 3
    if third < min_length:
        found = f"the text has {len(text):,} characters (a to z and blanks; {notice})"
        raise DataError(f"{found}; three parts of {min_length:,} each are needed")
    if path and dropped:
        listed = " ".join(character for character, _ in dropped.most_common(MAX_LISTED))
        log.warning("%s: %s (most often %s)", path, notice, listed)
    symbols = Vocabulary().encode(text[: 3 * third]).to(torch.uint8)
    train, validation, test = symbols.split(third)
    return Corpus(train, validation, test, share)


def read_text(path: str) -> str:
    """Read a text file, without the byte-order marks that begin it, or the files it is made of.

    Raises:
        DataError: there is no such file, or it is not encoded in UTF-8.

    """
    file = Path(path).expanduser()
    with disk_errors(file):
        content = file.read_bytes()
    try:
        return content.decode().replace("\ufeff", "")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start:,}"
        raise DataError(f"not a text file in UTF-8 ({reason})") from None


def clean(text: str) -> str:
    """Reduce a text to a-z and single blanks, digits spelled out, as text8 is (Mahoney 2006)."""
    spelled = re.sub(r"[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return re.sub(r"[^a-z]+", " ", spelled).strip()


def dropped_characters(text: str) -> "Counter[str]":
    """Count the characters other than white space that `clean` drops."""
    return Counter(re.sub(r"[a-z0-9\s]+", "", text.lower()))


def contiguous_chunks(symbols: Tensor, batch_size: int, length: int) -> list[tuple[Tensor, Tensor]]:
    """Cut a text (N,) of integers into B = `batch_size` streams, and these into chunks.

    This is the order that truncated backpropagation through time needs: row b of a chunk
    continues row b of the chunk before.

    Returns:
        Chunks of inputs (B, T) int64 and targets (B, T) int64, the characters that follow; T is
        `length`, or less in the last chunk. Up to B characters at the end belong to no stream.

    """
    steps = (len(symbols) - 1) // batch_size
    inputs, targets = (
        symbols[start : start + batch_size * steps].view(batch_size, steps).long().split(length, 1)
        for start in (0, 1)
    )
    return list(zip(inputs, targets, strict=True))

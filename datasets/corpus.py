"""A text to predict the next character of, in three thirds: files, or the documentation of Python.

letters      a to z and blanks, to which the text is reduced
characters   those of the text, of which the rare ones share a symbol
bytes        those of the files, as they are
"""

import functools
import hashlib
import logging
import re
from collections import Counter
from pydoc_data import topics
from typing import NamedTuple

import torch
from torch import Tensor

from datasets.characters import UNKNOWN, ByteVocabulary, Vocabulary, build_vocabulary
from datasets.choices import AlphabetName
from datasets.errors import DataError
from datasets.rare_characters import bits_to_name
from datasets.text_files import decode, read_files

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MAX_LISTED = 5
"""Dropped characters that a message lists, the most frequent ones."""
MIN_COUNT = 5
"""How often a character occurs in the training third, if it is no rare one."""

log = logging.getLogger(__name__)


class Text(NamedTuple):
    """A third of a text, N symbols of it."""

    symbols: Tensor
    """(N,) uint8, or int32 where there are more than 256 symbols."""
    content: bytes
    """What the symbols stand for, as a file has it: what a compressor is given."""
    naming_bits: float
    """Bits that say which characters the rare ones are, on average over all N."""


class Corpus(NamedTuple):
    """A text in three contiguous thirds."""

    train: Text
    validation: Text
    test: Text
    name: str
    vocabulary: Vocabulary
    dropped_share: float
    """Fraction of the text's characters, white space aside, that are dropped, in [0, 1]."""
    skipped: tuple[tuple[str, str], ...]
    """Files that were not read, each with the reason."""

    def fingerprint(self, text: Text) -> str:
        """Return a hash of a third, and of what its symbols are."""
        return hashlib.sha256(self.vocabulary.symbols.encode() + text.content).hexdigest()[:16]


@functools.lru_cache(maxsize=1)  # the trials of a study read the same text
def load_corpus(paths: str, min_length: int, alphabet: AlphabetName = "letters") -> Corpus:
    """Read a text, as `datasets.text_files` does, and split it into thirds.

    Without a path the text is the documentation of the Python language, which every installation of
    Python contains. Of files, a warning says which share of the characters is dropped.

    Raises:
        DataError: a file cannot be read, or a third has fewer than `min_length` symbols.

    """
    if paths:
        name, contents, skipped = read_files(paths, is_text=alphabet != "bytes")
    else:
        name, contents, skipped = "text", ["\n".join(topics.topics.values()).encode()], []
    if alphabet == "bytes":  # as text, too: Latin-1 has a character for each
        text, unit, dropped_share = b"".join(contents).decode("latin-1"), "bytes", 0.0
    else:
        text, unit, dropped_share = "\n".join(map(decode, contents)), "characters", 0.0
    if alphabet == "letters":
        dropped = dropped_characters(text)
        dropped_share = dropped.total() / max(1, len("".join(text.split())))
        text = clean(text)
        share = f"{100 * dropped_share:.1f} % of its characters"
        notice = f"{share}, neither a to z nor digits, are dropped"
        unit = f"characters (a to z and blanks{f'; {notice}' if dropped else ''})"
    third = len(text) // 3
    if third < min_length:
        needed = f"three parts of {min_length:,} each are needed"
        raise DataError(f"the text has {len(text):,} {unit}; {needed}")
    if paths and dropped_share:
        listed = " ".join(character for character, _ in dropped.most_common(MAX_LISTED))
        log.warning("%s: %s (most often %s)", paths, notice, listed)
    parts = [text[start : start + third] for start in range(0, 3 * third, third)]
    counts = Counter(parts[0])
    vocabulary = build_vocabulary(alphabet, frequent_characters(counts))
    train, validation, test = (encode(part, vocabulary, counts) for part in parts)
    return Corpus(train, validation, test, name, vocabulary, dropped_share, tuple(skipped))


def frequent_characters(counts: "Counter[str]") -> str:
    """Return the characters that are not rare, and the one that stands for those that are."""
    frequent = {character for character, count in counts.items() if count >= MIN_COUNT}
    return "".join(sorted(frequent - {UNKNOWN})) + UNKNOWN


def encode(part: str, vocabulary: Vocabulary, counts: "Counter[str]") -> Text:
    """Return a part of a text as symbols; the counts are those of the training third."""
    is_bytes = isinstance(vocabulary, ByteVocabulary)
    symbols = Vocabulary(vocabulary.symbols, vocabulary.unknown).encode(part)
    known = set(vocabulary.symbols) - {vocabulary.unknown}
    rare = Counter({each: count for each, count in counts.items() if each not in known})
    bits = bits_to_name("".join(each for each in part if each not in known), rare, len(known))
    return Text(
        symbols.to(torch.uint8 if len(vocabulary) <= 256 else torch.int32),
        part.encode("latin-1" if is_bytes else "utf-8"),
        bits / len(part),
    )


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

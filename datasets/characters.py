"""Characters, or the bytes of a text, as integers.

The lesson's alphabet has 27 of them: 0 is the blank, 1 to 26 are a to z.
"""

import codecs
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from datasets.choices import AlphabetName
from datasets.errors import DataError

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
BLANK, FIRST_LETTER, VOCABULARY_SIZE = 0, 1, len(ALPHABET)
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for all characters that an alphabet does not have."""


class Vocabulary:
    """Encodes text as integers, and decodes it; a character's integer is its index in `symbols`.

    Args:
        symbols: the characters.
        unknown: the one of them that characters outside of `symbols` become; without one, they are
            refused.

    """

    def __init__(self, symbols: str = ALPHABET, unknown: str = ""):
        self.symbols, self.unknown = symbols, unknown
        self._index = {symbol: index for index, symbol in enumerate(symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> Tensor:
        """Return the integers of `text`, (T,) int64.

        Raises:
            DataError: a character is outside the vocabulary.

        """
        otherwise = self._index.get(self.unknown, -1)
        indices = [self._index.get(character, otherwise) for character in text]
        if -1 in indices:
            position = indices.index(-1)
            found = f"character {text[position]!r} at position {position + 1}"
            raise DataError(f"{found} is outside the alphabet {self.symbols!r}")
        return torch.tensor(indices, dtype=torch.int64)

    def decode(self, indices: Tensor) -> str:
        """Return the text of integers (T,).

        Raises:
            DataError: an integer is outside the vocabulary.

        """
        values = indices.tolist()
        for position, value in enumerate(values, start=1):
            if not 0 <= value < len(self):
                found = f"integer {value} at position {position}"
                raise DataError(f"{found} encodes no character (allowed: 0 to {len(self) - 1})")
        return "".join(self.symbols[value] for value in values)

    def decode_each(self, indices: Iterable[int]) -> Iterator[str]:
        """Yield the characters of integers one by one, as they come."""
        return (self.symbols[index] for index in indices)


class ByteVocabulary(Vocabulary):
    """Encodes text as the 256 bytes of UTF-8; `symbols` has the character of each in Latin-1."""

    def __init__(self) -> None:
        super().__init__(bytes(range(256)).decode("latin-1"))

    def encode(self, text: str) -> Tensor:  # noqa: D102
        try:  # Python has the bytes of a command line that are no text as surrogates
            content = text.encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            found = f"character {text[error.start]!r} at position {error.start + 1}"
            raise DataError(f"{found} is not in Unicode") from None
        return torch.tensor(list(content), dtype=torch.int64)

    def decode(self, indices: Tensor) -> str:
        """Return the text of bytes (T,); those that are none become replacement characters."""
        return super().decode(indices).encode("latin-1").decode(errors="replace")

    def decode_each(self, indices: Iterable[int]) -> Iterator[str]:
        """Yield the characters of bytes, each as soon as its last byte has come."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for index in indices:
            yield from decoder.decode(bytes([index]))


def build_vocabulary(alphabet: AlphabetName, characters: str) -> Vocabulary:
    """Return the vocabulary of an alphabet; `characters` are those of `characters`, ascending."""
    if alphabet == "letters":
        return Vocabulary()
    return ByteVocabulary() if alphabet == "bytes" else Vocabulary(characters, UNKNOWN)

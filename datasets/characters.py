"""Characters as integers from 0 to 26: 0 is the blank, 1 to 26 are a to z."""

import torch
from torch import Tensor

from datasets.errors import DataError

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
BLANK, FIRST_LETTER, VOCABULARY_SIZE = 0, 1, len(ALPHABET)


class Vocabulary:
    """Encodes text as integers, and decodes it; a character's integer is its index in `symbols`."""

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
        for position, character in enumerate(text, start=1):
            if character not in self._index:
                found = f"character {character!r} at position {position}"
                raise DataError(f"{found} is outside the alphabet {self.symbols!r}")
        return torch.tensor([self._index[character] for character in text], dtype=torch.int64)

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

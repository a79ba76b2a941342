"""Encoding of characters."""

import pytest
import torch

from datasets.characters import ALPHABET, Vocabulary
from datasets.errors import DataError


def test_encoding_and_decoding_are_inverse() -> None:
    vocabulary = Vocabulary()
    assert len(vocabulary) == 27
    encoded = vocabulary.encode("a zebra")
    assert encoded.tolist() == [1, 0, 26, 5, 2, 18, 1]
    assert vocabulary.decode(encoded) == "a zebra"
    assert vocabulary.decode(torch.arange(27)) == ALPHABET


def test_what_is_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(DataError, match=r"character 'É' at position 3"):
        Vocabulary().encode("caÉ")
    with pytest.raises(DataError, match=r"integer 27 at position 2.*0 to 26"):
        Vocabulary().decode(torch.tensor([26, 27]))

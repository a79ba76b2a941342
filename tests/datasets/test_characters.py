"""Encoding of characters."""

import pytest
import torch

from datasets.characters import ALPHABET, UNKNOWN, ByteVocabulary, Vocabulary
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


def test_characters_that_are_no_symbols_become_the_unknown_one() -> None:
    vocabulary = Vocabulary(f"aé한{UNKNOWN}", UNKNOWN)
    encoded = vocabulary.encode(f"é한zaß{UNKNOWN}")
    assert encoded.tolist() == [1, 2, 3, 0, 3, 3]
    assert vocabulary.decode(encoded) == f"é한{UNKNOWN}a{UNKNOWN}{UNKNOWN}"


def test_bytes_are_those_of_utf_8() -> None:
    vocabulary, text = ByteVocabulary(), "é한\n\0😀"
    encoded = vocabulary.encode(text)
    assert encoded.tolist() == list(text.encode())
    assert vocabulary.decode(encoded) == text
    assert list(vocabulary.decode_each(encoded.tolist())) == list(text)
    assert len(vocabulary) == 256
    # What is no character, in the middle and at the end.
    assert vocabulary.decode(encoded[1:]) == f"{UNKNOWN}{text[1:]}"
    assert list(vocabulary.decode_each([0xED, 0x95, 0x41])) == [UNKNOWN, "A"]
    assert vocabulary.encode("\udcff").tolist() == [0xFF], "a byte of the command line"
    with pytest.raises(DataError, match="at position 2 is not in Unicode"):
        vocabulary.encode("a\ud800")

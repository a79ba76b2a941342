"""Texts: reading, cleaning, thirds and chunks."""

import logging
from pathlib import Path

import pytest
import torch

from datasets.characters import Vocabulary
from datasets.corpus import clean, contiguous_chunks, load_corpus
from datasets.errors import DataError


def test_cleaning_follows_text8() -> None:
    assert clean("In 1984, it's\n\tTHE same--café ") == "in one nine eight four it s the same caf"


def test_a_text_is_split_into_thirds(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij!")
    corpus = load_corpus(str(path), min_length=3)
    assert ["".join(Vocabulary().decode(part)) for part in corpus[:3]] == ["abc", "def", "ghi"]


@pytest.mark.parametrize(
    ("text", "share", "listed"),
    [
        ("Grün ist 1 Größe, größer als grau.", 7 / 28, "ü ö ß , ."),
        ("가나 다라 lstm", 4 / 8, "가 나 다 라"),
        ("Only Latin letters and 12 digits", 0, ""),
    ],
)
def test_what_is_dropped_is_counted_and_listed(
    text: str, share: float, listed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text * 9)
    with caplog.at_level(logging.WARNING):
        assert load_corpus(str(path), min_length=3).dropped_share == pytest.approx(share)
    if not listed:
        assert not caplog.messages
        return
    (message,) = caplog.messages
    assert f"{100 * share:.1f} % of its characters" in message
    assert all(character in message for character in listed.split())


def test_byte_order_marks_are_no_characters(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfabc\n\xef\xbb\xbfdef\nghi")  # two files, one behind the other
    corpus = load_corpus(str(path), min_length=3)
    assert corpus.dropped_share == 0
    assert Vocabulary().decode(torch.cat(corpus[:3])) == "abc def g"


def test_the_text_that_comes_with_python_is_english() -> None:
    corpus = load_corpus("", min_length=1000)
    assert len(corpus.train) == len(corpus.validation) == len(corpus.test) > 100_000
    assert " the " in Vocabulary().decode(corpus.test)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"too short", "9 characters.*three parts of 100"),
        (b"", "0 characters"),
        (b"ab\xff", "not a text file in UTF-8.*byte 2"),
    ],
)
def test_an_unsuitable_text_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_corpus(str(path), min_length=100)


def test_a_missing_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_corpus(str(tmp_path / "none.txt"), min_length=100)
    with pytest.raises(DataError, match="directory"):
        load_corpus(str(tmp_path), min_length=100)


@pytest.mark.parametrize(("batch_size", "length"), [(1, 5), (3, 4), (4, 100)])
def test_chunks_follow_the_text(batch_size: int, length: int) -> None:
    text = torch.randint(0, 27, (50,), dtype=torch.uint8)
    chunks = contiguous_chunks(text, batch_size, length)
    assert all(inputs.shape[1] <= length for inputs, _ in chunks)
    inputs, targets = (torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True))
    steps = 49 // batch_size
    for row in range(batch_size):
        start = row * steps
        assert inputs[row].tolist() == text[start : start + steps].tolist()
        assert targets[row].tolist() == text[start + 1 : start + steps + 1].tolist()

"""Texts: reading, cleaning, thirds and chunks."""

import hashlib
import logging
import math
import sys
from pathlib import Path
from pydoc_data import topics

import pytest
import torch

from datasets.characters import UNKNOWN, Vocabulary
from datasets.choices import AlphabetName
from datasets.corpus import clean, contiguous_chunks, load_corpus
from datasets.errors import DataError


def test_cleaning_follows_text8() -> None:
    assert clean("In 1984, it's\n\tTHE same--café ") == "in one nine eight four it s the same caf"


def test_a_text_is_split_into_thirds(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij!")
    corpus = load_corpus(str(path), min_length=3)
    parts = corpus.train, corpus.validation, corpus.test
    assert [Vocabulary().decode(part.symbols) for part in parts] == ["abc", "def", "ghi"]
    assert [part.content for part in parts] == [b"abc", b"def", b"ghi"]


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
    parts = corpus.train, corpus.validation, corpus.test
    assert b"".join(part.content for part in parts) == b"abc def g"


def test_the_text_that_comes_with_python_is_english() -> None:
    corpus = load_corpus("", min_length=1000)
    parts = corpus.train, corpus.validation, corpus.test
    assert len({len(part.symbols) for part in parts}) == 1
    assert len(corpus.test.symbols) > 100_000
    assert " the " in Vocabulary().decode(corpus.test.symbols)
    # The documentation has other characters than letters, and all of them are kept.
    corpus = load_corpus("", min_length=1000, alphabet="characters")
    assert set("Tt%…") <= set(corpus.vocabulary.symbols)


@pytest.fixture
def umlauts(tmp_path: Path) -> Path:
    """Write a text in which ß and Σ are rare in the training third, and 한 and 😀 are unseen."""
    path = tmp_path / "umlauts.txt"
    path.write_text(100 * "Grün, ja. " + "ßßΣ" + 100 * "Grün, ja. " + 100 * "ßΣ 한 ja.\n" + "😀")
    return path


def test_rare_characters_share_a_symbol_and_their_names_are_counted(umlauts: Path) -> None:
    text = umlauts.read_text()
    corpus = load_corpus(str(umlauts), min_length=3, alphabet="characters")
    third = len(text) // 3
    assert corpus.name == "umlauts"
    assert corpus.vocabulary.symbols == f"{''.join(sorted(set('Grün, ja.')))}{UNKNOWN}"
    for part, start in zip((corpus.train, corpus.validation, corpus.test), range(3), strict=True):
        original = text[start * third : (start + 1) * third]
        assert part.content.decode() == original
        known = [each if each in "Grün, ja." else UNKNOWN for each in original]
        assert corpus.vocabulary.decode(part.symbols) == "".join(known)
    assert text.index("Σ") > third, "no rare character is in the training third"
    unseen = math.log2(0x110000 - 0x800 - 9)
    original = text[2 * third : 3 * third]
    count = sum(each not in "Grün, ja." for each in original)
    assert corpus.test.naming_bits == pytest.approx(count * unseen / third)
    assert corpus.train.naming_bits == 0


def test_rare_characters_of_the_training_third_are_named_by_their_frequency(
    tmp_path: Path,
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("aaaaaaßßΣaaa" + "aaaaaaaaaaaß" + "aaaaaaaaaaΣ한")
    corpus = load_corpus(str(path), min_length=3, alphabet="characters")
    unseen = math.log2((0x110000 - 0x800 - 3) / (2 / 5))
    expected = [
        2 * math.log2(5 / 2) + math.log2(5),
        math.log2(5 / 2),
        math.log2(5) + unseen,
    ]
    parts = corpus.train, corpus.validation, corpus.test
    assert [12 * part.naming_bits for part in parts] == pytest.approx(expected)


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3 + b"\xef\xbb\xbf\r\n\r\n"
    (tmp_path / "a.bin").write_bytes(content[:500])
    (tmp_path / "b.bin").write_bytes(content[500:])
    corpus = load_corpus(str(tmp_path), min_length=3, alphabet="bytes")
    parts = corpus.train, corpus.validation, corpus.test
    assert b"".join(part.content for part in parts) == content[: len(content) // 3 * 3]
    for part in parts:
        assert part.symbols.tolist() == list(part.content)
        assert part.symbols.dtype == torch.uint8
        assert part.naming_bits == 0


def test_many_symbols_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    characters = "".join(map(chr, range(0xAC00, 0xAC00 + 1000)))
    path.write_text(18 * characters)
    corpus = load_corpus(str(path), min_length=3, alphabet="characters")
    assert corpus.vocabulary.symbols == characters + UNKNOWN
    assert corpus.test.symbols[:1000].tolist() == list(range(1000))


def test_fingerprints_are_those_of_content_and_alphabet(umlauts: Path) -> None:
    def fingerprints(alphabet: AlphabetName) -> list[str]:
        load_corpus.cache_clear()
        corpus = load_corpus(str(umlauts), min_length=3, alphabet=alphabet)
        parts = corpus.train, corpus.validation, corpus.test
        return [corpus.fingerprint(part) for part in parts]

    alphabets: tuple[AlphabetName, ...] = ("letters", "characters", "bytes")
    before = [fingerprints(alphabet) for alphabet in alphabets]
    assert [fingerprints(alphabet) for alphabet in alphabets] == before
    assert len({each for parts in before for each in parts}) == 9
    umlauts.write_text(umlauts.read_text()[:-5] + "other")
    after = map(fingerprints, alphabets)
    assert all(old[2] != new[2] for old, new in zip(before, after, strict=True))


def test_letters_stay_as_they_were() -> None:
    """Their integers, for runs of earlier versions to be comparable."""
    corpus = load_corpus("", min_length=1000)
    text = clean("\n".join(topics.topics.values()))
    third = len(text) // 3
    for number, part in enumerate((corpus.train, corpus.validation, corpus.test)):
        expected = [" abcdefghijklmnopqrstuvwxyz".index(c) for c in text[number * third :][:third]]
        assert part.symbols.tolist() == expected
    if sys.version_info[:3] == (3, 11, 7):
        digest = hashlib.sha256(corpus.test.symbols.numpy().tobytes()).hexdigest()
        assert digest.startswith("6c794f07f4926f15")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"too short", "9 characters.*three parts of 100"),
        (b"", "is empty"),
        (b"\xea\xb0\x80" * 500, "0 characters .*100.0 % of its characters"),
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
    with pytest.raises(DataError, match="contains no text that can be read"):
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

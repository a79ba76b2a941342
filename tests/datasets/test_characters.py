"""Sequences of characters against targets that are worked out letter by letter."""

import math
from pathlib import Path

import pytest
import torch

from datasets import characters
from datasets.characters import ALPHABET, BLANK, Copy, Echo, Sequences, Vocabulary, clean, streams
from datasets.errors import DataError
from datasets.tasks import Task

TASKS: dict[str, Task[Sequences]] = {
    "echo": Echo(4, 4, 15, 15),
    "padded echo": Echo(2, 2, 3, 12),
    "no delay": Echo(0, 0, 5, 5),
    "variable echo": Echo(0, 8, 20, 20),
    "padded variable echo": Echo(0, 2, 3, 9),
    "copy": Copy(wait=7),
}


def drawn(name: str, count: int = 200) -> characters.Sequences:
    return TASKS[name].draw(count, seed=3, split="train")


@pytest.mark.parametrize("name", [name for name in TASKS if "copy" not in name])
def test_an_echo_repeats_each_letter_after_the_delay(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, Echo)
    for inputs, targets, counted, delay in zip(*(t.tolist() for t in drawn(name)), strict=True):
        length = len(inputs) - inputs.count(BLANK)
        assert task.min_length <= length <= task.max_length == len(inputs)
        assert inputs[length:] == [BLANK] * (len(inputs) - length), "padding is at the end"
        assert set(inputs[:length]) <= set(range(1, 27))
        expected = [
            inputs[step - delay] if delay <= step < length else BLANK for step in range(len(inputs))
        ]
        assert targets == expected
        assert counted == [letter != BLANK for letter in expected]


def test_delays_and_lengths_take_every_value_between_their_limits() -> None:
    sequences = drawn("variable echo", 2000)
    assert set(sequences.delays.tolist()) == set(range(9))
    padded = drawn("padded variable echo", 2000)
    assert set((padded.inputs != BLANK).sum(1).tolist()) == set(range(3, 10))
    counts = torch.bincount(sequences.inputs.flatten(), minlength=27)[1:]
    mean = 2000 * 20 / 26
    assert ((counts - mean).abs() < 6 * math.sqrt(mean)).all(), "all letters are equally frequent"


def test_copy_shows_waits_asks_and_wants_all_of_it() -> None:
    task = TASKS["copy"]
    assert isinstance(task, Copy)
    for inputs, targets, counted, _ in zip(*(t.tolist() for t in drawn("copy")), strict=True):
        shown = inputs[:10]
        assert set(shown) <= set(range(1, 9))
        assert inputs == [*shown, *[BLANK] * 6, task.marker, *[BLANK] * 10]
        assert targets == [BLANK] * 17 + shown
        assert counted == [False] * 17 + [True] * 10


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_the_same_whoever_asks_and_differs_from_all_others(name: str) -> None:
    task = TASKS[name]
    once = task.draw(50, 1, "train", 5)
    torch.manual_seed(99)
    again = task.draw(50, 1, "train", 5)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    others = [
        task.draw(50, 2, "train", 5),
        task.draw(50, 1, "test", 5),
        task.draw(50, 1, "train", 6),
    ]
    assert not any(torch.equal(once.inputs, other.inputs) for other in others)


def test_a_vocabulary_goes_there_and_back() -> None:
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


def test_cleaning_is_text8s() -> None:
    assert clean("In 1984, it's\n\tTHE same--café ") == "in one nine eight four it s the same caf"


def test_a_text_is_cut_in_thirds(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghij!")
    corpus = characters.corpus(str(path), shortest=3)
    assert ["".join(Vocabulary().decode(part)) for part in corpus] == ["abc", "def", "ghi"]


def test_the_text_that_comes_with_python_is_english() -> None:
    corpus = characters.corpus("", shortest=1000)
    assert len(corpus.train) == len(corpus.validation) == len(corpus.test) > 100_000
    assert " the " in Vocabulary().decode(corpus.test)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"too short", "9 characters.*three parts of 100"),
        (b"", "0 characters"),
        (b"ab\xff", "UTF-8.*byte 2"),
    ],
)
def test_a_text_that_will_not_do_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        characters.corpus(str(path), shortest=100)


def test_a_text_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        characters.corpus(str(tmp_path / "none.txt"), shortest=100)
    with pytest.raises(DataError, match="directory"):
        characters.corpus(str(tmp_path), shortest=100)


@pytest.mark.parametrize(("count", "length"), [(1, 5), (3, 4), (4, 100)])
def test_streams_follow_the_text(count: int, length: int) -> None:
    text = torch.randint(0, 27, (50,), dtype=torch.uint8)
    chunks = streams(text, count, length)
    assert all(inputs.shape[1] <= length for inputs, _ in chunks)
    inputs, targets = (torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True))
    steps = 49 // count
    for row in range(count):
        begin = row * steps
        assert inputs[row].tolist() == text[begin : begin + steps].tolist()
        assert targets[row].tolist() == text[begin + 1 : begin + steps + 1].tolist()

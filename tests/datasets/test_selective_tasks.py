"""Selective tasks against answers that are computed letter by letter, and their chance levels."""

import pytest
import torch
from torch import Tensor

from datasets.characters import BLANK, VOCABULARY_SIZE, Vocabulary
from datasets.choices import SELECTIVE_TASKS
from datasets.memory_tasks import Copy, Echo, Sequences
from datasets.selective_tasks import (
    AssociativeRecall,
    InductionHeads,
    Parity,
    SelectiveCopying,
    SelectiveTask,
    random_places,
    selective_task,
)

TASKS: dict[str, SelectiveTask] = {
    "selective_copying": SelectiveCopying(length=12, num_symbols=5),
    "selective copying without a blank": SelectiveCopying(length=4, num_symbols=4),
    "induction_heads": InductionHeads(9),
    "induction heads of three steps": InductionHeads(3),
    "associative_recall": AssociativeRecall(length=16, num_pairs=4),
    "associative recall of all keys, without a blank": AssociativeRecall(39, 13),
    "parity": Parity(7),
    "parity of one bit": Parity(1),
}


def answer(task: SelectiveTask, text: str) -> str:
    """Return the answers to a text, one letter after the other."""
    match task:
        case SelectiveCopying(num_symbols=count):
            symbols = [letter for letter in text if letter not in " z"]
            assert len(symbols) == count
            assert set(symbols) <= set("abcdefghijklmn")
            assert text.endswith(count * "z")
            return (len(text) - count) * " " + "".join(symbols)
        case InductionHeads():
            first = text.index("z")
            assert text.count("z") == 2
            assert text.endswith("z")
            assert set(text) <= set("abcdefghijklmnoz")
            assert text[first + 1] != "z"
            return (len(text) - 1) * " " + text[first + 1]
        case AssociativeRecall(num_pairs=count):
            keys, values, rest = text[: 2 * count : 2], text[1 : 2 * count : 2], text[2 * count :]
            values_of = dict(zip(keys, values, strict=True))
            assert set(keys) <= set("abcdefghijklm")
            assert set(values) <= set("nopqrstuvwxyz")
            assert sorted(rest.replace(" ", "")) == sorted(values_of), "each key is asked once"
            return 2 * count * " " + "".join(values_of.get(letter, " ") for letter in rest)
        case Parity():
            assert set(text) <= set("ab")
            odd = (text[: step + 1].count("b") % 2 for step in range(len(text)))
            return "".join("ab"[each] for each in odd)
    raise AssertionError(task)


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_those_that_are_computed_letter_by_letter(name: str) -> None:
    task, vocabulary = TASKS[name], Vocabulary()
    inputs, targets, mask, delays = task.generate(200, seed=3, split="train")
    assert inputs.shape == targets.shape == (200, task.max_length)
    assert (inputs.dtype, targets.dtype) == (torch.int64, torch.int64)
    assert torch.equal(mask, targets != BLANK)
    assert not delays.any()
    for read, expected in zip(inputs, targets, strict=True):
        assert task.accepts(read)
        assert vocabulary.decode(expected) == answer(task, vocabulary.decode(read))


def test_places_are_all_equally_likely() -> None:
    counts = {
        "symbols": (generate(SelectiveCopying(6, 2)).inputs[:, :6] != BLANK).sum(0),
        "queries": (generate(AssociativeRecall(10, 2)).inputs[:, 4:] != BLANK).sum(0),
    }
    for each in counts.values():  # each step of six has one of two: in a third of the sequences
        assert ((each / 30_000 - 1 / 3).abs() < 0.015).all()
    markers = (generate(InductionHeads(6)).inputs == VOCABULARY_SIZE - 1).sum(0)
    assert ((markers[:4] / 30_000 - 1 / 4).abs() < 0.015).all()
    assert markers[4:].tolist() == [0, 30_000]
    orders = random_places(30_000, 3, 2, torch.Generator().manual_seed(0)) @ torch.tensor([3, 1])
    frequencies = orders.bincount() / 30_000
    assert ((frequencies[[1, 2, 3, 5, 6, 7]] - 1 / 6).abs() < 0.012).all(), "in every order"


def generate(task: SelectiveTask | Echo | Copy, split: str = "train") -> Sequences:
    return task.generate(30_000, seed=5, split="train" if split == "train" else "test")


@pytest.mark.parametrize(
    "task",
    [
        *(Echo(0, 0, 5, 5), Echo(4, 4, 15, 15), Echo(0, 8, 15, 15), Echo(0, 3, 4, 9), Copy(3)),
        *(SelectiveCopying(8, 3), InductionHeads(8), AssociativeRecall(13, 4)),
        *(Parity(1), Parity(4), Parity(20)),
    ],
    ids=str,
)
def test_the_chance_level_is_that_of_the_best_answer_to_the_present_symbol(
    task: SelectiveTask | Echo | Copy,
) -> None:
    """Count which answer is most frequent for each symbol and delay; test on other sequences."""
    counts = torch.zeros(2, 9 * VOCABULARY_SIZE * VOCABULARY_SIZE)
    for number, split in enumerate(("train", "test")):
        inputs, targets, mask, delays = generate(task, split)
        known = delays.unsqueeze(1) * VOCABULARY_SIZE + inputs
        counts[number] = (known * VOCABULARY_SIZE + targets)[mask].bincount(
            minlength=counts.shape[1]
        )
    training, test = counts.view(2, -1, VOCABULARY_SIZE)
    best: Tensor = training.argmax(1, keepdim=True)
    accuracy = test.gather(1, best).sum() / test.sum()
    assert accuracy.item() == pytest.approx(task.chance_accuracy, abs=0.006)


def test_what_is_to_be_remembered_is_known() -> None:
    texts = {
        "selective_copying": "a  bn c kzzzzz",
        "induction_heads": "abzcdaz",
        "associative_recall": "anbocpdqd  acb",
        "parity": "abba",
    }
    expected = {
        "selective_copying": "#  ## # #     ",
        "induction_heads": "  ##   ",
        "associative_recall": "########      ",
        "parity": " ## ",
    }
    for name, text in texts.items():
        found = TASKS[name].to_remember(Vocabulary().encode(text).unsqueeze(0))[0].tolist()
        assert "".join("#" if each else " " for each in found) == expected[name]


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        (
            "selective_copying",
            ["abcdezzzzz", "  a b cd   n  zzzzz"],
            ["abcdzzzzz", "abcdefzzzzz", "abcdozzzzz", "abcdezzzz", "abcdezzzzz ", "azbcdezzzzz"],
        ),
        ("induction_heads", ["zaz", "abczoabz"], ["zz", "az", "z", "zab", "zpz", "zazaz", "a zbz"]),
        (
            "associative_recall",
            ["anbocpdq", "anbocpdq  a  aa d"],
            ["anbocp", "anaocpdq", "anbbcpdq", "nabocpdq", "anbocpdqe", "anbocpdqn", "anbocpd"],
        ),
        ("parity", ["a", "babba"], ["c", "a b"]),
    ],
)
def test_only_texts_that_can_be_answered_are_accepted(
    name: str, accepted: list[str], refused: list[str]
) -> None:
    task, encode = TASKS[name], Vocabulary().encode
    assert [text for text in [*accepted, *refused] if task.accepts(encode(text))] == accepted
    for text in accepted:
        assert task.answers(encode(text).unsqueeze(0)).shape == (1, len(text))
    assert task.accepted


def test_every_name_has_its_task() -> None:
    for name in SELECTIVE_TASKS:
        assert selective_task(name, 100, 4).max_length in (100, 104)
    with pytest.raises(ValueError, match="name=echo: allowed: selective_copying, "):
        selective_task("echo", 100, 4)

"""Generated sequences against labels that are computed from their text."""

import itertools
from typing import get_args

import pytest
import torch

from datasets.characters import Vocabulary
from datasets.choices import LevelName
from datasets.errors import DataError
from datasets.sequence_tasks import (
    ABYSS,
    SYMBOLS,
    THREE_MARKS,
    TWO_MARKS,
    Adding,
    Level,
    TemporalOrder,
)

LEVELS: tuple[LevelName, ...] = get_args(LevelName)
CASES = list(itertools.product((2, 3), LEVELS))


@pytest.mark.parametrize(("num_marks", "level"), CASES)
def test_the_class_is_the_order_of_the_marks(num_marks: int, level: LevelName) -> None:
    task = TemporalOrder(num_marks, level)
    batch = task.generate(200, seed=0, split="train")
    for row, length, label in zip(*batch, strict=True):
        text = Vocabulary(SYMBOLS).decode(row[: int(length)])
        assert text[0] == "B"
        assert text[-1] == "E"
        assert (row[int(length) :] == 0).all(), "padding is at the end"
        positions = [position for position, symbol in enumerate(text) if symbol in "XY"]
        assert task.classes[label] == "".join(text[position] for position in positions)
        assert set(text[1:-1]) - set("XY") <= set("abcd")
        if level == "abyss":
            assert ABYSS.start <= len(text) < ABYSS.stop == task.max_length + 1
            thirds = [3 * position // len(text) for position in positions]
            assert thirds == list(range(num_marks))
        else:
            limits = (TWO_MARKS if num_marks == 2 else THREE_MARKS)[level]
            assert limits.length.start <= len(text) < limits.length.stop == task.max_length + 1
            assert all(
                mark.start <= position < mark.stop
                for position, mark in zip(positions, limits.marks, strict=True)
            )


@pytest.mark.parametrize(("num_marks", "level"), CASES)
def test_classes_lengths_and_positions_take_all_values(num_marks: int, level: LevelName) -> None:
    batch = TemporalOrder(num_marks, level).generate(4000, seed=1, split="test")
    counts = torch.bincount(batch.labels)
    assert len(counts) == 2**num_marks
    assert (counts - 4000 / 2**num_marks).abs().max() < 6 * (4000 / 2**num_marks) ** 0.5
    if level in TWO_MARKS:
        limits: Level = (TWO_MARKS if num_marks == 2 else THREE_MARKS)[level]
        assert {limits.length[0], limits.length[-1]} <= set(batch.lengths.tolist())
        first = (batch.inputs >= SYMBOLS.index("X")).int().argmax(1)
        assert set(first.tolist()) == set(limits.marks[0])


@pytest.mark.parametrize("levels", [TWO_MARKS, THREE_MARKS])
def test_marks_never_coincide_with_each_other_or_the_ends(levels: dict[LevelName, Level]) -> None:
    for level in levels.values():
        edges = [1]
        for mark in level.marks:
            assert edges[-1] <= mark.start < mark.stop
            edges.append(mark.stop)
        assert edges[-1] <= level.length.start - 1


def test_splits_and_batches_have_random_numbers_of_their_own() -> None:
    task = TemporalOrder(2, "easy")
    keys = [(0, "train", 0), (0, "train", 1), (0, "validation", 0), (0, "test", 0), (1, "train", 0)]
    batch = [task.generate(100, *key).inputs for key in keys]  # type: ignore[arg-type]
    texts = [tuple(map(tuple, inputs.tolist())) for inputs in batch]
    assert len(set(texts)) == len(keys)
    assert torch.equal(task.generate(100, 0, "train", 1).inputs, batch[1])


def test_the_sum_is_that_of_the_marked_numbers() -> None:
    task = Adding(length=9)
    inputs, lengths, answers = task.generate(500, seed=0, split="train")
    assert inputs.shape == (500, task.max_length, 2) == (500, 9, 2)
    assert (lengths == 9).all()
    for row, answer in zip(inputs.tolist(), answers.tolist(), strict=True):
        marked = [position for position, (_, mark) in enumerate(row) if mark == 1]
        assert len(marked) == 2
        assert marked[0] < 4 <= marked[1]
        assert answer == pytest.approx(sum(row[position][0] for position in marked))
    assert (answers - 1).square().mean() == pytest.approx(1 / 6, abs=0.03)


def test_text_round_trip() -> None:
    text = "BacXbdcYaE"
    vocabulary = Vocabulary(SYMBOLS)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    with pytest.raises(DataError, match="'Z' at position 3 is outside the alphabet 'BEabcdXY'"):
        vocabulary.encode("BaZ")

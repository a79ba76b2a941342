"""Drawn sequences against labels that are worked out from what can be read in them."""

import itertools
from typing import get_args

import pytest
import torch

from datasets.errors import DataError
from datasets.sequences import (
    ABYSS,
    SYMBOLS,
    THREE_MARKS,
    TWO_MARKS,
    Adding,
    Level,
    LevelName,
    TemporalOrder,
    from_text,
    to_text,
)

LEVELS: tuple[LevelName, ...] = get_args(LevelName)
CASES = list(itertools.product((2, 3), LEVELS))


@pytest.mark.parametrize(("num_marks", "level"), CASES)
def test_the_class_is_the_order_of_the_marks(num_marks: int, level: LevelName) -> None:
    task = TemporalOrder(num_marks, level)
    drawn = task.draw(200, seed=0, split="train")
    for row, length, label in zip(*drawn, strict=True):
        text = to_text(row, int(length))
        assert text[0] == "B"
        assert text[-1] == "E"
        assert (row[int(length) :] == 0).all(), "padding is at the end"
        places = [place for place, symbol in enumerate(text) if symbol in "XY"]
        assert task.classes[label] == "".join(text[place] for place in places)
        assert set(text[1:-1]) - set("XY") <= set("abcd")
        if level == "abyss":
            assert ABYSS.low <= len(text) < ABYSS.high
            thirds = [3 * place // len(text) for place in places]
            assert thirds == list(range(num_marks))
        else:
            limits = (TWO_MARKS if num_marks == 2 else THREE_MARKS)[level]
            assert limits.length.low <= len(text) < limits.length.high
            assert all(
                mark.low <= place < mark.high
                for place, mark in zip(places, limits.marks, strict=True)
            )


@pytest.mark.parametrize(("num_marks", "level"), CASES)
def test_classes_lengths_and_places_are_all_drawn(num_marks: int, level: LevelName) -> None:
    drawn = TemporalOrder(num_marks, level).draw(4000, seed=1, split="test")
    counts = torch.bincount(drawn.labels)
    assert len(counts) == 2**num_marks
    assert (counts - 4000 / 2**num_marks).abs().max() < 6 * (4000 / 2**num_marks) ** 0.5
    if level in TWO_MARKS:
        limits: Level = (TWO_MARKS if num_marks == 2 else THREE_MARKS)[level]
        longest = range(*limits.length)
        assert {longest[0], longest[-1]} <= set(drawn.lengths.tolist())
        first = (drawn.inputs >= SYMBOLS.index("X")).int().argmax(1)
        assert set(first.tolist()) == set(range(*limits.marks[0]))


@pytest.mark.parametrize("levels", [TWO_MARKS, THREE_MARKS])
def test_marks_never_meet_each_other_or_the_ends(levels: dict[LevelName, Level]) -> None:
    for level in levels.values():
        edges = [1]
        for mark in level.marks:
            assert edges[-1] <= mark.low < mark.high
            edges.append(mark.high)
        assert edges[-1] <= level.length.low - 1


def test_splits_and_batches_have_streams_of_their_own() -> None:
    task = TemporalOrder(2, "easy")
    keys = [(0, "train", 0), (0, "train", 1), (0, "validation", 0), (0, "test", 0), (1, "train", 0)]
    drawn = [task.draw(100, *key).inputs for key in keys]  # type: ignore[arg-type]
    texts = [tuple(map(tuple, inputs.tolist())) for inputs in drawn]
    assert len(set(texts)) == len(keys)
    assert torch.equal(task.draw(100, 0, "train", 1).inputs, drawn[1])


def test_the_sum_is_that_of_the_marked_numbers() -> None:
    inputs, lengths, answers = Adding(length=9).draw(500, seed=0, split="train")
    assert inputs.shape == (500, 9, 2)
    assert (lengths == 9).all()
    for row, answer in zip(inputs.tolist(), answers.tolist(), strict=True):
        marked = [place for place, (_, mark) in enumerate(row) if mark == 1]
        assert len(marked) == 2
        assert marked[0] < 4 <= marked[1]
        assert answer == pytest.approx(sum(row[place][0] for place in marked))
    assert (answers - 1).square().mean() == pytest.approx(1 / 6, abs=0.03)


def test_text_goes_there_and_back() -> None:
    text = "BacXbdcYaE"
    assert to_text(from_text(text), len(text)) == text
    with pytest.raises(DataError, match="'Z' at position 3"):
        from_text("BaZ")

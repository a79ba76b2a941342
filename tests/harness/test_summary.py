"""The summary of the data: what it says, and what it leaves out."""

import re
from typing import Any

import torch

from harness.experiment import Splits
from harness.summary import summary
from harness.training.batches import GeneratedSamples
from tests.harness.small import Line, line


def never() -> Line:
    raise AssertionError("the test split was read")


def splits(**changes: Any) -> Splits[Line]:
    return Splits(
        **{"name": "line", "train": line(), "validation": line(4), "load_test": never, **changes}
    )


def test_classes_are_counted_by_split() -> None:
    counts = {
        "train": {"Großer Wagen": 1200, "cat": 3},
        "validation": {"Großer Wagen": 20},
        "test": {"cat": 1, "Großer Wagen": 20},
    }
    first, *rows = summary(splits(counts=counts)).splitlines()
    assert re.fullmatch(r"Data line \([0-9a-f]{12}\), inputs \(1,\) float32", first)
    assert rows[0].split() == ["train", "validation", "test"]
    assert [row.rsplit(maxsplit=3) for row in rows[1:]] == [
        ["Großer Wagen", "1,200", "20", "20"],
        ["cat", "3", "0", "1"],
        ["total", "1,203", "20", "21"],
    ]
    assert len({len(row) for row in rows}) == 1, "the columns are aligned"


def test_many_classes_are_abridged_and_long_names_cut() -> None:
    names = [f"{number} {'very ' * 30}long" for number in range(40)]
    counts = {"train": dict.fromkeys(names, 5), "test": dict.fromkeys(names, 2)}
    lines = summary(splits(counts=counts)).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) < 80
    assert lines[2].startswith("0 very")
    assert lines[-1].split() == ["total", "200", "80"]


def test_without_classes_the_shapes_are_said() -> None:
    _, train, validation, test = summary(splits()).splitlines()
    assert train.split(maxsplit=1) == ["train", "(10, 1) float32"]
    assert validation.split(maxsplit=1) == ["validation", "(4, 1) float32"]
    assert test.split(maxsplit=1) == ["test", "read once, after training"]
    generated = GeneratedSamples(lambda *_: Line(torch.zeros(8, 7), torch.zeros(8)), num_batches=30)
    assert "(8, 7) float32 in each of 30 batches, others in every" in summary(
        splits(train=generated)
    )


def test_what_was_left_out_is_warned_of_with_the_first_reasons() -> None:
    skipped = [("a\nb.jpg", "empty file"), ("\udcff.jpg", "not an image"), *[("c", "d")] * 2000]
    *_, warning = summary(splits(skipped=skipped)).splitlines()
    assert warning.startswith("Warning: 2,002 left out, see the table `skipped`")
    assert (
        r"'a\nb.jpg' (empty file), '\udcff.jpg' (not an image), 'c' (d), and 1,999 more" in warning
    )
    warning.encode()
    assert "Warning" not in summary(splits())

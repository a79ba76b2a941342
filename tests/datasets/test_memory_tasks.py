"""Memory tasks against targets that are computed letter by letter."""

import math

import pytest
import torch

from datasets.characters import BLANK
from datasets.generated import GeneratedDataset
from datasets.memory_tasks import Copy, Echo, Sequences

TASKS: dict[str, GeneratedDataset[Sequences]] = {
    "echo": Echo(4, 4, 15, 15),
    "padded echo": Echo(2, 2, 3, 12),
    "no delay": Echo(0, 0, 5, 5),
    "variable echo": Echo(0, 8, 20, 20),
    "padded variable echo": Echo(0, 2, 3, 9),
    "copy": Copy(blank_length=7),
}


def generate(name: str, count: int = 200) -> Sequences:
    return TASKS[name].generate(count, seed=3, split="train")


@pytest.mark.parametrize("name", [name for name in TASKS if "copy" not in name])
def test_an_echo_repeats_each_letter_after_the_delay(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, Echo)
    for inputs, targets, mask, delay in zip(*(t.tolist() for t in generate(name)), strict=True):
        length = len(inputs) - inputs.count(BLANK)
        assert task.min_length <= length <= task.max_length == len(inputs)
        assert inputs[length:] == [BLANK] * (len(inputs) - length), "padding is at the end"
        assert set(inputs[:length]) <= set(range(1, 27))
        expected = [
            inputs[step - delay] if delay <= step < length else BLANK for step in range(len(inputs))
        ]
        assert targets == expected
        assert mask == [letter != BLANK for letter in expected]


def test_delays_and_lengths_take_every_value_between_their_limits() -> None:
    sequences = generate("variable echo", 2000)
    assert set(sequences.delays.tolist()) == set(range(9))
    padded = generate("padded variable echo", 2000)
    assert set((padded.inputs != BLANK).sum(1).tolist()) == set(range(3, 10))
    counts = torch.bincount(sequences.inputs.flatten(), minlength=27)[1:]
    mean = 2000 * 20 / 26
    assert ((counts - mean).abs() < 6 * math.sqrt(mean)).all(), "all letters are equally frequent"


def test_copy_shows_symbols_blanks_and_a_marker_and_scores_all_symbols() -> None:
    task = TASKS["copy"]
    assert isinstance(task, Copy)
    for inputs, targets, mask, _ in zip(*(t.tolist() for t in generate("copy")), strict=True):
        assert len(inputs) == task.max_length
        symbols = inputs[:10]
        assert set(symbols) <= set(range(1, 9))
        assert inputs == [*symbols, *[BLANK] * 6, task.marker, *[BLANK] * 10]
        assert targets == [BLANK] * 17 + symbols
        assert mask == [False] * 17 + [True] * 10


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_reproducible_and_differs_from_all_others(name: str) -> None:
    task = TASKS[name]
    once = task.generate(50, 1, "train", 5)
    torch.manual_seed(99)
    again = task.generate(50, 1, "train", 5)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    others = [
        task.generate(50, 2, "train", 5),
        task.generate(50, 1, "test", 5),
        task.generate(50, 1, "train", 6),
    ]
    assert not any(torch.equal(once.inputs, other.inputs) for other in others)

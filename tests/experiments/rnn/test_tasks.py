"""The tasks that a configuration asks for, and the curriculum."""

from typing import Any

import pytest

from datasets.memory_tasks import Copy, Echo
from datasets.selective_tasks import AssociativeRecall, InductionHeads, Parity, SelectiveCopying
from experiments.rnn import tasks
from experiments.rnn.config import RNNConfig
from experiments.rnn.curriculum import length_in
from experiments.rnn.tasks import MemoryTask


def copying(**changes: Any) -> RNNConfig:
    return RNNConfig(task="copy", **changes)


def test_the_blanks_are_few_at_first_and_all_at_last() -> None:
    config = copying(blank_length=320, initial_blank_length=5, num_epochs=11)
    lengths = [length_in(config, "blank_length", epoch) for epoch in range(1, 12)]
    # Doubled six times, over the five epochs from the fifth to the tenth.
    assert lengths == [5] * 5 + [round(5 * 64 ** (k / 5)) for k in range(1, 6)] + [320]
    assert [tasks.for_training(config, epoch) for epoch in (1, 11)] == [Copy(5), Copy(320)]
    assert tasks.for_validation(config) == tasks.for_test(config) == Copy(320)


@pytest.mark.parametrize("initial", [0, 30])
def test_without_a_curriculum_there_are_all_blanks_from_the_first_epoch(initial: int) -> None:
    config = copying(blank_length=30, initial_blank_length=initial, num_epochs=1)
    assert tasks.for_training(config, 1) == Copy(30)
    assert tasks.for_training(copying(blank_length=3, num_epochs=1), 1) == Copy(3)


def test_training_and_test_have_the_lengths_that_are_asked_for() -> None:
    config = RNNConfig(length=10, min_length=6, test_length=14)
    assert tasks.for_training(config, 1) == tasks.for_validation(config) == Echo(4, 4, 6, 10)
    assert tasks.for_test(config) == Echo(4, 4, 10, 14)
    assert tasks.for_validation(config, 1) == Echo(4, 4, 6, 10)
    assert tasks.for_validation(config, 4) == Echo(4, 4, 40, 40)
    assert tasks.for_validation(RNNConfig(task="variable_echo")) == Echo(0, 8, 15, 15)
    assert tasks.for_validation(copying(blank_length=30), 2) == Copy(60)
    recall = RNNConfig(task="associative_recall", sequence_length=30, num_items=5)
    assert tasks.for_training(recall, 1) == tasks.for_test(recall) == AssociativeRecall(30, 5)
    assert tasks.for_validation(recall, 16) == AssociativeRecall(480, 5), "as much to remember"
    growing = recall.replace(initial_sequence_length=15, num_epochs=3)
    lengths = [tasks.for_training(growing, epoch).max_length for epoch in (1, 2, 3)]
    assert lengths == [15, round(15 * 2**0.2), 30]
    assert tasks.for_validation(growing).max_length == 30


@pytest.mark.parametrize(
    ("changes", "shortest"),
    [
        ({"task": "copy", "blank_length": 30, "initial_blank_length": 9}, Copy(1)),
        ({"task": "selective_copying", "num_items": 5}, SelectiveCopying(5, 5)),
        ({"task": "associative_recall", "num_items": 2}, AssociativeRecall(6, 2)),
        ({"task": "induction_heads"}, InductionHeads(3)),
        ({"task": "parity"}, Parity(1)),
    ],
)
def test_mixed_lengths_are_drawn_from_the_shortest_possible_to_that_of_the_epoch(
    changes: dict[str, Any], shortest: MemoryTask
) -> None:
    if changes["task"] != "copy":
        changes = {**changes, "sequence_length": 30, "initial_sequence_length": 9}
    config = RNNConfig(**changes, num_epochs=10, mix_lengths=True)
    for epoch in (1, 10):
        longest = tasks.for_training(config, epoch)
        assert longest == tasks.for_training(config.replace(mix_lengths=False), epoch, batch=7)
        drawn = {tasks.for_training(config, epoch, batch) for batch in range(1000)}
        lengths = sorted(task.max_length for task in drawn)
        assert lengths == list(range(shortest.max_length, longest.max_length + 1))
        assert shortest in drawn
    again = {tasks.for_training(config, 10, batch=3) for _ in range(10)}
    assert len(again) == 1, "a resumed run draws the same"
    others = {tasks.for_training(config.replace(seed=seed), 10, batch=3) for seed in range(20)}
    assert len(others) > 5

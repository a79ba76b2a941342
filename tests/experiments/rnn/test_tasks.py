"""The tasks that a configuration asks for, and the curriculum."""

from typing import Any

import pytest

from datasets.memory_tasks import Copy, Echo
from datasets.selective_tasks import AssociativeRecall
from experiments.rnn import tasks
from experiments.rnn.config import RNNConfig
from experiments.rnn.curriculum import length_in


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

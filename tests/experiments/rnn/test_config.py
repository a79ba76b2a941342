"""Which parameters of the memory tasks go together."""

from typing import Any

import pytest

from experiments.rnn.config import RNNConfig
from harness.errors import UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delay": 15}, "delay=15: has to be below 15"),
        ({"delay": 6, "min_length": 6}, "delay=6: has to be below 6"),
        ({"task": "variable_echo", "max_delay": 20}, "max_delay=20: has to be below 15"),
        ({"min_length": 16}, "min_length=16: exceeds length=15"),
        ({"test_length": 3}, "test_length=3: is less than length=15"),
        ({"length": 64}, "test_length=25: is less than length=64"),
        ({"cell": "rnn", "initialisation": "chrono"}, "initialisation=chrono: .*cell=rnn"),
        (
            {"cell": "mingru", "initialisation": "orthogonal"},
            "initialisation=orthogonal: .*allowed for rnn, lstm, gru",
        ),
        (
            {"task": "copy", "initial_blank_length": 300},
            "initial_blank_length=300: exceeds blank_length=200",
        ),
        ({"delay": -1}, "delay=-1"),
        (
            {"task": "selective_copying", "num_items": 65},
            "num_items=65: exceeds 64, .*sequence_length=64 of selective_copying",
        ),
        (
            {"task": "associative_recall", "sequence_length": 20},
            "num_items=8: exceeds 6, .*sequence_length=20 of associative_recall",
        ),
        ({"task": "associative_recall", "num_items": 14}, "num_items=14: .*13 pairs"),
        ({"task": "induction_heads", "sequence_length": 2}, "sequence_length=2: .*3 steps"),
        ({"task": "parity", "sequence_length": 0}, "sequence_length=0: "),
        (
            {"task": "parity", "initial_sequence_length": 65},
            "initial_sequence_length=65: exceeds sequence_length=64",
        ),
        (
            {"task": "selective_copying", "initial_sequence_length": 7},
            "num_items=8: exceeds 7, .*initial_sequence_length=7 of selective_copying",
        ),
        (
            {"task": "induction_heads", "initial_sequence_length": 2},
            "initial_sequence_length=2: .*3 steps",
        ),
        ({"cell": "transformer"}, "cell=transformer"),
        ({"task": "next_character"}, "task=next_character"),
        ({"text": "novel.txt"}, "text: no such parameter"),
    ],
)
def test_what_is_not_allowed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RNNConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"task": "variable_echo", "delay": 3},
        {"task": "copy", "delay": 3},
        {"max_delay": 3},
        {"task": "copy", "max_delay": 3},
        {"blank_length": 30},
        {"initial_blank_length": 3},
        {"task": "copy", "resample_each_epoch": False, "initial_blank_length": 3},
        {"task": "copy", "length": 30},
        {"task": "copy", "min_length": 5},
        {"task": "copy", "test_length": 30},
        {"sequence_length": 30},
        {"initial_sequence_length": 30},
        {"task": "parity", "resample_each_epoch": False, "initial_sequence_length": 3},
        {"mix_lengths": True},
        {"task": "copy", "resample_each_epoch": False, "mix_lengths": True},
        {"task": "copy", "num_items": 30},
        {"task": "parity", "num_items": 3},
        {"task": "induction_heads", "num_items": 3},
        {"task": "parity", "test_length": 400},
        {"task": "selective_copying", "blank_length": 5},
    ],
)
def test_what_has_no_effect_is_refused_and_not_logged(values: dict[str, Any]) -> None:
    *others, (name, value) = values.items()
    with pytest.raises(UserError, match=f"{name}={value}: has no effect here; it needs "):
        RNNConfig(**values)
    assert name not in RNNConfig(**dict(others)).as_parameters()


def test_every_task_logs_the_parameters_that_it_has() -> None:
    selective = {"sequence_length", "initial_sequence_length", "mix_lengths"}
    own: dict[Any, set[str]] = {
        "echo": {"delay", "length", "min_length", "test_length"},
        "variable_echo": {"max_delay", "length", "min_length", "test_length"},
        "copy": {"blank_length", "initial_blank_length", "mix_lengths"},
        "selective_copying": {*selective, "num_items"},
        "induction_heads": selective,
        "associative_recall": {*selective, "num_items"},
        "parity": selective,
    }
    every = set.union(*own.values())
    for task, names in own.items():
        assert every & set(RNNConfig(task=task).as_parameters()) == names

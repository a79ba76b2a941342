"""Echoes and copies of texts, as `predict` prints them."""

import functools
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from datasets.characters import Vocabulary
from datasets.choices import SELECTIVE_TASKS, MemoryTaskName
from datasets.memory_tasks import Copy
from datasets.selective_tasks import selective_task
from experiments.rnn.inference import EchoRequest, predict
from harness.errors import UserError
from harness.tracking import models
from tests.conftest import network_of

Train = Callable[..., str]
load = functools.cache(models.load)


def rows_of(uri: str, *inputs: str, **options: Any) -> list[dict[str, Any]]:
    return list(predict(EchoRequest(model=uri, inputs=inputs, **options), load(uri)))


@functools.cache
def load_network(uri: str) -> Any:
    return mlflow.pyfunc.load_model(network_of(uri))


def served(uri: str, inputs: np.ndarray) -> np.ndarray:
    """Return the most probable symbols of one sequence, as MLflow itself serves the model."""
    logits = np.asarray(load_network(uri).predict(inputs.astype(np.float64)))
    return np.asarray(logits[0].argmax(-1))


def test_a_text_is_echoed_with_the_delay_of_the_model(trained: Train) -> None:
    uri = trained("rnn", delay=2)
    (row,) = rows_of(uri, "he llo")
    predicted = served(uri, Vocabulary().encode("he llo").numpy()[None])
    predicted[[0, 1, 4]] = 0
    assert row == {
        "input": "he llo",
        "echo": Vocabulary().decode(torch.from_numpy(predicted)),
    }
    assert rows_of(uri, "he llo", delay=2) == [row]
    with pytest.raises(UserError, match="delay=3: this model was trained with delay=2"):
        rows_of(uri, "abc", delay=3)


def test_the_delay_is_an_option_where_it_varies(trained: Train) -> None:
    uri = trained("rnn", task="variable_echo", max_delay=3)
    predictions = set()
    for delay in range(4):
        (row,) = rows_of(uri, "he llo", delay=delay)
        inputs = np.array([[delay, *Vocabulary().encode("he llo").tolist()]])
        predicted = served(uri, inputs)
        predicted[:delay] = 0
        predicted[2 + delay : 3 + delay] = 0
        assert row["echo"] == Vocabulary().decode(torch.from_numpy(predicted))
        predictions.add(row["echo"])
    assert len(predictions) > 1
    rows = rows_of(uri, "a", "he", delay=3)
    assert [row["echo"] for row in rows] == [" ", "  "], "shorter than the delay"
    with pytest.raises(UserError, match="delay=4: this model knows those up to 3"):
        rows_of(uri, "hello", delay=4)


def test_ten_letters_are_copied(trained: Train) -> None:
    uri = trained("rnn", task="copy", blank_length=6)
    (row,) = rows_of(uri, "abcdefghab")
    inputs = Copy(6).build_inputs(Vocabulary().encode("abcdefghab").unsqueeze(0)).numpy()
    predicted = served(uri, inputs)[-10:]
    assert row["echo"] == Vocabulary().decode(torch.from_numpy(predicted))
    assert rows_of(uri, "abcdefghaz", "abcdefghab") == [
        {"input": "abcdefghaz", "error": "10 letters from a to h can be copied"},
        row,
    ]
    with pytest.raises(UserError, match="delay=3: has no effect here"):
        rows_of(uri, "abcdefghab", delay=3)


TEXTS: dict[str, tuple[list[str], str, str]] = {
    "selective_copying": (
        ["ab  zz", "b         nzz"],
        "abzzz",
        "2 letters from a to n among blanks, and after them 2 times z",
    ),
    "induction_heads": (["zaz", "abzcdaz"], "abz", "letters from a to o, with z before one of"),
    "associative_recall": (["anbo", "anbo  b a"], "an", "2 pairs of a letter from a to m and one"),
    "parity": (["a", "abbabab"], "a c", "letters a and b"),
}


@pytest.mark.parametrize("task", SELECTIVE_TASKS)
def test_a_text_is_answered_where_it_asks(task: MemoryTaskName, trained: Train) -> None:
    """Texts of different lengths together, each as MLflow predicts it by itself."""
    changes: dict[str, Any] = {"task": task, "sequence_length": 12, "num_epochs": 1}
    if task in ("selective_copying", "associative_recall"):
        changes["num_items"] = 2
    uri = trained("rnn", **changes)
    texts, invalid, reason = TEXTS[task]
    answers = selective_task(task, 12, num_items=2).answers
    for text, row in zip(texts, rows_of(uri, *texts), strict=True):
        symbols = Vocabulary().encode(text).unsqueeze(0)
        predicted = torch.from_numpy(served(uri, symbols.numpy()))
        is_asked = answers(symbols)[0] != 0
        assert row == {"input": text, "echo": Vocabulary().decode(predicted.where(is_asked, 0))}
    (row,) = rows_of(uri, invalid)
    assert row["error"].startswith(f"this model can be asked about {reason}")
    with pytest.raises(UserError, match=f"delay=3: has no effect here; .* task={task}"):
        rows_of(uri, texts[0], delay=3)


def test_a_model_of_the_comparison_of_cells_predicts_as_well(trained: Train) -> None:
    (row,) = rows_of(trained("rnn_cells"), "hello")
    assert len(row["echo"]) == 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hello", "character 'H' at position 1 is outside the alphabet"),
        ("", "an empty text"),
    ],
)
def test_what_cannot_be_echoed_is_refused(text: str, reason: str, trained: Train) -> None:
    (row,) = rows_of(trained("rnn", delay=2), text)
    assert reason in row["error"]

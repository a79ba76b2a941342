"""What exported models refuse, wherever they are loaded: the checks are part of the archive."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pytest
import torch

import experiments
from harness.errors import UserError
from harness.tracking.models import load
from tests.conftest import network_of


class Requests(NamedTuple):
    """What is sent to models of an experiment."""

    valid: str
    """A JSON array."""
    invalid: dict[str, str]
    """JSON arrays, each with the reason for which it is refused."""
    changes: Mapping[str, Any] = MappingProxyType({})
    """Of the configuration."""


OUT_OF_RANGE = "a number outside of"
NO_INTEGER = "a number that is not an integer"
NO_SYMBOL = "a symbol that is not one of 0 to 26"
TOO_MANY = "more than 100,000 numbers in one request"
BEFORE_END = "padding before the end of a sequence"


def images(value: float, count: int = 1) -> str:
    return json.dumps(np.full((count, 3, 32, 32), value).tolist())


REQUESTS = {
    "moe": Requests(
        "[[0.5, -1.2], [3, 2], [0, 0]]",
        {
            "[[NaN, 1]]": OUT_OF_RANGE,
            "[[null, 1]]": OUT_OF_RANGE,
            "[[1, Infinity]]": OUT_OF_RANGE,
            "[[0, 0], [1e39, 0]]": OUT_OF_RANGE,
            "[[-1e39, 0]]": OUT_OF_RANGE,
            json.dumps(50_001 * [[1, 2]]): TOO_MANY,
        },
    ),
    "cnn": Requests(
        images(0.25, 2),
        {
            images(200): r"a number outside of \[0, 1\], or NaN",
            images(-0.1): OUT_OF_RANGE,
            images(math.nan): OUT_OF_RANGE,
        },
    ),
    "rnn": Requests(
        "[[8, 5, 12, 12, 15]]",
        {
            "[[1, 2, 99]]": NO_SYMBOL,
            "[[1, 27]]": NO_SYMBOL,
            "[[-1, 2]]": NO_SYMBOL,
            "[[1.5, 2]]": NO_INTEGER,
            "[[NaN, 2]]": NO_INTEGER,
            "[[null, 2]]": NO_INTEGER,
            "[[Infinity, 2]]": NO_INTEGER,
            "[[1e39, 2]]": NO_INTEGER,
            "[[]]": "nothing to predict",
            json.dumps(1_001 * [100 * [1]]): TOO_MANY,
        },
    ),
    "rnn variable_echo": Requests(
        "[[3, 8, 5, 12]]",
        {
            "[[4, 8, 5, 12]]": "the condition, that is not one of 0 to 3",
            "[[-1, 8, 5, 12]]": "the condition, that is not one of 0 to 3",
            "[[3, 27, 1]]": NO_SYMBOL,
            "[[3, -1, 1]]": NO_SYMBOL,
        },
        {"task": "variable_echo", "max_delay": 3},
    ),
    "seq_classification": Requests(
        "[[0, 1, 2, 3], [3, 2, -1, -1]]",
        {
            "[[0, 1, 99]]": r"no symbol \(0 to 7\) and no padding \(-1\)",
            "[[0, 8]]": "no symbol",
            "[[0, -2]]": "no symbol",
            "[[-2, 1]]": "no symbol",
            "[[0, 1], [-1, -1]]": "a sequence without a step",
            "[[0, -1, 2]]": BEFORE_END,
            "[[-1, 0]]": BEFORE_END,
            "[[0, 1.5]]": NO_INTEGER,
            json.dumps(1_001 * [100 * [1]]): TOO_MANY,
        },
    ),
    "seq_classification adding": Requests(
        "[[[0.5, 1], [0.25, 0]], [[0.5, 1], [NaN, null]]]",
        {
            "[[[0.5, 1], [NaN, 1]]]": "NaN beside other channels",
            "[[[0.5, 1], [Infinity, 1]]]": "infinite",
            "[[[0.5, 1], [1e39, 1]]]": "infinite",
            "[[[0.5, 1], [NaN, NaN], [0.5, 1]]]": BEFORE_END,
            "[[[NaN, NaN]]]": "a sequence without a step",
        },
        {"task": "adding", "level": "hard", "length": 12},
    ),
}
"""By experiment, and perhaps a word that tells several of its models apart."""


@pytest.mark.parametrize("name", experiments.names())
def test_no_model_answers_what_is_no_number(
    name: str, trained: Callable[..., str], module_store: Path
) -> None:
    if experiments.find(name).config_class.family != name:
        return  # variants of an architecture log their models by the same lines
    (module_store / "README.md").write_text(100 * "what rnn_text reads in the tests ")
    model = mlflow.pyfunc.load_model(network_of(trained(name)))
    inputs = np.array(model.input_example, dtype=np.float64)
    for value in (math.nan, math.inf, 1e39):
        inputs.flat[0] = value
        with pytest.raises(RuntimeError, match=r"^invalid input: "):
            model.predict(inputs)


@pytest.mark.parametrize("key", REQUESTS)
def test_an_exported_model_refuses_what_it_cannot_answer(
    key: str, trained: Callable[..., str]
) -> None:
    uri = trained(key.split()[0], **REQUESTS[key].changes)
    served, loaded = mlflow.pyfunc.load_model(network_of(uri)), load(uri)
    valid = np.array(json.loads(REQUESTS[key].valid), dtype=np.float64)
    answer = served.predict(valid)
    assert np.isfinite(answer).all()
    assert len(answer) == len(valid)
    np.testing.assert_allclose(loaded(torch.from_numpy(valid)).numpy(), answer)
    for text, reason in REQUESTS[key].invalid.items():
        array = np.array(json.loads(text), dtype=np.float64)
        with pytest.raises(RuntimeError, match=f"^invalid input: .*{reason}"):
            served.predict(array)
        with pytest.raises(UserError, match=f"^invalid input: .*{reason}"):
            loaded(torch.from_numpy(array))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int32])
def test_the_module_takes_numbers_of_any_type(
    dtype: torch.dtype, trained: Callable[..., str]
) -> None:
    for name, inputs in (("moe", [[1, 2], [3, -4]]), ("seq_classification", [[1, 2], [3, -1]])):
        module: Any = mlflow.pytorch.load_model(trained(name))
        numbers = torch.tensor(inputs)
        torch.testing.assert_close(module(numbers.to(dtype)), module(numbers.double()))


@pytest.mark.parametrize(
    ("key", "inputs", "outputs"),
    [
        ("moe", (-1, 2), (-1,)),
        ("cnn", (-1, 3, 32, 32), (-1, 2)),
        ("rnn", (-1, -1), (-1, -1, 27)),
        ("rnn variable_echo", (-1, -1), (-1, -1, 27)),
        ("seq_classification", (-1, -1), (-1, 4)),
        ("seq_classification adding", (-1, -1, 2), (-1, 1)),
    ],
)
def test_the_signature_leaves_open_what_follows_the_input(
    key: str, inputs: tuple[int, ...], outputs: tuple[int, ...], trained: Callable[..., str]
) -> None:
    uri = trained(key.split()[0], **REQUESTS[key].changes)
    signature = mlflow.models.get_model_info(network_of(uri)).signature
    assert [spec.shape for spec in signature.inputs] == [inputs]
    assert [spec.shape for spec in signature.outputs] == [outputs]
    assert [spec.type for spec in signature.inputs] == [np.float64]


def test_a_prediction_that_is_not_finite_is_refused(trained: Callable[..., str]) -> None:
    model = load(trained("moe"))
    with torch.no_grad():
        for weights in model.module.parameters():
            weights.mul_(1e3)
    with pytest.raises(UserError, match="numbers too large for a finite prediction"):
        model(torch.tensor([[1e38, 1e38]]))

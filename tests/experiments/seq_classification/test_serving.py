"""Sequence classifiers behind a real server: symbols and series, and what is refused."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.lesson import EXPERIMENT
from harness.run_experiment import train_and_evaluate
from tests.conftest import serve
from tests.datasets.test_sequence_files import wave, write_ts
from tests.experiments.calibrated import temperature_of
from tests.experiments.predict.test_serving import SERVE, check_refused, post

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uris(module_store: Path) -> dict[str, str]:
    """Train one model of symbols, one of two channels, and one of a regression."""
    generated = {"num_train": 40, "num_validation": 20, "num_test": 20}
    kinds: dict[str, dict[str, Any]] = {
        "symbols": {"level": "easy", **generated},
        "series": {"data": write_ts(module_store / "waves.ts"), "encoder": "transformer"},
        "numbers": {"task": "adding", "length": 12, **generated},
    }
    uris = {}
    for kind, values in kinds.items():
        config = SequenceConfig(num_epochs=1, width=8, **values)
        run = train_and_evaluate(EXPERIMENT, config, read_test=False)
        uris[kind] = f"runs:/{run.run_id}/model"
    return uris


@pytest.fixture(scope="module")
def ask(
    uris: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str, str], tuple[int, Any]]]:
    """Serve a model when it is first asked, one at a time; return status and answer."""
    running: dict[str, tuple[Any, str]] = {}

    def to(kind: str, body: str, content_type: str = "application/json") -> tuple[int, Any]:
        if kind not in running:
            for server, _ in running.values():
                server.__exit__(None, None, None)
            running.clear()
            server = serve(tmp_path_factory.mktemp(kind), "/ping", *SERVE, uris[kind])
            running[kind] = server, server.__enter__()
        return post(running[kind][1], body, content_type)

    yield to
    for server, _ in running.values():
        server.__exit__(None, None, None)


def records(column: str, *values: object) -> str:
    return json.dumps({"dataframe_records": [{column: value} for value in values]})


def outputs(uri: str, inputs: torch.Tensor) -> list[float]:
    """Return what the exported network says of one sequence."""
    network: Any = mlflow.pytorch.load_model(uri)
    values: list[float] = network(inputs[None])[0].tolist()
    return values


def probabilities(uri: str, inputs: torch.Tensor) -> list[float]:
    """Return what that means with the temperature of the model."""
    values: list[float] = (
        (torch.tensor(outputs(uri, inputs)) / temperature_of(uri)).softmax(0).tolist()
    )
    return values


def test_symbols(uris: dict[str, str], ask: Callable[..., tuple[int, Any]]) -> None:
    texts = ["BacXbdcYaE", "BaXbYcE"]
    status, answer = ask("symbols", records("sequence", *texts))
    assert status == 200, answer
    for text, row in zip(texts, answer["predictions"], strict=True):
        symbols = torch.tensor(["BEabcdXY".index(symbol) for symbol in text])
        expected = probabilities(uris["symbols"], symbols)
        assert list(row["probabilities"].values()) == pytest.approx(expected, rel=1e-4)
        assert row["class"] == ("XX", "XY", "YX", "YY")[int(np.argmax(expected))]
    as_csv = ask("symbols", "sequence\n" + "\n".join(texts) + "\n", "text/csv")
    assert as_csv == (status, answer)


# Tests of one kind stand together: only one server runs at a time.
MALFORMED_SYMBOLS: dict[str, tuple[str, str]] = {
    "another symbol": (records("sequence", "BaQE"), "row 1: sequence: step 3 is 'Q'"),
    "an empty sequence": (records("sequence", ""), "row 1: 0 steps"),
    "the second row": (records("sequence", "BaE", "Ba1"), "row 2: sequence: step 3"),
    "a number as symbols": (records("sequence", 3), "sequence"),
    "null as symbols": (records("sequence", None), "sequence"),
    "a list of symbols": (records("sequence", ["B", "a"]), "sequence"),
    "too many steps": (records("sequence", 100_001 * "a"), "100,001 steps"),
    "no rows of symbols": (records("sequence"), ""),
    "another column": (records("text", "BaE"), "missing inputs"),
    "an array": ('{"inputs": [[0, 1, 2]]}', ""),
    "no JSON": ('{"dataframe_records": [', "JSON"),
    "a CSV file without the column": ("x\nBaE\n", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED_SYMBOLS)
def test_malformed_symbols_are_refused(what: str, ask: Callable[..., tuple[int, Any]]) -> None:
    body, reason = MALFORMED_SYMBOLS[what]
    check_refused(ask("symbols", body, "text/csv" if "CSV" in what else "application/json"), reason)


def test_series_of_unequal_lengths_and_with_gaps(
    uris: dict[str, str], ask: Callable[..., tuple[int, Any]]
) -> None:
    series = [wave("slow", 9, 0.3).tolist(), wave("fast", 12, 1.0).tolist()]
    gap: Any = [*map(list, series[0])]
    filled = [*map(list, series[0])]
    gap[4][1] = None
    filled[4][1] = (series[0][3][1] + series[0][5][1]) / 2
    whole = [[0, 5], [1, 6]]
    for sent, meant in ((series, series), ([gap], [filled]), ([whole], [whole])):
        status, answer = ask("series", records("series", *sent))
        assert status == 200, answer
        for steps, row in zip(meant, answer["predictions"], strict=True):
            expected = probabilities(uris["series"], torch.tensor(steps))
            assert row["probabilities"] == pytest.approx(
                dict(zip(("fast", "slow"), expected, strict=True)), rel=1e-4
            )


GOOD = [[0.1, 5.0], [0.2, 5.5]]
MALFORMED_SERIES: dict[str, tuple[str, str]] = {
    "one channel": (records("series", [[1.0], [2.0]]), "step 1 has 1 number;"),
    "three channels": (records("series", [[1.0, 2.0, 3.0]]), "step 1 has 3 numbers"),
    "uneven steps": (records("series", [[1.0, 2.0], [3.0]]), "step 2 has 1 number;"),
    "a flat list": (records("series", [1.0, 2.0]), "has 1 number; needed: one for each channel, 2"),
    "no step": (records("series", []), "row 1: series: no step"),
    "a step of no channels": (records("series", [[]]), "step 1 has 0 numbers"),
    "text in a step": (records("series", [[1.0, "a"]]), "step 1 has 'a', which is no"),
    "a list in a step": (records("series", [[1.0, [2.0]]]), r"step 1 has \[2.0\], which"),
    "a channel of gaps": (records("series", [[1.0, None], [2.0, None]]), "channel 2 has"),
    "infinite": (records("series", [[1.0, math.inf]]), "step 1 has inf, which is not finite"),
    "a huge integer": (records("series", [[10**400, 1]]), "not finite"),
    "too large": (records("series", [[1.0, 1e39]]), "not finite"),
    "too long": (records("series", 1025 * GOOD[:1]), "1,025 steps; .* 1 to 1,024"),
    "text as a series": (records("series", "1,2"), ""),
    "null as a series": (records("series", None), "series=None: a list of steps"),
    "true as a number": (records("series", [[True, False]]), "step 1 has True, which"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED_SERIES)
def test_malformed_series_are_refused(what: str, ask: Callable[..., tuple[int, Any]]) -> None:
    body, reason = MALFORMED_SERIES[what]
    check_refused(ask("series", body), reason)


def test_a_number(uris: dict[str, str], ask: Callable[..., tuple[int, Any]]) -> None:
    steps = [[0.5, 1.0], [0.25, 0.0], [0.125, 1.0]]
    status, answer = ask("numbers", records("series", steps))
    (expected,) = outputs(uris["numbers"], torch.tensor(steps))
    assert status == 200, answer
    assert answer["predictions"] == [{"value": pytest.approx(expected, rel=1e-4)}]


def test_of_one_channel_a_step_may_be_a_number(store: Path) -> None:
    path = store / "recordings.ts"
    rows = [f"{','.join('12345'[: 3 + i % 3])}:{'ab'[i % 2]}" for i in range(20)]
    path.write_text("\n".join(["@univariate true", "@classLabel true a b", "@data", *rows]))
    config = SequenceConfig(data=str(path), num_epochs=1, width=8)
    run = train_and_evaluate(EXPERIMENT, config, read_test=False)
    model = mlflow.pyfunc.load_model(f"runs:/{run.run_id}/model")
    same = [1.0, 2.5, 4.0], [[1], [2.5], [4]], [1, None, 4], [[1.0], [None], [4.0]]
    body = records("series", *same)
    rows = infer_and_parse_data(json.loads(body), model.metadata.get_input_schema())
    answers = model.predict(rows)["probability"]  # as the server does
    assert answers.tolist() == pytest.approx(4 * [answers[0]], rel=1e-6)

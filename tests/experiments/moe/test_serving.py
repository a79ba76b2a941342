"""A mixture behind a real server: rows with names of columns, as JSON and CSV, and refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from experiments.moe.config import MoEConfig
from experiments.moe.lesson import EXPERIMENT
from harness.run_experiment import train_and_evaluate
from tests.conftest import serve
from tests.experiments.calibrated import temperature_of
from tests.experiments.moe.tables import CLASSES, FEATURES, write_table
from tests.experiments.predict.test_serving import SERVE, check_refused, post

pytestmark = pytest.mark.slow

JSON, CSV = "application/json", "text/csv"
HEADER = ",".join(f'"{name}"' for name in FEATURES)
ROWS = [[2.0, 5.0, 1.0, 0.25], [6.0, 3.0, 4.0, 1.5]]


@pytest.fixture(scope="module")
def uri(module_store: Path) -> str:
    file = write_table(module_store / "flowers.csv")
    config = MoEConfig(data=file, num_experts=3, num_epochs=3, restarts=2)
    return f"runs:/{train_and_evaluate(EXPERIMENT, config, read_test=False).run_id}/model"


@pytest.fixture(scope="module")
def address(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server"), "/ping", *SERVE, uri) as address:
        yield address


def records(*rows: list[Any], **more: Any) -> str:
    named = [dict(zip(FEATURES, row, strict=False)) for row in rows]
    return json.dumps({"dataframe_records": named, **more})


def split(columns: list[str], *rows: list[Any]) -> str:
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}})


BACKWARDS = [row[::-1] for row in ROWS]
GOOD: dict[str, tuple[str, str]] = {
    "records": (JSON, records(*ROWS)),
    "columns and rows": (JSON, split(list(FEATURES), *ROWS)),
    "another order": (JSON, split(list(FEATURES[::-1]), *BACKWARDS)),
    "more columns": (JSON, split([*FEATURES, "species"], *([*row, "daisy"] for row in ROWS))),
    "whole numbers": (JSON, records([2, 5, 1, 0.25], [6, 3, 4, 1.5])),
    "CSV": (CSV, f"{HEADER}\n2,5,1,.25\n6,3,4,1.5\n"),
    "CSV with the class": (CSV, f"species,{HEADER}\ndaisy,2,5,1,.25\npoppy,6,3,4,1.5\n"),
}


@pytest.mark.parametrize("how", GOOD)
def test_rows_get_classes_probabilities_and_weights(how: str, uri: str, address: str) -> None:
    content_type, body = GOOD[how]
    status, answer = post(address, body, content_type)
    assert status == 200, answer
    network: Any = mlflow.pytorch.load_model(uri)
    logits = network(torch.tensor(ROWS, dtype=torch.float64))
    expected = (logits / temperature_of(uri)).softmax(-1).tolist()
    for row, values in zip(answer["predictions"], expected, strict=True):
        assert row["probabilities"] == pytest.approx(
            dict(zip(CLASSES, values, strict=True)), rel=1e-4
        )
        assert row["class"] == CLASSES[values.index(max(values))]
        assert row["probability"] == pytest.approx(max(values), rel=1e-4)
        assert sum(row["expert_weights"].values()) == pytest.approx(1)
        assert list(row["expert_weights"]) == ["expert_1", "expert_2", "expert_3"]


def second(value: Any) -> str:
    """Return a request whose second row has a value in place of the lobes."""
    return records(ROWS[0], [*ROWS[1][:3], value])


TOO_LARGE = "row 2: lobes=.*no finite number of single precision"
MALFORMED: dict[str, tuple[str, str, str]] = {
    "no JSON": (JSON, "{", "JSON"),
    "an empty body": (JSON, "", "JSON"),
    "no known key": (JSON, '{"x": 1}', "dataframe_split"),
    "two keys": (JSON, records(ROWS[0], inputs=[1]), "exactly one"),
    "a list": (JSON, "[1, 2]", "list"),
    "no rows": (JSON, records(), "missing inputs"),
    "a missing column": (JSON, records(ROWS[0][:3]), "missing inputs.*lobes"),
    "other columns": (JSON, split(["a", "b", "c", "d"], *ROWS), "missing inputs"),
    "rows without names": (JSON, json.dumps({"inputs": ROWS}), "schema"),
    "null": (JSON, second(None), "row 2: lobes=nan: no finite number"),
    "NaN": (JSON, second(float("nan")), "row 2: lobes=nan: no finite number"),
    "infinity": (JSON, second(float("inf")), TOO_LARGE),
    "a number beyond single precision": (JSON, second(1e39), TOO_LARGE),
    "a number without a prediction": (JSON, second(3e38), "row 2: numbers too large"),
    "text": (JSON, second("two"), "column lobes .*'two'"),
    "a list in a cell": (JSON, second([1.0]), "column lobes"),
    "an object in a cell": (JSON, second({"a": 1}), "column lobes"),
    "a row of another length": (JSON, split(list(FEATURES), ROWS[0][:3]), "3 columns"),
    "too many rows": (JSON, records(*50_001 * [ROWS[0]]), "50,001 rows; a request has 1 to 50,000"),
    "another content type": ("text/plain", "2,5,1,.25", "content types"),
    "CSV without a body": (CSV, "", "CSV"),
    "CSV without a header": (CSV, "2,5,1,.25\n", "missing inputs"),
    "CSV without rows": (CSV, f"{HEADER}\n", "0 rows"),
    "CSV with text": (CSV, f"{HEADER}\n2,five,1,.25\n", "five"),
    "CSV with a gap": (CSV, f"{HEADER}\n2,5,1,.25\n2,,1,.25\n", "row 2: Blütenbreite=nan"),
    "CSV with a short row": (CSV, f"{HEADER}\n2,5,1\n", "row 1: lobes=nan"),
    "CSV with longer rows": (CSV, f"{HEADER}\n2.5,5,1,.25,9\n", "more fields than the header"),
    "CSV with semicolons": (CSV, f"{HEADER}\n2,5,1,.25\n".replace(",", ";"), "missing inputs"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_refused(what: str, address: str) -> None:
    content_type, body, reason = MALFORMED[what]
    check_refused(post(address, body, content_type), reason)

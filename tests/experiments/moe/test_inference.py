"""Predictions for rows of a table, from arguments and files, against the exported network."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from experiments.moe.config import MoEConfig
from experiments.moe.inference import INFERENCE, columns_of
from experiments.moe.lesson import EXPERIMENT
from harness.inference.request import ClassifyRequest
from harness.run_experiment import train_and_evaluate
from harness.tracking.models import LoadedModel, load
from tests.experiments.moe.tables import CLASSES, FEATURES, write_table


@pytest.fixture(scope="module")
def model(module_store: Path) -> LoadedModel:
    file = write_table(module_store / "flowers.csv")
    config = MoEConfig(data=file, num_experts=3, num_epochs=3, restarts=2)
    return load(f"runs:/{train_and_evaluate(EXPERIMENT, config, read_test=False).run_id}/model")


def predict(model: LoadedModel, *inputs: str) -> list[dict[str, Any]]:
    return list(INFERENCE.predict(ClassifyRequest(model="m", inputs=inputs), model))


def probabilities(model: LoadedModel, points: list[list[float]]) -> np.ndarray:
    logits = model(torch.tensor(points, dtype=torch.float64))
    temperature = model.metadata["calibration"]["temperature"]
    return np.asarray((logits / temperature).softmax(-1))


POINTS = [[2.0, 5, 1, 0.25], [6, 3, 4, 1.5]]
LENGTH, WIDTH, SIZE, LOBES = FEATURES
FILES = {
    "by position": "2,5,1,.25\n6,3,4,1.5\n",
    "by name": f'{LENGTH},{WIDTH},"{SIZE}",{LOBES}\n2,5,1,.25\n6,3,4,1.5\n',
    "in another order": f'{LOBES},"{SIZE}",{LENGTH},{WIDTH}\n.25,1,2,5\n1.5,4,6,3\n',
    "among others": f'kind,{LOBES},"{SIZE}",{LENGTH},{WIDTH},\na,.25,1,2,5,x\nb,1.5,4,6,3,\n',
    "marked as UTF-8": f'\ufeff{LENGTH},{WIDTH},"{SIZE}",{LOBES}\r\n2,5,1,.25\r\n6,3,4,1.5\r\n',
}


@pytest.mark.parametrize("how", FILES)
def test_columns_of_a_file_are_found_by_name_or_position(
    how: str, model: LoadedModel, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(FILES[how])
    rows = predict(model, "2,5,1,.25", str(tmp_path / "rows.csv"))
    expected = probabilities(model, [POINTS[0], *POINTS])
    assert [row["class"] for row in rows] == [CLASSES[k] for k in expected.argmax(1)]
    np.testing.assert_allclose([row["probability"] for row in rows], expected.max(1), rtol=1e-5)
    assert all(sum(row[f"expert_{k}"] for k in (1, 2, 3)) == pytest.approx(1) for row in rows)
    assert [row["input"] for row in rows] == ["2,5,1,.25", "2,5,1,.25", "6,3,4,1.5"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{LENGTH},{WIDTH},{LOBES}\n1,2,3\n", f"line 1: no column {SIZE}; needed are {LENGTH}, "),
        (f"{','.join([LENGTH, *FEATURES])}\n1,2,3\n", f"line 1: 2 columns are called {LENGTH}"),
        ("1,2,3,4,5\n", "'1,2,3,4,5' is no point; give 4 numbers: "),
        ("1,2,3\n", "'1,2,3' is no point; give 4 numbers: "),
        ("1,,3,4\n", "'1,,3,4' is no point"),
        ("1,nan,3,4\n", f"{WIDTH}=nan: no finite number"),
        ("1,3e38,3,4\n", "numbers too large for a finite prediction"),
        ("", "is empty"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    content: str, reason: str, model: LoadedModel, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(content)
    wrong, right = predict(model, str(tmp_path / "rows.csv"), "2,5,1,.25")
    assert wrong["error"].startswith(reason), wrong
    assert "error" not in right


def test_a_model_of_a_table_loads_with_names_of_columns_and_classes(model: LoadedModel) -> None:
    assert model.metadata["classes"] == list(CLASSES)
    signature = mlflow.models.get_model_info(model.uri).signature
    assert signature.inputs.input_names() == list(FEATURES)
    assert {str(kind) for kind in signature.inputs.input_types()} == {"DataType.double"}


def test_names_of_columns_may_be_numbers(tmp_path: Path) -> None:
    """As pandas calls them where they have no names."""
    (tmp_path / "rows.csv").write_text("1,label,0\n5,a,6\n")
    assert columns_of(str(tmp_path / "rows.csv"), ("0", "1")) == ([2, 0], True)
    (tmp_path / "rows.csv").write_text("5,6\n")
    assert columns_of(str(tmp_path / "rows.csv"), ("0", "1")) == (range(2), False)

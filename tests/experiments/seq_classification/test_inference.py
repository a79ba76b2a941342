"""Predictions for files of series, as one trains on them, against the exported network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.sequence_files import read_one
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.inference import INFERENCE
from experiments.seq_classification.lesson import EXPERIMENT
from harness.inference.request import ClassifyRequest
from harness.run_experiment import train_and_evaluate
from harness.tracking.models import LoadedModel, load
from tests.datasets.test_sequence_files import write_ts


@pytest.fixture(scope="module")
def model(module_store: Path) -> LoadedModel:
    write_ts(module_store / "waves_TRAIN.ts", 40)
    write_ts(module_store / "waves_TEST.ts", 6, seed=1)
    config = SequenceConfig(data=str(module_store), num_epochs=1, width=8)
    return load(f"runs:/{train_and_evaluate(EXPERIMENT, config, read_test=False).run_id}/model")


def predict(model: LoadedModel, path: Path) -> list[dict[str, Any]]:
    return list(INFERENCE.predict(ClassifyRequest(model="m", inputs=(str(path),)), model))


def long_table(path: Path, name: str = "long.csv") -> Path:
    """Write the series of a .ts file as a table with a row for each step."""
    lines = ["series,time,u,v,label"]
    for number, each in enumerate(read_one(path, "ts").series):
        rows = enumerate(np.asarray(each.steps).tolist())
        lines += [f"{number},{time},{u!r},{v!r},{each.label}" for time, (u, v) in rows]
    target = path.with_name(name)
    target.write_text("\n".join(lines))
    return target


@pytest.mark.parametrize("is_long", [False, True])
def test_of_a_pair_the_file_that_is_named_is_predicted(
    is_long: bool, model: LoadedModel, module_store: Path
) -> None:
    path = module_store / "waves_TEST.ts"
    rows = predict(model, long_table(path) if is_long else path)
    series = read_one(path, "ts").series
    assert [row["actual"] for row in rows] == [each.label for each in series]
    for row, each in zip(rows, series, strict=True):
        logits = model(torch.from_numpy(each.steps)[None].double())
        expected = (logits / model.metadata["calibration"]["temperature"]).softmax(-1)[0]
        assert row["class"] == ("fast", "slow")[int(expected.argmax())]
        assert row["probability"] == pytest.approx(expected.max().item(), rel=1e-4)


def test_a_series_that_cannot_be_answered_has_its_reason(
    model: LoadedModel, module_store: Path
) -> None:
    path = module_store / "new.ts"
    path.write_text("@classLabel false\n@data\n1,2,3:4,?,6\n1,2:?,?\n")
    good, bad = predict(model, path)
    assert "actual" not in good
    assert good["input"] == f"{path}: line 3"
    assert "channel 2 has no value" in str(bad)
    path.write_text("@classLabel false\n@data\n1,2,3\n")
    (row,) = predict(model, path)
    assert "step 1 has 1 number; needed: one for each channel, 2" in str(row)


def test_a_table_with_the_channels_in_another_order_is_refused(
    model: LoadedModel, module_store: Path
) -> None:
    names = "channel 2", "channel 1"
    path = module_store / "swapped.csv"
    path.write_text(f"series,{','.join(names)}\n1,0,0\n1,1,1\n")
    (row,) = predict(model, path)
    assert "are channel 2, channel 1; this model's are channel 1, channel 2" in str(row)
    path.write_text("series,channel 1,channel 2\n1,0,0\n1,1,1\n")
    assert predict(model, path)[0]["class"] in {"fast", "slow"}


def test_numbers_below_a_header_are_told_from_a_series(
    model: LoadedModel, module_store: Path
) -> None:
    path = module_store / "TWO.CSV"
    path.write_text("0.5,1\n0.25,2\n")
    assert predict(model, path)[0]["class"] in {"fast", "slow"}
    path.write_text("x,y\n0.5,1\n0.25,2\n")
    (row,) = predict(model, path)
    assert "it has symbols, and this model reads series; a file of one series" in str(row)

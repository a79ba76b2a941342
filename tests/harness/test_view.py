"""What the MLflow UI shows of an experiment first, and the links to it."""

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

import experiments
from harness.run_experiment import run_experiment
from harness.tracking import view
from tests.harness.runs import only_run
from tests.harness.small import EXPERIMENT, SmallConfig

pytestmark = pytest.mark.usefixtures("no_model")


def state_of(name: str) -> Any:
    experiment = mlflow.get_experiment_by_name(name)
    saved = json.loads(experiment.tags[view.TAG])
    assert saved["name"] == "Results"
    return json.loads(saved["state"])


def test_an_experiment_has_a_view_that_a_user_may_change(store: Path) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    state = state_of("small")
    assert state["orderByKey"] == "metrics.`best/val_loss`"
    assert state["orderByAsc"]
    place = mlflow.get_experiment_by_name("small").experiment_id
    assert "viewStateShareKey=results" in view.runs_url(place)
    MlflowClient().set_experiment_tag(place, view.TAG, "changed")
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert mlflow.get_experiment(place).tags[view.TAG] == "changed"


@pytest.mark.parametrize("name", experiments.names())
def test_the_view_shows_what_its_architecture_tunes_and_logs(name: str) -> None:
    experiment = experiments.find(name)
    space = experiment.companion("space").SPACE
    state = view.state_of_view(experiment)
    first, *others = state["selectedColumns"]
    assert first == state["orderByKey"] == f"metrics.`best/{space.metric.replace('/', '_')}`"
    assert state["orderByAsc"] == (not space.maximise)
    shown = {column.split("`")[1] for column in others if column.startswith("params.")}
    assert len(shown) == 3
    assert shown <= {field.name for field in experiment.config_class.parameters()}
    assert {"metrics.`test/accuracy`", "tags.`data`", "tags.`seed`"} <= {*others}


def test_a_link_leads_to_where_the_ui_is(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    run = only_run()
    path = f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f"  http://localhost:5000{path}" in capsys.readouterr().out
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "https://me:secret@example.org/a/")
    assert view.address() == "https://me:***@example.org/a"

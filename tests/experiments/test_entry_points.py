"""Every entry point of MLproject, found there and run as a user runs it, with its tiny values."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.projects
import numpy as np
import pytest
import torch
import yaml
from mlflow.entities import Run
from mlflow.projects.backend import local
from mlflow.projects.submitted_run import LocalSubmittedRun
from mlflow.projects.utils import get_run_env_vars
from mlflow.tracking import MlflowClient
from PIL import Image

import experiments
from harness import project
from harness.run_experiment import run_experiment
from harness.tracking.export import NETWORK
from harness.training.device import seed_everything
from harness.training.train import train
from tests.conftest import ROOT, ForkedRun

ENTRY_POINTS = list(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])
CONFIGURATIONS = project.configurations()
EXPERIMENTS = {name: experiments.find(name) for name in experiments.names()}
OTHERS = [name for name in ENTRY_POINTS if name not in EXPERIMENTS]
LONG = "main", "tune", "compare_tuned", "moe_extended", "rnn_cells", "seq_encoders"
"""They train several networks, and have tests of their own that are not slow."""


def each(names: Iterable[str]) -> list[Any]:
    """Return entry points as parameters of a test, which is slow for the long ones."""
    return [
        pytest.param(name, marks=pytest.mark.slow if name in LONG else (), id=name)
        for name in names
    ]


def test_every_configuration_is_an_entry_point() -> None:
    assert set(CONFIGURATIONS) == set(ENTRY_POINTS)
    assert set(EXPERIMENTS) <= set(ENTRY_POINTS)
    assert len(EXPERIMENTS) >= 2


@contextlib.contextmanager
def run_of(name: str, folder: Path, database: Path, *, forked: bool = False) -> Iterator[Run]:
    """Run one entry point through `mlflow run` in a store of its own, and yield the run."""
    shutil.copy(database, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    parameters = dict(CONFIGURATIONS[name].tiny)
    for key, value in parameters.items():
        parameters[key] = " ".join(value) if isinstance(value, tuple) else value
    if name in ("tune", "compare_tuned"):
        parameters["storage"] = str(folder / "optuna.journal")
    if name == "predict":
        place = mlflow.get_experiment_by_name("moe").experiment_id
        (logged,) = mlflow.search_logged_models([place], output_format="list")
        parameters["model"] = logged.model_uri
    with pytest.MonkeyPatch.context() as patch:
        # The child is to be this Python, also where its environment is not activated.
        patch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        # As a notebook's terminal has it, and an old one: neither is of any concern.
        patch.setenv("MPLBACKEND", "module://no_such_package.backend")
        patch.setenv("PYTHONIOENCODING", "cp1252")
        if forked:
            patch.setattr(local, "_run_entry_point", run_forked)
        experiment = mlflow.create_experiment("smoke", f"file://{folder}/artifacts")
        submitted = mlflow.projects.run(
            str(ROOT),
            entry_point=name,
            parameters=parameters,
            experiment_id=experiment,
            env_manager="local",
        )
        yield MlflowClient().get_run(submitted.run_id)
    mlflow.set_tracking_uri(before)


def run_forked(command: str, folder: str, experiment_id: str, run_id: str) -> LocalSubmittedRun:
    """Do what `mlflow run` does with its command."""
    variables = os.environ | get_run_env_vars(run_id, experiment_id)
    return LocalSubmittedRun(run_id, ForkedRun(command, folder, variables))


@pytest.fixture(scope="module", params=each(EXPERIMENTS))
def finished(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
) -> Iterator[Run]:
    """Run one experiment."""
    folder = tmp_path_factory.mktemp(request.param)
    # One of them with all that a process of its own has to import.
    with run_of(request.param, folder, empty_database, forked=request.param != "moe") as run:
        yield run


@pytest.fixture(scope="module")
def database_with_a_run(module_store: Path) -> Path:
    """Train a mixture, for the entry points that need what another run has left."""
    moe = EXPERIMENTS["moe"]
    run_experiment(moe, moe.config_class(**moe.config_class.tiny))
    return module_store / "mlflow.db"


@pytest.mark.parametrize("name", each(OTHERS))
def test_other_entry_points_finish_too(
    name: str, tmp_path: Path, database_with_a_run: Path
) -> None:
    with run_of(name, tmp_path, database_with_a_run) as run:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.project.entryPoint"] == name
        runs = MlflowClient().search_runs([run.info.experiment_id])
        assert {each.info.status for each in runs} <= {"FINISHED", "KILLED"}  # KILLED: pruned
        below = [each.data.tags for each in runs if each.info.run_id != run.info.run_id]
        parents = {tags.get("mlflow.parentRunId") for tags in below}
        assert parents <= {each.info.run_id for each in runs}, "every other run is below it"


def test_it_keeps_the_contract(finished: Run) -> None:
    config_class = EXPERIMENTS[finished.data.tags["entry_point"]].config_class
    assert finished.info.status == "FINISHED"
    config = config_class(**config_class.tiny)
    # `mlflow run` quotes what it logs, as for a shell: an empty value becomes two quotes.
    logged = {name: value.strip("'") for name, value in finished.data.params.items()}
    expected = {name: str(value) for name, value in config.as_parameters().items()}
    assert expected.items() <= logged.items()
    without_effect = logged.keys() - expected.keys()  # `mlflow run` logs every default itself
    assert not without_effect & config.changes().keys()
    tags = finished.data.tags
    assert tags["architecture"] == config_class.family
    assert {"git_commit", "git_dirty", "device", "seed", "mlflow.note.content"} <= set(tags)
    per_epoch = {"train/loss", "val/loss", "train/accuracy", "val/accuracy", "learning_rate"}
    for name in per_epoch | {"epoch_seconds", "samples_per_second"}:
        history = MlflowClient().get_metric_history(finished.info.run_id, name)
        assert [metric.step for metric in history] == list(range(1, config.num_epochs + 1))
    metrics = set(finished.data.metrics)
    assert {"best/epoch", "num_parameters", "flops_per_sample"} <= metrics
    assert any(name.startswith("test/") for name in metrics)
    assert {d.tags[0].value for d in finished.inputs.dataset_inputs} >= {"train", "test"}


def test_untracked_it_has_the_same_numbers(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit, whatever was drawn from the random streams before the evaluation."""
    monkeypatch.chdir(ROOT)
    experiment = EXPERIMENTS[finished.data.tags["entry_point"]]
    config = experiment.config_class(**experiment.config_class.tiny)
    trained = train(experiment, config)
    for name in trained.history.rows[0]:
        if "second" not in name:  # times are never the same
            logged = MlflowClient().get_metric_history(finished.info.run_id, name)
            assert [metric.value for metric in logged] == trained.history.column(name).tolist()
    seed_everything(99)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    assert {k: finished.data.metrics[k] for k in evaluation.metrics} == evaluation.metrics
    for name, values in evaluation.series.items():
        logged = MlflowClient().get_metric_history(finished.info.run_id, name)
        assert {metric.step: metric.value for metric in logged} == values


def test_its_pictures_are_readable_and_not_blank(finished: Run) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=finished.info.run_id))
    pictures = list((folder / "figures").iterdir())
    assert len(pictures) >= 5
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.width <= 900
            assert picture.height <= 800, "the pane of the UI would make it small"
            assert np.asarray(picture.convert("L")).std() > 5, path.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.11 of itself
def test_its_model_predicts_in_a_clean_process_elsewhere(finished: Run, tmp_path: Path) -> None:
    """No code of this project, no working directory, no pickle: any batch size."""
    if finished.data.tags["entry_point"] != finished.data.tags["architecture"]:
        return  # variants of an architecture log their models by the same lines
    (output,) = finished.outputs.model_outputs
    folder = Path(
        mlflow.artifacts.download_artifacts(f"models:/{output.model_id}", dst_path=str(tmp_path))
    )
    rival = tmp_path / "datasets"
    rival.mkdir()
    (rival / "__init__.py").write_text("raise ImportError('the package of others')")
    script = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
import mlflow, numpy as np
model, network = (mlflow.pyfunc.load_model(f"{folder}{{path}}") for path in ("", "/{NETWORK}"))
raw, array = model.input_example[:1], network.input_example[:1]
answers = [model.predict(raw.loc[n * [0]]).to_dict("records") for n in (1, 7)]
print(json.dumps([answers, [network.predict(np.repeat(array, n, 0)).tolist() for n in (1, 7)]]))
ours = {{"datasets", "experiments", "harness", "models", "tuning"}}
assert not ours & {{name.split(".")[0] for name in sys.modules}}
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (answers, (one, seven)) = json.loads(done.stdout.splitlines()[-1])
    assert [len(answer) for answer in answers] == [1, 7]
    ((first,), others) = answers
    for row in others:
        assert row.keys() == first.keys()
        for name, value in first.items():
            is_text = isinstance(value, str)
            assert row[name] == (value if is_text else pytest.approx(value, rel=1e-5))
    loaded: Any = mlflow.pytorch.load_model(str(folder))
    example = json.loads((folder / NETWORK / "serving_input_example.json").read_text())["inputs"]
    here = loaded(torch.tensor(example)[:1]).detach().numpy()
    np.testing.assert_allclose(one, here, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seven, np.repeat(here, 7, axis=0), rtol=1e-5, atol=1e-6)

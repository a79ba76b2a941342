"""Experiments from Python, as docs/python.md shows them: without tracking, or with it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient

from experiments.moe import MixtureOfLinearExperts, MoEConfig
from harness import uncertainty
from harness.errors import UserError
from harness.experiment import Metrics
from harness.run_experiment import run_experiment
from harness.training.train import train
from tests.conftest import ROOT

SETTINGS = {**MoEConfig.tiny, "animation": False, "seed": 3}


def final_metrics(metrics: Metrics) -> Metrics:
    """Return what a run reaches, without what it is measured to cost."""
    return {k: v for k, v in metrics.items() if k.startswith(("best/", "test/"))}


@pytest.mark.slow
def test_python_and_the_command_line_give_the_same_numbers(store: Path) -> None:
    experiment, config = MixtureOfLinearExperts(), MoEConfig(**SETTINGS)
    trained = train(experiment, config)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    uncertain = uncertainty.on_test(experiment, trained, uncertainty.calibrate(experiment, trained))
    assert uncertain is not None
    untracked = {
        **trained.history.best_metrics(),
        **evaluation.metrics,
        **uncertain.metrics,
    }
    tracked = run_experiment(experiment, config)
    assert final_metrics(tracked.metrics) == untracked

    words = config.as_command().split()[1:]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words], cwd=store, env=environment, check=True)
    client = MlflowClient()
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    (other,) = [run for run in runs if run.info.run_id != tracked.run_id]
    assert final_metrics(other.data.metrics) == untracked


def test_figures_are_matplotlibs() -> None:
    experiment, config = MixtureOfLinearExperts(), MoEConfig(**SETTINGS)
    trained = train(experiment, config)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    figures = dict(experiment.figures(config, trained, evaluation))
    assert {"decision_surface", "curves"} <= set(figures)
    assert all(isinstance(figure, Figure) for figure in figures.values())


@pytest.mark.parametrize(
    "values", [{"num_epochs": 0}, {"top_k": 3}, {"data": "rings"}, {"no_such": 1}]
)
def test_an_error_is_one_line_that_names_the_parameter(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^{next(iter(values))}.*$") as caught:
        MoEConfig(**values)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=re.escape(str(caught.value))):
        MoEConfig().replace(**values)


@pytest.mark.slow
def test_the_readmes_example_runs(tmp_path: Path) -> None:
    """With fewer samples, and from a folder of its own."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    few = ", ".join(f"{k}={v}" for k, v in MoEConfig.tiny.items() if k != "num_epochs")
    code = code.replace("animation=False", f"animation=False, {few}")
    assert few in code
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "decision_surface.png").is_file()


def test_another_package_called_datasets_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/__init__.py").touch()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", "import experiments"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: datasets: ")

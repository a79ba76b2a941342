"""The example of docs/adding-an-architecture.md, built from its blocks in a copy of the project.

One folder is added and nothing else is changed.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.conftest import ROOT

NAME = "logistic_regression"
PAGE = (ROOT / "docs/adding-an-architecture.md").read_text()
BLOCKS = dict(re.findall(r"^`(experiments/\S+\.py)`\n\n```python\n(.*?)^```", PAGE, re.M | re.S))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, and add the folder."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    wanted = ["datasets", "experiments", "harness", "models", "tests", "tuning", "docs"]
    for name in wanted:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "Makefile", "MLproject", "conda.yaml"):
        shutil.copy(ROOT / name, folder)
    for path, code in BLOCKS.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    run(folder, "-m", "harness.project")
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run Python in the copy, with a tracking store there, and return what it prints."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONPATH": str(folder),
    }
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_every_file_of_a_folder() -> None:
    modules = ("__init__", "__main__", "config", "lesson", "serving", "inference", "space")
    assert {path.rpartition("/")[2] for path in BLOCKS} == {f"{name}.py" for name in modules}


def test_it_has_an_entry_point_and_a_command_line(project: Path) -> None:
    entry_point = yaml.safe_load((project / "MLproject").read_text())["entry_points"][NAME]
    assert entry_point["parameters"]["data"]["default"] == "ring"
    assert "--num-epochs" in run(project, "-m", f"experiments.{NAME}", "--help")


def test_it_is_tracked_tuned_and_asked(project: Path) -> None:
    run(project, "-m", f"experiments.{NAME}", "--num-epochs", "2")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name(NAME)
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    assert 0.4 < tracked.data.metrics["test/accuracy"] < 0.75
    options = ["--trials", "2", "--finalists", "1", "--final-seeds", "2", "--set", "num_epochs=2"]
    run(project, "-m", "tuning", NAME, *options)
    answer = run(project, "-m", "experiments.predict", f"models:/{NAME}@champion", "0.5,-1.2")
    assert "0.5,-1.2" in answer


def test_the_tests_of_every_experiment_find_it_and_pass(project: Path) -> None:
    (project / "tests/conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    files = ["experiments/test_entry_points.py", "test_imports.py", "harness/test_config.py"]
    options = ["-q", "-p", "no:cacheprovider", "-k", NAME]
    output = run(project, "-m", "pytest", *options, *(f"tests/{file}" for file in files))
    assert int(re.findall(r"(\d+) passed", output)[0]) >= 5, output

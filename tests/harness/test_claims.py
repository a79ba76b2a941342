"""Who works on a run: one process at a time, told from those that have ended."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from mlflow.tracking import MlflowClient

from experiments.main.command import main as run_main
from experiments.main.config import MainConfig
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.tracking.processes import process_lives, process_of, process_tags
from harness.tracking.resume import resume_command
from tests.conftest import ROOT, Started, process_tags_with, wait_until
from tests.harness.runs import history, interrupted_run
from tests.harness.small import EXPERIMENT, FitALine, SmallConfig
from tuning.config import StudyConfig
from tuning.study import tune

pytestmark = pytest.mark.usefixtures("no_model")


@pytest.fixture
def other() -> Iterator[Mapping[str, str]]:
    """Return the tags of another process, which lives."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    yield tags_of(process.pid)
    process.kill()
    process.wait()


def tags_of(process_id: int) -> dict[str, str]:
    began = psutil.Process(process_id).create_time()
    return process_tags_with(process_id=str(process_id), process_started=f"{began:.2f}")


def test_a_process_whose_parent_has_not_asked_for_its_status_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    tags = tags_of(process.pid)
    assert process_lives(tags)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not process_lives(tags)
    process.wait()


def test_of_two_that_resume_a_run_at_once_the_second_is_refused(
    store: Path, other: Mapping[str, str]
) -> None:
    """The other one begins while this one, which found the run free, loads its data."""
    run_id, client = interrupted_run(SmallConfig()), MlflowClient()
    before = history(run_id, "val/loss")

    class Slow(FitALine):
        def load_data(self, config: SmallConfig) -> Any:
            for tag in other.items():
                client.set_tag(run_id, *tag)
            client.update_run(run_id, status="RUNNING")
            return super().load_data(config)

    process_id = process_of(other)["process_id"]
    with pytest.raises(UserError, match=f"process {process_id} still works on that run"):
        run_experiment(Slow(), SmallConfig(resume=run_id))
    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert other.items() <= run.data.tags.items()
    assert history(run_id, "val/loss") == before


def test_on_a_server_the_later_of_two_claims_counts(
    store: Path, other: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is locked there: both may have found the run free."""
    run_id, client = interrupted_run(SmallConfig()), MlflowClient()

    def claim_too(seconds: float) -> None:
        for tag in other.items():
            client.set_tag(run_id, *tag)

    monkeypatch.setattr("time.sleep", claim_too)
    process_id = process_of(other)["process_id"]
    with pytest.raises(UserError, match=f"process {process_id} on .* has begun"):
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert other.items() <= client.get_run(run_id).data.tags.items()


@pytest.mark.slow
def test_two_resume_commands_at_once(tmp_path: Path) -> None:
    """Two real processes: one of them trains, the other is refused in one line."""
    arguments = ["--num-train", "1500", "--batch-size", "10", "--animation", "false"]
    first = Started(tmp_path, "-m", "experiments.moe", "--num-epochs", "30", *arguments)
    wait_until(lambda: bool(list(tmp_path.rglob("config.json"))), first)
    first.kill()
    first.wait()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("moe").experiment_id])
    folders = [tmp_path / name for name in ("a", "b")]
    both = []
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "PYTHONPATH": str(ROOT),
    }
    for folder in folders:
        folder.mkdir()
        words = [sys.executable, "-m", "experiments.moe", "--resume", run.info.run_id]
        with (folder / "stderr").open("w") as errors:
            both.append(subprocess.Popen(words, cwd=folder, env=environment, stderr=errors))
    assert sorted(process.wait() for process in both) == [0, 2]
    refused = folders[[process.returncode for process in both].index(2)]
    (line,) = (refused / "stderr").read_text().splitlines()
    assert line.startswith(f"error: --resume {run.info.run_id}: process ")
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    logged = client.get_metric_history(run.info.run_id, "val/loss")
    assert sorted(metric.step for metric in logged) == list(range(1, 31))


def one_run() -> None:
    run_experiment(EXPERIMENT, SmallConfig())


def several_seeds() -> None:
    run_experiment(EXPERIMENT, SmallConfig(seeds=2))


def a_study() -> None:
    tune(StudyConfig(experiment="moe", trials=1, finalists=0))


def a_comparison() -> None:
    run_main(MainConfig(only=("moe",)))


def a_resumed_run() -> None:
    runs = mlflow.search_runs(filter_string="tags.kept = 'no'", search_all_experiments=True)
    run_experiment(EXPERIMENT, SmallConfig(resume=runs.run_id[0]))


COMMANDS = (one_run, several_seeds, a_study, a_comparison, a_resumed_run)
STATES = ("killed", "begun", "deleted", "unknown")


@pytest.mark.parametrize(
    ("state", "command"),
    [*(("finished", command) for command in COMMANDS), *((state, one_run) for state in STATES)],
)
def test_a_run_that_the_environment_names_is_not_overwritten(
    store: Path, monkeypatch: pytest.MonkeyPatch, state: str, command: Callable[[], None]
) -> None:
    client = MlflowClient()
    experiment_id = client.create_experiment("small")
    if command is a_resumed_run:
        interrupted = interrupted_run(SmallConfig())
        client.set_tag(interrupted, "kept", "no")
    tags = process_tags() if state == "begun" else {}
    run_id = client.create_run(experiment_id, tags=tags, run_name="precious").info.run_id
    client.log_metric(run_id, "test/accuracy", 0.55)
    if state in ("finished", "killed"):
        client.set_terminated(run_id, {"finished": "FINISHED", "killed": "KILLED"}[state])
    if state == "deleted":
        client.delete_run(run_id)
    before = client.get_run(run_id).to_dictionary()
    named = "0123456789abcdef0123456789abcdef" if state == "unknown" else run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", named)
    count = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(UserError, match=f"^MLFLOW_RUN_ID={named}: .*; unset the variable") as error:
        command()
    assert "\n" not in str(error.value)
    assert client.get_run(run_id).to_dictionary() == before
    assert len(mlflow.search_runs(search_all_experiments=True)) == count
    assert not Path("optuna.journal").exists()


def test_the_experiment_that_the_environment_names_by_id_is_used(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    mine, others = client.create_experiment("mine"), client.create_experiment("others")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine)
    run_id = run_experiment(EXPERIMENT, SmallConfig()).run_id
    assert client.get_run(run_id).info.experiment_id == mine
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "others")
    with pytest.raises(UserError, match=f"^MLFLOW_EXPERIMENT_ID={mine}: is mine, and .*=others"):
        run_experiment(EXPERIMENT, SmallConfig())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(UserError, match=r"^MLFLOW_EXPERIMENT_ID=77: no experiment"):
        run_experiment(EXPERIMENT, SmallConfig())
    assert client.search_runs([others]) == []
    assert client.get_experiment_by_name("small") is None


def test_a_run_leaves_no_experiment_in_the_environment(store: Path) -> None:
    """The next run would take it for the user's wish."""
    run_experiment(EXPERIMENT, SmallConfig())
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ


def test_the_command_that_resumes_names_the_store_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/db")
    command = resume_command("python -m experiments.moe --resume 1")
    assert command.startswith("MLFLOW_TRACKING_URI='postgresql://me:***@host/db' ")
    assert command.endswith(" -m experiments.moe --resume 1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not resume_command("python -m experiments.moe --resume 1").startswith("MLFLOW")

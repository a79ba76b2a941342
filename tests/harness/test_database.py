"""Stores in databases of SQLite: in folders of any name, and whole however they were made."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.tracking import database, models
from harness.tracking.database import ensure_store, holds_nothing
from harness.tracking.locations import to_database_uri, to_path
from harness.tracking.store import store_lock
from tests.conftest import ROOT
from tests.harness.runs import Interrupted, only_run
from tests.harness.small import EXPERIMENT, SmallConfig

MAKE = """
import os, signal, sys
from pathlib import Path
import sqlalchemy.event
from sqlalchemy.engine import Engine

statements, last = 0, int(sys.argv[1])

@sqlalchemy.event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    global statements
    statements += 1
    if statements == last:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "ours":
    from harness.tracking.database import open_store
    open_store("sqlite:///mlflow.db")
else:
    from mlflow.tracking import MlflowClient
    MlflowClient("sqlite:///mlflow.db")
print(statements)
"""


def make(folder: Path, last: int, whose: str) -> "subprocess.CompletedProcess[str]":
    """Make a store in a process that is killed before a statement, counted from 1 (0: never)."""
    command = [sys.executable, "-c", MAKE, str(last), whose]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )


def check_whole(folder: Path) -> None:
    """Check that a store can be opened, and that nothing else was left in its folder."""
    uri = to_database_uri(folder / "mlflow.db")
    assert [each.name for each in MlflowClient(uri).search_experiments()] == ["Default"]
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.fixture
def default_store(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Use the store that MLflow has by default: that of the working folder."""
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("name", ["a#b", "what?", "a%20b", "Jürgen 한글 50%"])
def test_two_runs_in_a_folder_of_any_name_have_checkpoints_of_their_own(
    name: str, store: Path, default_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = store / "homes" / name
    home.mkdir(parents=True)
    (store / "mlflow.db").rename(home / "mlflow.db")
    monkeypatch.chdir(home)
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            run_experiment(Interrupted(), SmallConfig(seed=seed))
    checkpoints = sorted(store.rglob("last.pt"))
    assert len(checkpoints) == 2
    experiment = MlflowClient().get_experiment_by_name("small")
    for run in MlflowClient().search_runs([experiment.experiment_id]):
        artifacts = to_path(run.info.artifact_uri)
        assert artifacts is not None
        assert artifacts.is_relative_to(home / "mlruns")
        assert artifacts / "checkpoint" / "last.pt" in checkpoints
    run_experiment(EXPERIMENT, SmallConfig(resume=run.info.run_id))
    assert [path.name for path in (store / "homes").iterdir()] == [name], "no stray folder"
    assert {path.name for path in home.iterdir()} == {"mlflow.db", "mlflow.db.lock", "mlruns"}


@pytest.fixture
def moved(store: Path, default_store: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Interrupt a run, then rename its folder; return the folder's old and new path."""
    before, now = store / "before", store / "now"
    before.mkdir()
    (store / "mlflow.db").rename(before / "mlflow.db")
    monkeypatch.chdir(before)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(Interrupted(), SmallConfig())
    before.rename(now)
    monkeypatch.chdir(now)
    return before, now


def test_a_store_that_was_moved_says_where_its_artifacts_lie(moved: tuple[Path, Path]) -> None:
    before, now = moved
    run_id = only_run().info.run_id
    for attempt in (
        lambda: run_experiment(EXPERIMENT, SmallConfig()),
        lambda: run_experiment(EXPERIMENT, SmallConfig(resume=run_id)),
        lambda: models.load(f"runs:/{run_id}/model"),
    ):
        with pytest.raises(UserError, match="which is gone") as caught:
            attempt()
        for word in (str(before / "mlruns"), f"ln -s {now} {before}"):
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not before.exists()
    before.symlink_to(now)  # as the message says
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert only_run().info.status == "FINISHED"


def test_a_copy_of_a_store_leaves_the_artifacts_of_the_other_alone(
    moved: tuple[Path, Path],
) -> None:
    before, _ = moved
    before.mkdir()
    with pytest.raises(UserError, match="is a copy"):
        run_experiment(EXPERIMENT, SmallConfig())
    assert list(before.iterdir()) == []


def test_a_store_that_others_have_half_made_is_made_anew(store: Path) -> None:
    file = store / "mlflow.db"
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT)")
        connection.execute("CREATE TABLE _alembic_tmp_tags (name TEXT)")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")
    connection.close()
    (store / "mlflow.db.new").write_text("what a killed process has left")
    os.utime(file, (0, 0))
    with store_lock():
        check_whole(store)


def test_a_store_that_somebody_is_making_is_waited_for(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mlflow.db"
    file.touch()
    waits: list[float] = []

    def finish(seconds: float) -> None:
        waits.append(seconds)
        file.write_bytes(empty_database.read_bytes())

    monkeypatch.setattr(time, "sleep", finish)
    monkeypatch.setattr(database, "make_store", None)
    ensure_store(file)
    assert len(waits) == 1


def test_a_database_with_content_is_not_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT)")
        connection.execute("CREATE TABLE studies (name TEXT)")
        assert holds_nothing(file)
        connection.execute("INSERT INTO studies VALUES ('mine')")
    connection.close()
    assert not holds_nothing(file)


@pytest.mark.slow
def test_killed_at_any_moment_the_next_process_makes_a_whole_store(tmp_path: Path) -> None:
    count = statements(make(tmp_path, 0, "ours"))
    check_whole(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    for moment in (1, *range(2, count, count // 5)):
        assert make(tmp_path, moment, "ours").returncode == -signal.SIGKILL
        assert not (tmp_path / "mlflow.db").exists()
    assert statements(make(tmp_path, 0, "ours")) == count
    check_whole(tmp_path)


@pytest.mark.slow
def test_a_store_that_mlflow_was_killed_in_is_made_anew(tmp_path: Path) -> None:
    """Such as by `mlflow run` in a fresh clone."""
    count = statements(make(tmp_path, 0, "MLflow's"))
    for moment in range(2, count, count // 3):
        for file in database.files_of(tmp_path / "mlflow.db"):
            file.unlink(missing_ok=True)
        assert make(tmp_path, moment, "MLflow's").returncode == -signal.SIGKILL
        for file in tmp_path.iterdir():
            os.utime(file, (0, 0))
        statements(make(tmp_path, 0, "ours"))
        check_whole(tmp_path)


def statements(process: "subprocess.CompletedProcess[str]") -> int:
    """Return how many statements a process that was not killed has executed."""
    assert process.returncode == 0, process.stderr
    return int(process.stdout)

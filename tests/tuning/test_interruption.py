"""A study as a command: killed with all its processes, resumed, stopped by Ctrl-C."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from tests.conftest import Started, wait_until
from tuning import storage

OPTIONS = "--study-name mine --workers 2 --finalists 1 --final-seeds 2 --trials 500"
SMALL = "num_epochs=20 num_train=2000 num_validation=500 num_test=500 restarts=4 animation=false"
COMMAND = ["-m", "tuning", "moe", *OPTIONS.split(), "--set", *SMALL.split()]


@pytest.mark.slow
def test_killed_resumed_and_stopped(tmp_path: Path) -> None:
    """SIGKILL to the process with the lease; then Ctrl-C: what was found is registered."""
    first = Started(tmp_path, *COMMAND)
    wait_until(lambda: num_complete(tmp_path) >= 3, first)
    workers = [
        process
        for process in psutil.Process(first.pid).children(recursive=True)
        if process.is_running()
    ]
    first.kill()
    first.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive, "workers outlive the process that gives them tasks"
    before = trials(tmp_path)
    running = [trial for trial in before if trial.state == TrialState.RUNNING]
    assert running

    second = Started(tmp_path, *COMMAND, "--resume")
    wait_until(lambda: num_complete(tmp_path) >= num_of(before, TrialState.COMPLETE) + 3, second)
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=120) == 0, second.said()
    said = second.said().splitlines()
    assert said[0].startswith("Data ring (")
    assert said == 2 * said[: len(said) // 2], "each process says what the data are, and no more"
    after = trials(tmp_path)
    for trial in before:
        if trial.state == TrialState.RUNNING:
            assert after[trial.number].state == TrialState.FAIL
            assert "its process was killed" in after[trial.number].user_attrs["failure"]
            # It was queued again, with what it had been given by then: perhaps nothing yet.
            assert sum(trial.params.items() <= t.params.items() for t in after) >= 2
        else:
            assert after[trial.number] == trial
    assert TrialState.RUNNING not in {trial.state for trial in after}

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "moe")
    runs = client.search_runs([experiment.experiment_id])
    assert "RUNNING" not in {run.info.status for run in runs}
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trials/complete"] == num_of(after, TrialState.COMPLETE)
    pictures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/history.png", "figures/finalists.png"} <= pictures
    for trial in running:
        of_trial = [r for r in runs if r.data.tags.get("optuna.trial_number") == str(trial.number)]
        assert len(of_trial) <= 1, "killed before its run was open, it has none"
        for run in of_trial:
            assert (run.info.status, run.data.tags["optuna.trial_state"]) == ("FAILED", "FAIL")

    champion_predicts_in_a_clean_process(tmp_path)
    card = client.get_model_version_by_alias("moe", "champion").description
    assert re.search(r"test/accuracy \| 0\.\d{4}", card)
    assert "python -m experiments.moe" in card


def champion_predicts_in_a_clean_process(folder: Path) -> None:
    script = f"""
import json, mlflow, pandas as pd
mlflow.set_tracking_uri("sqlite:///{folder}/mlflow.db")
model = mlflow.pyfunc.load_model("models:/moe@champion")
print(json.dumps(model.predict(pd.DataFrame({{"x": 5 * [0.0], "y": 1.0}}))["class"].tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])) == 5


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    path = folder / "optuna.journal"
    opened = storage.open_storage(str(path))
    return optuna.load_study(study_name="mine", storage=opened).get_trials()


def num_of(found: list[optuna.trial.FrozenTrial], state: TrialState) -> int:
    return sum(trial.state == state for trial in found)


def num_complete(folder: Path) -> int:
    try:
        return num_of(trials(folder), TrialState.COMPLETE)
    except KeyError:
        return 0

"""A run that is killed, and resumed; a run that is asked to end."""

import os
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from tests.conftest import ROOT, Started, wait_until

SLOW_ENOUGH = "--num-train 1500 --batch-size 10 --num-validation 200 --num-test 500 --restarts 2"
"""A hundred and fifty steps an epoch: about a quarter of a second, in which to be killed."""


def only_run(client: MlflowClient) -> mlflow.entities.Run:
    (run,) = client.search_runs([client.get_experiment_by_name("moe").experiment_id])
    return run


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_ends_with_the_same_metrics(tmp_path: Path) -> None:
    """SIGKILL to a real process; then the numbers of one that nobody disturbed."""
    command = f"-m experiments.moe --num-epochs 5 --checkpoint-seconds 0 {SLOW_ENOUGH}"
    arguments = [*command.split(), "--animation", "false"]
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    whole.mkdir()
    killed.mkdir()
    undisturbed, victim = (Started(folder, *arguments) for folder in (whole, killed))
    wait_until(lambda: bool(list(killed.rglob("last.pt"))), victim)
    time.sleep(0.2)  # into the next epoch
    victim.kill()
    victim.wait()
    client = MlflowClient(f"sqlite:///{killed}/mlflow.db")
    run = only_run(client)
    assert run.info.status == "RUNNING"  # nothing could end it
    assert len(client.get_metric_history(run.info.run_id, "val/loss")) < 5

    resumed = Started(killed, "-m", "experiments.moe", "--resume", run.info.run_id)
    assert resumed.wait() == undisturbed.wait() == 0, resumed.said()
    run = only_run(client)
    other = MlflowClient(f"sqlite:///{whole}/mlflow.db")
    reference = only_run(other)
    assert run.info.status == reference.info.status == "FINISHED"
    clocks = {"epoch_seconds", "samples_per_second", "prediction_seconds"}
    names = {n for n in reference.data.metrics if n not in clocks and not n.startswith("system/")}
    assert len(names) > 20
    for name in names:
        histories = [
            [(m.step, m.value) for m in c.get_metric_history(r.info.run_id, name)]
            for c, r in ((client, run), (other, reference))
        ]
        assert histories[0] == histories[1], name


@pytest.mark.slow
def test_sigterm_ends_the_run_as_killed_after_a_last_checkpoint(tmp_path: Path) -> None:
    process = Started(tmp_path, *f"-m experiments.moe --num-epochs 999 {SLOW_ENOUGH}".split())
    wait_until(lambda: bool(list(tmp_path.rglob("config.json"))), process)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = only_run(client).info.run_id
    wait_until(lambda: bool(client.get_metric_history(run_id, "val/loss")), process)
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM, process.said()
    run = only_run(client)
    assert run.info.status == "KILLED"
    assert "Terminated" in run.data.tags["failure"]
    assert list(tmp_path.rglob("last.pt"))
    opened, *summary, interrupted, command = process.said().splitlines()
    assert summary[0].startswith("Data ring (")
    assert opened.startswith(f"Run {run_id}: moe ")
    assert "num_epochs=999" in opened
    assert interrupted == f"Run {run_id} was interrupted. To resume it:"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = ["sh", "-c", f"exec env {command}"]
    resumed = subprocess.Popen(words, cwd=tmp_path, env=environment)
    wait_until(lambda: only_run(client).info.status == "RUNNING", resumed)
    resumed.kill()
    resumed.wait()

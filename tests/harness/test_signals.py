"""Signals: noted at any moment, acted on at safe points, and never lost."""

import contextlib
import os
import pkgutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from harness import signals
from harness.run_experiment import run_experiment
from harness.signals import Terminated
from tests.conftest import Started, wait_until
from tests.harness.runs import only_run
from tests.harness.small import EXPERIMENT, SmallConfig

RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
BOTH = pytest.mark.parametrize("number", RAISED)


@pytest.fixture(autouse=True)
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Listen to signals in this process, for one test."""
    before = {number: signal.getsignal(number) for number in RAISED}
    monkeypatch.setattr(signals, "_received", None)
    monkeypatch.setattr(signals, "_interruptible", False)
    signals.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    """Send a signal to this process; its handler has run when this returns."""
    os.kill(os.getpid(), number)


@BOTH
def test_a_signal_waits_for_a_safe_point_and_is_raised_at_each(number: int) -> None:
    signals.check()
    send(number)
    for _ in range(2):  # whoever swallows the first meets the second
        with pytest.raises(RAISED[signal.Signals(number)]):
            signals.check()


@BOTH
def test_a_signal_is_raised_at_once_where_that_is_said(number: int) -> None:
    reached = []

    def work() -> None:
        with signals.interruptible():
            send(number)
            reached.append("the next line")

    for _ in range(2):  # the second time, it came before
        with pytest.raises(RAISED[signal.Signals(number)]):
            work()
    assert not reached


def test_a_part_of_what_is_interruptible_can_wait() -> None:
    reached = []

    def work() -> None:
        with signals.interruptible():
            with signals.deferred():
                send(signal.SIGTERM)
                reached.append("what cannot be left halfway")
            reached.append("the rest")

    with pytest.raises(Terminated):
        work()
    assert "what cannot be left halfway" in reached


def test_a_signal_that_a_library_swallows_is_raised_again() -> None:
    def work() -> None:
        with signals.interruptible(), contextlib.suppress(BaseException):
            send(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()


SCRIPT = """
import os, signal, time
from pathlib import Path
from harness import signals
signals.before_exit.append(Path("closed").touch)
signals.listen()
os.kill(os.getpid(), signal.{first})
Path("noted").touch()
time.sleep(1000)
"""


@pytest.mark.parametrize(("first", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_further_ctrl_c_ends_what_reaches_no_safe_point(
    tmp_path: Path, first: str, status: int
) -> None:
    process = Started(tmp_path, "-c", SCRIPT.format(first=first))
    wait_until((tmp_path / "noted").exists, process)
    process.send_signal(signal.SIGTERM)  # a supervisor may send several
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == status
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize(
    "stage",
    [
        "mlflow.start_run",
        "mlflow.log_dict",
        "harness.training.checkpoint.save",
        "harness.tracking.run.Run.flush",
        "harness.tracking.export.log_model",
        "harness.tracking.run.Run.log_metrics",
        "tests.harness.small.FitALine.evaluate",
        "tests.harness.small.FitALine.figures",
        "harness.tracking.run.Run.describe",
    ],
)
def test_a_run_ends_killed_whatever_it_was_at(
    store: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The signal comes right after the call, whose result nobody has yet."""
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: None)
    whole = pkgutil.resolve_name(stage)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        result = whole(*arguments, **options)
        if signals._received is None:
            send(signal.SIGTERM)
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage, interrupted)
        with pytest.raises(Terminated) as caught:
            run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    run = only_run()
    assert run.info.status == "KILLED"
    assert "Terminated" in run.data.tags["failure"]
    assert mlflow.active_run() is None
    assert f"--resume {run.info.run_id}" in caught.value.__notes__[-1]

    signals._received = None
    run_experiment(EXPERIMENT, SmallConfig(resume=run.info.run_id))
    resumed = only_run()
    assert resumed.info.status == "FINISHED"
    assert len(resumed.inputs.dataset_inputs) == 1  # its three splits are the same
    for metric in resumed.data.metrics:
        if not metric.startswith("system/"):
            history = MlflowClient().get_metric_history(run.info.run_id, metric)
            steps = [point.step for point in history]
            assert len(steps) == len(set(steps)), f"{metric} is logged twice"


def test_of_several_seeds_the_parent_is_what_can_be_resumed(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: send(signal.SIGTERM))
    with pytest.raises(Terminated) as caught:
        run_experiment(EXPERIMENT, SmallConfig(seeds=2))
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert {run.info.status for run in runs} == {"KILLED"}
    assert f"Run {parent.info.run_id} was interrupted" in caught.value.__notes__[-1]
    assert f"--resume {parent.info.run_id}" in caught.value.__notes__[-1]
    (announced,) = (line for line in capsys.readouterr().err.splitlines() if "Run " in line)
    assert announced == f"Run {parent.info.run_id}: small seeds=2"


TWICE = """
import os, signal, subprocess, sys, time
from pathlib import Path
import mlflow
from harness import signals
from harness.tracking import lifecycle
from harness.tracking.processes import this_process
from tests.harness.small import SmallConfig
signals.listen()
with lifecycle.track(SmallConfig(), "cpu") as run:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    tags = this_process() | {"process_id": str(worker.pid), "mlflow.parentRunId": run.run_id}
    experiment = mlflow.get_run(run.run_id).info.experiment_id
    mlflow.MlflowClient().create_run(experiment, tags=tags)
    mlflow.MlflowClient().create_run(experiment, tags=this_process() | {"process_id": "1"})
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1000)  # no safe point
"""


def test_a_further_ctrl_c_ends_the_runs_of_a_process_and_its_workers_as_killed(store: Path) -> None:
    process = Started(store, "-c", TWICE)
    assert process.wait(timeout=100) == 128 + signal.SIGINT
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert sorted(run.info.status for run in runs) == ["KILLED", "KILLED", "RUNNING"]
    (others,) = (run for run in runs if run.info.status == "RUNNING")
    assert others.data.tags["process_id"] == "1"

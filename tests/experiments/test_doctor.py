"""What killed processes leave behind: found, mended only when asked, and nothing else touched."""

import os
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from experiments import doctor
from experiments.doctor import DoctorConfig
from experiments.harness import tracking
from tests.conftest import start, wait_until

SCRIPT = """
import mlflow, time
from experiments.harness import tracking
mlflow.set_experiment("work")
with mlflow.start_run(tags=tracking.process_tags()) as run:
    with mlflow.start_run(nested=True, tags=tracking.process_tags()):
        open("started", "w").close()
        time.sleep(100)
"""


@pytest.fixture
def place(store: Path) -> str:
    """Make an MLflow experiment in the test's folder."""
    return str(mlflow.create_experiment("work", f"file://{store}/artifacts"))


def status(run_id: str) -> str:
    run = MlflowClient().get_run(run_id)
    return str(run.info.status)


def test_runs_of_a_killed_process_are_closed_when_asked(
    place: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(store, "-c", SCRIPT)
    wait_until((store / "started").exists, process)
    doctor.main(DoctorConfig(fix=True))
    runs = [run.info.run_id for run in MlflowClient().search_runs([place])]
    assert [status(run_id) for run_id in runs] == ["RUNNING", "RUNNING"], "it lives"
    assert "2 runs go on" in capsys.readouterr().out
    process.kill()
    process.wait()

    doctor.main(DoctorConfig())
    assert [status(run_id) for run_id in runs] == ["RUNNING", "RUNNING"], "it was not asked to"
    out = capsys.readouterr().out
    assert all(f"run {run_id}" in out for run_id in runs)
    assert "To be mended with --fix: 2." in out

    doctor.main(DoctorConfig(fix=True))
    assert [status(run_id) for run_id in runs] == ["KILLED", "KILLED"]
    tags = MlflowClient().get_run(runs[0]).data.tags
    assert tags["failure"] == "its process was gone without a word"
    doctor.main(DoctorConfig(fix=True))
    assert "Nothing is to be mended." in capsys.readouterr().out


@pytest.mark.parametrize("of_whom", ["another machine", "nobody knows", "this process"])
def test_what_may_go_on_is_left_alone(of_whom: str, place: str) -> None:
    tags = {} if of_whom == "nobody knows" else tracking.process_tags()
    if of_whom == "another machine":
        tags |= {"host": "elsewhere", "process_id": "1", "process_started": "0.00"}
    run_id = MlflowClient().create_run(place, tags=tags).info.run_id
    doctor.main(DoctorConfig(fix=True))
    assert status(run_id) == "RUNNING"


def test_a_checkpoint_of_no_run_is_deleted_when_asked(
    place: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient()
    kept = []
    for deleted in (False, True):
        run_id = client.create_run(place).info.run_id
        client.set_terminated(run_id, "KILLED")
        if deleted:
            client.delete_run(run_id)
        kept.append(store / "artifacts" / run_id / "artifacts" / tracking.CHECKPOINT)
    orphan = store / "artifacts" / ("f" * 32) / "artifacts" / tracking.CHECKPOINT
    for checkpoint in (orphan, *kept):
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(bytes(3_000_000))
    doctor.main(DoctorConfig(fix=True))
    assert orphan.exists(), "somebody may be at work on it"
    for checkpoint in (orphan, *kept):
        os.utime(checkpoint, (0, 0))
    doctor.main(DoctorConfig())
    assert f"checkpoint {orphan} (3.0 MB) belongs to no run" in capsys.readouterr().out
    assert orphan.exists()
    doctor.main(DoctorConfig(fix=True))
    assert not orphan.exists()
    assert all(checkpoint.exists() for checkpoint in kept)


def test_the_cache_is_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "user_cache_path", lambda name: store / "cache")
    (store / "cache" / "deep").mkdir(parents=True)
    (store / "cache" / "deep" / "images.npy").write_bytes(bytes(7_000_000))
    doctor.main(DoctorConfig())
    assert f"7 MB of photographs are kept in {store / 'cache'}" in capsys.readouterr().out

"""What killed processes leave behind: found, fixed only when asked, and nothing else touched."""

import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelOutput
from mlflow.tracking import MlflowClient

from experiments.doctor import command as doctor
from experiments.doctor.config import DoctorConfig
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.tracking import lifecycle
from harness.tracking.abandoned import abandoned_runs, delete
from harness.tracking.processes import process_tags, this_process
from harness.tracking.run import CHECKPOINT, LOCAL_COPY
from tests.conftest import Started, process_tags_with, wait_until
from tests.harness.runs import interrupted_run
from tests.harness.small import EXPERIMENT, SmallConfig

SCRIPT = """
import mlflow, time
from harness.tracking.processes import process_tags
mlflow.set_experiment("work")
with mlflow.start_run(tags=process_tags()) as run:
    with mlflow.start_run(nested=True, tags=process_tags()):
        open("started", "w").close()
        time.sleep(100)
"""


GONE = process_tags_with(process_id="1", process_started="0.00")


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
    process = Started(store, "-c", SCRIPT)
    wait_until((store / "started").exists, process)
    doctor.main(DoctorConfig(fix=True))
    runs = [run.info.run_id for run in MlflowClient().search_runs([place])]
    assert [status(run_id) for run_id in runs] == ["RUNNING", "RUNNING"], "it lives"
    assert "2 runs in progress" in capsys.readouterr().out
    process.kill()
    process.wait()

    doctor.main(DoctorConfig())
    assert [status(run_id) for run_id in runs] == ["RUNNING", "RUNNING"], "it was not asked to"
    out = capsys.readouterr().out
    assert all(f"run {run_id}" in out for run_id in runs)
    assert "To be fixed with --fix: 2." in out

    doctor.main(DoctorConfig(fix=True))
    assert [status(run_id) for run_id in runs] == ["KILLED", "KILLED"]
    tags = MlflowClient().get_run(runs[0]).data.tags
    assert tags["failure"] == "its process ended without ending the run"
    doctor.main(DoctorConfig(fix=True))
    assert "Nothing to fix." in capsys.readouterr().out


@pytest.mark.parametrize("of_whom", ["another machine", "nobody knows", "this process"])
def test_what_may_be_in_progress_is_left_alone(of_whom: str, place: str) -> None:
    tags = {} if of_whom == "nobody knows" else process_tags()
    if of_whom == "another machine":
        tags = process_tags_with(host="elsewhere", process_id="1", process_started="0.00")
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
        kept.append(store / "artifacts" / run_id / "artifacts" / CHECKPOINT)
    orphan = store / "artifacts" / ("f" * 32) / "artifacts" / CHECKPOINT
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


@pytest.fixture
def abandoned(store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leave a run as a process that was killed in the middle of training does."""
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: None)
    run_id = interrupted_run(SmallConfig())
    MlflowClient().update_run(run_id, status="RUNNING")
    for key, value in GONE.items():
        MlflowClient().set_tag(run_id, key, value)
    return run_id


def test_a_run_that_was_closed_can_be_resumed(abandoned: str) -> None:
    doctor.main(DoctorConfig(fix=True))
    assert status(abandoned) == "KILLED"
    run_experiment(EXPERIMENT, SmallConfig(resume=abandoned))
    assert status(abandoned) == "FINISHED"
    assert "failure" not in MlflowClient().get_run(abandoned).data.tags


def test_a_run_that_is_being_reopened_is_left_alone(
    abandoned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    record = lifecycle.record

    def fix_and_record(*arguments: Any) -> None:
        doctor.main(DoctorConfig(fix=True))
        seen.append(status(abandoned))
        record(*arguments)

    monkeypatch.setattr(lifecycle, "record", fix_and_record)
    run_experiment(EXPERIMENT, SmallConfig(resume=abandoned))
    assert seen == ["RUNNING"]


def test_an_abandoned_run_of_an_earlier_version_is_closed(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """There host, number and start of the process each had a tag of their own."""
    tags = this_process() | {"process_id": "1", "process_started": "0.00"}
    run_id = MlflowClient().create_run(place, tags=tags).info.run_id
    doctor.main(DoctorConfig(fix=True))
    assert "its process 1 has ended" in capsys.readouterr().out
    assert status(run_id) == "KILLED"


def test_a_run_that_was_resumed_since_it_was_found_is_left_alone(place: str) -> None:
    run_id = MlflowClient().create_run(place, tags=GONE).info.run_id
    (finding,) = abandoned_runs()
    for key, value in process_tags().items():
        MlflowClient().set_tag(run_id, key, value)
    finding.fix()
    assert status(run_id) == "RUNNING"


@pytest.mark.parametrize("search", ["search_runs", "search_experiments"])
def test_every_page_is_read(search: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient()
    places = [place, place, client.create_experiment("second"), client.create_experiment("third")]
    runs = [client.create_run(each, tags=GONE).info.run_id for each in places]
    whole = getattr(MlflowClient, search)

    def one_a_page(*arguments: Any, **options: Any) -> Any:
        call = inspect.signature(whole).bind(*arguments, **options)
        call.arguments["max_results"] = 1
        return whole(*call.args, **call.kwargs)

    monkeypatch.setattr(MlflowClient, search, one_a_page)
    doctor.main(DoctorConfig(fix=True))
    assert [status(run_id) for run_id in runs] == ["KILLED"] * 4


def test_a_copy_that_somebody_made_is_left_alone(abandoned: str, store: Path) -> None:
    (checkpoint,) = store.rglob("last.pt")
    os.utime(checkpoint, (0, 0))
    folder = checkpoint.parents[2]
    shutil.copytree(folder, folder.with_name(f"{abandoned}-copy"))
    doctor.main(DoctorConfig(fix=True))
    assert len(list(store.rglob("last.pt"))) == 2


def test_checkpoints_of_finished_runs_are_measured_and_kept(
    place: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for end in ("FINISHED", "KILLED"):
        run_id = MlflowClient().create_run(place).info.run_id
        MlflowClient().set_terminated(run_id, end)
        checkpoint = store / "artifacts" / run_id / "artifacts" / CHECKPOINT
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(bytes(3_000_000))
        os.utime(checkpoint, (0, 0))
    doctor.main(DoctorConfig(fix=True))
    assert "3 MB of checkpoints are of finished runs: left alone" in capsys.readouterr().out
    assert len(list(store.rglob("last.pt"))) == 2


def test_local_copies_of_checkpoints_of_killed_processes_are_deleted(
    place: str, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(store / "temporary"))
    (store / "temporary").mkdir()

    def copy_of(run_id: str, age: float) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{LOCAL_COPY}{run_id}-"))
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "last.pt").touch()
        os.utime(folder, (time.time() - age, time.time() - age))
        return folder

    def run(tags: dict[str, str]) -> str:
        return str(MlflowClient().create_run(place, tags=tags).info.run_id)

    kept = [copy_of(run(process_tags()), age=1e6), copy_of("e" * 32, age=10)]
    unused = [copy_of(run(GONE), age=10), copy_of("f" * 32, age=1e6)]
    doctor.main(DoctorConfig())
    out = capsys.readouterr().out
    assert all(f"folder {folder} holds the local copy" in out for folder in unused)
    assert all(folder.exists() for folder in unused)
    doctor.main(DoctorConfig(fix=True))
    assert [folder.exists() for folder in (*kept, *unused)] == [True, True, False, False]


def test_a_checkpoint_that_cannot_be_deleted_is_reported_in_one_line(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"last\.pt cannot be deleted \(Permission denied\)"):
        delete(store / "last.pt")


@pytest.mark.parametrize("known", [True, False])
def test_a_half_written_checkpoint_is_deleted_when_asked(
    place: str, store: Path, known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = MlflowClient().create_run(place, tags=process_tags()).info.run_id
    folder = store / "artifacts" / (run_id if known else "f" * 32) / "artifacts" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(b"whole")
    (folder / "last.partial").write_bytes(b"half")
    doctor.main(DoctorConfig(fix=True))
    assert (folder / "last.partial").exists(), "a process may be writing it"
    if known:
        MlflowClient().set_terminated(run_id, "KILLED")
    else:
        os.utime(folder / "last.partial", (0, 0))
    doctor.main(DoctorConfig())
    assert f"{folder / 'last.partial'} was written in part" in capsys.readouterr().out
    doctor.main(DoctorConfig(fix=True))
    assert [file.name for file in folder.iterdir()] == ["last.pt"]


def test_a_model_that_was_logged_in_part_is_deleted_and_logged_anew(
    abandoned: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    place = client.get_run(abandoned).info.experiment_id
    half = client.create_logged_model(place, source_run_id=abandoned).model_id
    client.log_outputs(abandoned, models=[LoggedModelOutput(half, step=0)])
    for tag in process_tags().items():
        client.set_tag(abandoned, *tag)
    doctor.main(DoctorConfig(fix=True))
    assert client.get_logged_model(half).status == "PENDING", "its process may be logging it"
    for tag in GONE.items():
        client.set_tag(abandoned, *tag)
    doctor.main(DoctorConfig())
    assert f"model {half} of run {abandoned} was logged in part" in capsys.readouterr().out
    doctor.main(DoctorConfig(fix=True))
    assert client.search_logged_models([place]) == []
    logged = []
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: logged.append(1))
    run_experiment(EXPERIMENT, SmallConfig(resume=abandoned))
    assert logged
    doctor.main(DoctorConfig())
    assert "Nothing to fix." in capsys.readouterr().out


@pytest.mark.parametrize("whose", ["nobody", "its process", "mlflow run"])
def test_a_run_that_only_mlflow_run_has_opened(place: str, whose: str) -> None:
    """It names no process yet: whoever may work on it is looked for among those that live."""
    script = [sys.executable, "-c", "import time; time.sleep(1000)"]
    environment = dict(os.environ)
    if whose == "mlflow run":  # before it has an environment for the project, say
        script += ["mlflow", "run"]
    process = subprocess.Popen(script)
    run_id = MlflowClient().create_run(place, tags={"mlflow.project.entryPoint": "moe"}).info.run_id
    if whose == "its process":
        process.kill()
        process.wait()
        environment["MLFLOW_RUN_ID"] = run_id
        process = subprocess.Popen(script, env=environment)
    doctor.main(DoctorConfig(fix=True))
    assert status(run_id) == ("KILLED" if whose == "nobody" else "RUNNING")
    process.kill()
    process.wait()
    doctor.main(DoctorConfig(fix=True))
    assert status(run_id) == "KILLED"

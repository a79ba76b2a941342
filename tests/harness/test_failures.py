"""What disk, network and servers refuse: one line and an exit status; bugs keep their traceback."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import requests
import torch
from mlflow.exceptions import MlflowException, RestException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import OperationalError

from harness.command_line import run_command
from harness.experiment import Evaluation, Trained
from harness.run_experiment import run_experiment
from harness.tracking import store as tracking_store
from harness.tracking.store import store_lock
from harness.training import checkpoint
from tests.harness.runs import interrupted_run, only_run
from tests.harness.small import EXPERIMENT, FitALine, Line, SmallConfig


def raised(*errors: BaseException) -> Callable[[], None]:
    """Return what raises the last of several errors, each while the one before is handled."""

    def command() -> None:
        for error, before in zip(errors[1:], errors, strict=False):
            error.__context__ = before
        raise errors[-1]

    return command


FULL = OSError(errno.ENOSPC, "No space left on device", "/disk/last.pt")
REFUSED = requests.ConnectionError("HTTPConnectionPool(...)")
LOCKED = sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("errors", "words", "status"),
    [
        ([FULL], "/disk/last.pt: No space left on device", 1),
        ([FULL, RuntimeError("unexpected pos 704 vs 598")], "No space left", 1),
        ([PermissionError(errno.EACCES, "Permission denied", "/x")], "/x: Permission denied", 2),
        ([OSError(errno.EROFS, "Read-only file system", "/x")], "/x: Read-only", 2),
        (
            [ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), REFUSED],
            "http://me:***@host:5000: the server does not answer (Connection refused)",
            1,
        ),
        (
            [TimeoutError("timed out"), requests.ReadTimeout("..."), MlflowException("...")],
            "out",
            1,
        ),
        (
            [LOCKED, OperationalError("INSERT", {}, LOCKED), MlflowException("(sqlite3...)\n[SQL")],
            "the store cannot be used (database or disk is full)",
            1,
        ),
        ([RestException({"error_code": "PERMISSION_DENIED", "message": "no"})], ": PERM", 2),
        ([RestException({"error_code": "INTERNAL_ERROR", "message": "no"})], "server fails", 1),
    ],
)
def test_a_failure_outside_of_the_program_is_one_line(
    errors: list[BaseException],
    words: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://me:secret@host:5000")
    errors[-1].add_note("to resume it: ...")
    with pytest.raises(SystemExit) as exit_:
        run_command(raised(*errors))
    assert exit_.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert line.endswith("; to resume it: ...")
    assert "secret" not in line


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bug"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        MlflowException("Invalid metric name", error_code=1),
    ],
)
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raised(error))


def test_a_full_disk_leaves_the_last_checkpoint_and_says_how_to_resume(
    store: Path,
    no_model: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = torch.save

    def fill_the_disk(state: dict[str, object], file: object) -> None:
        save(state, file)  # type: ignore[arg-type]
        if state["epoch"] == 3:
            try:
                raise OSError(errno.ENOSPC, "No space left")
            finally:
                raise RuntimeError("unexpected pos 704 vs 598")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fill_the_disk)
        with pytest.raises(SystemExit):
            run_command(lambda: run_experiment(EXPERIMENT, SmallConfig(checkpoint_seconds=0)))
    run = only_run()
    line = capsys.readouterr().err.splitlines()[-1]
    assert "last.pt: No space left" in line
    assert line.endswith(f"--resume {run.info.run_id}")
    assert run.info.status == "FAILED"
    (kept,) = store.rglob("last.*")
    assert checkpoint.load(kept)["epoch"] == 2
    run_experiment(EXPERIMENT, SmallConfig(resume=run.info.run_id))
    assert only_run().info.status == "FINISHED"


def test_a_store_that_is_deleted_in_mid_run_is_named(
    store: Path, no_model: None, capsys: pytest.CaptureFixture[str]
) -> None:
    class Deleting(FitALine):
        def evaluate(self, config: SmallConfig, trained: Trained, test: Line) -> Evaluation:
            (store / "mlflow.db").unlink()
            return super().evaluate(config, trained, test)

    with pytest.raises(SystemExit) as exit_:
        run_command(lambda: run_experiment(Deleting(), SmallConfig()))
    assert exit_.value.code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "mlflow.db: the store cannot be used (its file is gone; put it back); to resume" in line


def test_what_the_store_refuses_at_the_end_does_not_hide_the_reason(
    store: Path,
    no_model: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As where a server is gone: neither the epochs nor the run's end can be sent."""

    def refuse(*arguments: object, **options: object) -> None:
        raise MlflowException("API request failed") from REFUSED

    run_id = interrupted_run(SmallConfig())
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", refuse)
        patch.setattr(MlflowClient, "set_terminated", refuse)
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda: run_experiment(EXPERIMENT, SmallConfig(resume=run_id)))
    assert exit_.value.code == 1
    assert "the server does not answer" in capsys.readouterr().err.splitlines()[-1]


def test_a_server_that_does_not_answer_is_noticed_within_seconds(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def answer(client: MlflowClient, **options: object) -> None:
        asked.update({name: os.environ[name] for name in tracking_store.IMPATIENT})

    monkeypatch.setattr(MlflowClient, "search_experiments", answer)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    with store_lock():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99", "once it has answered"
    retries, seconds = map(int, asked.values())
    assert (retries + 1) * seconds < 10

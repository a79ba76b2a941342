"""Worker processes: what they are given, report and survive."""

import contextlib
import importlib.util
import os
import re
import signal
import time
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from harness.errors import UserError
from harness.execution import forkserver
from harness.execution.local import LocalPool, Worker
from harness.execution.messages import Died, Done, Epoch, Failed, Message, Pruned, Report, Task
from harness.training.metrics import DivergedError
from tests.conftest import Started

INITIALIZED = "REPORTED_BY_THE_INITIALIZER"


def count(last: int, report: Report) -> int:
    """Report epochs."""
    for epoch in range(1, last + 1):
        report(epoch, {"epoch": float(epoch)})
    return last


def fail(error: Exception, report: Report) -> None:
    """Raise."""
    raise error


def die(report: Report) -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def where(report: Report) -> tuple[str, str]:
    """Return the folder, and what the initializer has done."""
    return str(Path.cwd()), os.environ[INITIALIZED]


def initialize() -> None:
    """Set a variable of this process."""
    os.environ[INITIALIZED] = "yes"


def finish(pool: LocalPool, worker: Worker, prune_at: int = 100) -> tuple[Message, int]:
    """Return the last message of a task, and how many epochs it has reported."""
    epochs, deadline = 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        for sender, message in pool.receive(timeout_seconds=1.0):
            assert sender is worker
            if not isinstance(message, Epoch):
                return message, epochs
            epochs = message.number
            worker.reply(prune=epochs >= prune_at)
    raise TimeoutError


def test_a_worker_does_one_task_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalPool(1, initializer=initialize) as pool:
        worker = pool.idle()
        assert worker is not None
        worker.submit(Task(partial(count, 3)))
        assert pool.idle() is None
        assert finish(pool, worker) == (Done(3), 3)
        worker.submit(Task(partial(count, 9)))
        assert finish(pool, worker, prune_at=2) == (Pruned(), 2)
        worker.submit(Task(where))
        assert finish(pool, worker) == (Done((str(tmp_path), "yes")), 0)
    assert not worker.process.is_alive()


def test_errors_say_whose_they_are_and_a_dead_worker_is_replaced() -> None:
    errors = {
        "user": UserError("data=nothing.zip: no such file"),
        "expected": DivergedError("the loss became nan"),
        "bug": KeyError("a bug"),
    }
    with LocalPool(1) as pool:
        worker = pool.idle()
        assert worker is not None
        for kind, error in errors.items():
            worker.submit(Task(partial(fail, error)))
            message, _ = finish(pool, worker)
            assert isinstance(message, Failed)
            assert message.kind == kind
            assert message.reason == f"{type(error).__name__}: {error}"
            assert "in fail" in message.traceback
        worker.submit(Task(die))
        assert finish(pool, worker) == (Died(f"exit status {-signal.SIGKILL}"), 0)
        other = pool.idle()
        assert other is not None
        assert other is not worker
        other.submit(Task(partial(count, 1)))
        assert finish(pool, other) == (Done(1), 1)


def test_every_module_that_is_preloaded_exists() -> None:
    """The server ignores those that it cannot import."""
    assert all(map(importlib.util.find_spec, forkserver.PRELOADED))


def server() -> psutil.Process:
    """Return the process that workers are forked from."""
    forkserver.start()
    for process in psutil.Process().children():
        if any("multiprocessing.forkserver" in word for word in process.cmdline()):
            return process
    raise LookupError("there is none")


@pytest.mark.slow
def test_a_server_that_is_killed_is_started_anew() -> None:
    server().kill()  # it may not have ended yet when the first worker is wanted
    with LocalPool(1) as pool:
        worker = pool.idle()
        assert worker is not None
        worker.submit(Task(partial(count, 1)))
        assert finish(pool, worker) == (Done(1), 1)
        server().kill()
        worker.process.join()  # it ends with the server
        other = pool.idle()
        assert other is not None
        other.submit(Task(partial(count, 2)))
        assert finish(pool, other) == (Done(2), 2)


@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError, BrokenPipeError])
@pytest.mark.parametrize("times", [2, 5])
def test_a_server_may_be_killed_while_it_starts_a_worker(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], times: int
) -> None:
    errors, begin = [error] * times, BaseProcess.start

    def attempt(process: BaseProcess) -> None:
        if errors:
            raise errors.pop()
        begin(process)

    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(BaseProcess, "start", attempt)
    if times < 5:
        LocalPool(1).stop()
    else:
        with pytest.raises(ChildProcessError, match="killed 5 times"):
            LocalPool(1)


STARTS_A_SERVER = """
import os
from harness.execution import forkserver
forkserver.PRELOADED = (forkserver.PRELOADED[0], "endless")
forkserver.start()
while not os.path.exists("importing"):
    pass
"""
ENDLESS = """
import os, time
from pathlib import Path
Path("importing.new").write_text(str(os.getpid()))
os.rename("importing.new", "importing")
time.sleep(1000)
"""


def test_the_server_ends_with_its_parent_in_the_middle_of_an_import(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    parent = Started(tmp_path, "-c", STARTS_A_SERVER)
    assert parent.wait(timeout=60) == 0, parent.said()
    number = int((tmp_path / "importing").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(number).wait(timeout=60)
    assert not psutil.pid_exists(number)


def test_ctrl_c_is_not_for_the_server() -> None:
    """A terminal sends it to every process, and the server may be importing."""
    with LocalPool(1) as pool:
        server().send_signal(signal.SIGINT)
        worker = pool.idle()
        assert worker is not None
        worker.submit(Task(partial(count, 1)))
        assert finish(pool, worker) == (Done(1), 1)
        blocked = Path(f"/proc/{server().pid}/status")
        if blocked.exists():
            (mask,) = re.findall("SigBlk:\\s+([0-9a-f]+)", blocked.read_text())
            assert int(mask, 16) & 1 << (signal.SIGINT - 1)

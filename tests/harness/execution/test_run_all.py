"""Many tasks on a few workers: those that return, raise, hang, die, or print without end."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from harness.errors import UserError
from harness.execution.local import LocalPool
from harness.execution.messages import (
    Died,
    Done,
    Epoch,
    Failed,
    Outcome,
    Pruned,
    Report,
    Task,
    TimedOut,
    is_worker,
    result_of,
)
from harness.execution.run_all import Pool, run_all


def square(number: int, report: Report) -> int:
    """Report one epoch, and return."""
    report(1, {"value": float(number)})
    return number**2


def fail(error: Exception, report: Report) -> None:
    """Raise."""
    raise error


def hang(report: Report) -> None:
    """Take longer than anybody waits."""
    time.sleep(1000)


def die(report: Report) -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker: str, report: Report) -> int:
    """Be killed at the first attempt."""
    if not Path(marker).exists():
        Path(marker).touch()
        die(report)
    return os.getpid()


def print_a_megabyte(report: Report) -> int:
    """Print much, to both streams."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(" " * 1_000_000)
        stream.flush()
    return 1


def epochs(last: int, report: Report) -> int:
    """Report epochs until told to end."""
    for epoch in range(1, last + 1):
        report(epoch, {"value": 1.0})
    return last


def inside(report: Report) -> bool:
    """Return whether this is a worker."""
    return is_worker()


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    """Two workers, of which none is left afterwards."""
    with LocalPool(2) as made:
        processes = [worker.process.pid for worker in made.workers]
        yield made
    assert not any(pid is not None and psutil.pid_exists(pid) for pid in processes)


def outcomes(tasks: list[Task], pool: Pool | None) -> dict[str, Outcome]:
    return {task.name: outcome for task, outcome in run_all(tasks, pool)}


def require_every_outcome(pool: Pool, folder: Path, patience_seconds: float) -> None:
    """Give a pool tasks of every kind, and require that each has the outcome that it should.

    One hangs, and is to be ended after some time.
    """
    tasks = [
        Task(partial(square, 3), "square"),
        Task(partial(fail, UserError("data=x: no such file")), "user"),
        Task(partial(fail, KeyError("a bug")), "bug"),
        Task(hang, "hang", deadline=time.monotonic() + patience_seconds),
        Task(die, "die"),
        Task(partial(die_once, str(folder / "died")), "die once"),
        Task(print_a_megabyte, "print"),
        Task(partial(epochs, 50), "epochs"),
        Task(inside, "inside"),
    ]
    found = outcomes(tasks, pool)
    assert found["square"] == Done(9)
    assert isinstance(found["user"], Failed)
    assert found["user"].kind == "user"
    assert isinstance(found["bug"], Failed)
    assert "in fail" in found["bug"].traceback
    assert found["hang"] == TimedOut()
    assert isinstance(found["die"], Died)
    assert isinstance(found["die once"], Done)
    assert found["print"] == Done(1)
    assert found["epochs"] == Done(50)
    assert found["inside"] == Done(True)


def test_every_kind_of_task_has_its_outcome(pool: LocalPool, tmp_path: Path) -> None:
    require_every_outcome(pool, tmp_path, patience_seconds=1)
    ((_, died),) = run_all([Task(die)], pool)
    assert died == Died(f"exit status {-signal.SIGKILL}")


def test_a_task_whose_worker_dies_is_tried_as_often_as_is_allowed(
    pool: LocalPool, tmp_path: Path
) -> None:
    task = Task(partial(die_once, str(tmp_path / "died")))
    ((_, outcome),) = run_all([task], pool, max_retries=0)
    assert isinstance(outcome, Died)
    ((_, outcome),) = run_all([task], pool, max_retries=0)
    assert isinstance(outcome, Done)


@pytest.mark.parametrize("in_this_process", [True, False])
def test_epochs_are_answered(pool: LocalPool, in_this_process: bool) -> None:
    seen = []

    def prune(task: Task, epoch: Epoch) -> bool:
        seen.append((task.name, epoch.number))
        return epoch.number == 2

    tasks = [Task(partial(epochs, 9), "pruned")]
    ((_, outcome),) = run_all(tasks, None if in_this_process else pool, prune=prune)
    assert outcome == Pruned()
    assert seen == [("pruned", 1), ("pruned", 2)]


def test_tasks_may_depend_on_the_outcomes_of_earlier_ones(pool: LocalPool) -> None:
    results: list[int] = []

    def tasks() -> Iterator[Task | None]:
        yield Task(partial(square, 2))
        while not results:
            yield None
        yield Task(partial(square, results[0]))

    for _, outcome in run_all(tasks(), pool):
        results.append(result_of(outcome, "square"))
    assert results == [4, 16]


def test_without_a_pool_this_process_does_one_after_the_other() -> None:
    error = KeyError("a bug")
    found = outcomes([Task(partial(square, 3), "square"), Task(partial(fail, error), "bug")], None)
    assert found["square"] == Done(9)
    with pytest.raises(KeyError) as raised:
        result_of(found["bug"], "bug")
    assert raised.value is error
    assert not is_worker()


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (Failed("user", "UserError: data=x", "", ""), UserError),
        (Failed("bug", "KeyError: 'x'", "", "Traceback: in f"), RuntimeError),
        (Died("exit status -9"), ChildProcessError),
        (TimedOut(), TimeoutError),
    ],
)
def test_a_result_that_is_needed_and_missing_is_an_error(
    outcome: Outcome, error: type[Exception]
) -> None:
    with pytest.raises(error):
        result_of(outcome, "seed 3")

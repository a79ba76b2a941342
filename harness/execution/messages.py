"""What workers are given, and what they say, whichever backend they belong to."""

import contextlib
import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from harness.errors import UserError
from harness.training.loop import Callback, Progress
from harness.training.memory import NotEnoughMemoryError, is_out_of_memory
from harness.training.metrics import DivergedError

EXPECTED_ERRORS = (
    DivergedError,
    FloatingPointError,
    OverflowError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]  # it has no stub
    np.linalg.LinAlgError,
)
"""What some values of the parameters lead to besides, and is no fault of the code."""

SECONDS_TO_END = 30.0
"""What a worker has to end its run in, and to write a last checkpoint, when it is asked to."""

ErrorKind = Literal["expected", "user", "bug"]
"""What the values led to, what the user can correct, and what only a change of the code can."""


_is_worker = False


def become_worker() -> None:
    """Remember that this process carries out the tasks of another one."""
    global _is_worker
    _is_worker = True


def is_worker() -> bool:
    """Return whether this process carries out the tasks of another one."""
    return _is_worker


class Epoch(NamedTuple):
    """A report of an epoch; the worker waits for the answer whether it was the last wanted."""

    number: int
    metrics: dict[str, float]


class Done(NamedTuple):
    """The task has returned."""

    result: Any


class Pruned(NamedTuple):
    """The task has ended early, as it was told to."""


class Failed(NamedTuple):
    """The task has raised."""

    kind: ErrorKind
    reason: str
    """One line."""
    origin: str
    """The exception's type and where it was raised: the same bug has the same origin."""
    traceback: str
    error: Exception | None = None
    """The exception itself, unless it was raised in another process."""


class Died(NamedTuple):
    """The worker is gone: it was killed, or its machine was."""

    reason: str


class TimedOut(NamedTuple):
    """The task had no more time, and its worker was killed."""


Outcome = Done | Pruned | Failed | Died | TimedOut
Message = Epoch | Outcome


class PrunedError(Exception):
    """The task is to end early: its results are not promising."""


class ParentGoneError(Exception):
    """The process that gives the tasks is gone."""


Report = Callable[[int, dict[str, float]], None]
"""Reports an epoch with its metrics; raises `PrunedError` if it was the last that is wanted."""


def reporting(report: Report) -> Callback:
    """Return what reports each epoch of a training."""

    def callback(progress: Progress) -> None:
        report(progress.epoch, progress.history.rows[-1])

    return callback


@dataclass(frozen=True, eq=False)
class Task:
    """Something to be done by a worker: a function that can be pickled."""

    run: Callable[[Report], Any]
    name: str = ""
    """As a progress bar and messages say it."""
    deadline: float | None = None
    """The time (`time.monotonic`) at which it is ended."""


def attempt(run: Callable[[Report], Any], report: Report) -> Outcome:
    """Carry out a task, and say what became of it."""
    try:
        return Done(run(report))
    except PrunedError:
        return Pruned()
    except ParentGoneError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        place = traceback.extract_tb(error.__traceback__)[-1]
        origin = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        here = None if _is_worker else error
        return Failed(_kind(error), reason, origin, traceback.format_exc(), here)
    finally:
        if torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # what has failed before fails here, too
                gc.collect()
                torch.cuda.empty_cache()


def result_of(outcome: Outcome, name: str) -> Any:
    """Return the result of a task that is needed; raise what stands in its place."""
    match outcome:
        case Done(result):
            return result
        case Failed(error=Exception() as error):
            raise error
        case Failed(kind="user", reason=reason):
            raise UserError(reason.removeprefix("UserError: "))
        case Failed(reason=reason) if reason.startswith(NotEnoughMemoryError.__name__):
            raise NotEnoughMemoryError(reason.partition(": ")[2])
        case Failed(traceback=text):
            raise RuntimeError(f"{name} has failed:\n{text}")
        case Died(reason):
            others = "and so did those in its place"
            raise ChildProcessError(f"{name}: its worker died ({reason}), {others}")
        case _:
            raise TimeoutError(f"{name}: was ended before it had a result")


def _kind(error: Exception) -> ErrorKind:
    if isinstance(error, EXPECTED_ERRORS) or is_out_of_memory(error):
        return "expected"
    return "user" if isinstance(error, UserError) else "bug"

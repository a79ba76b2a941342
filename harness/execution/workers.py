"""Processes that carry out tasks: they report each epoch, and may die at any moment.

They write nothing but what their task writes, so a worker that is killed leaves nothing half-done
behind but the task that it had.
"""

import contextlib
import gc
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from harness.errors import UserError
from harness.execution import forkserver
from harness.signals import signal_at_death_of_parent
from harness.training.metrics import DivergedError

EXPECTED_ERRORS = (
    DivergedError,
    FloatingPointError,
    OverflowError,
    MemoryError,
    torch.OutOfMemoryError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]  # it has no stub
    np.linalg.LinAlgError,
)
"""What some values of the parameters lead to, and is no fault of the code."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

ErrorKind = Literal["expected", "user", "bug"]
"""What the values led to, what the user can correct, and what only a change of the code can."""


class Epoch(NamedTuple):
    """A worker's report of an epoch; the worker waits for `Worker.reply`."""

    number: int
    metrics: dict[str, float]


class Done(NamedTuple):
    """A worker's task has returned."""

    result: Any


class Pruned(NamedTuple):
    """A worker has ended its task early, as it was told to."""


class Failed(NamedTuple):
    """A worker's task has raised."""

    kind: ErrorKind
    reason: str
    """One line."""
    origin: str
    """The exception's type and where it was raised: the same bug has the same origin."""
    traceback: str


class Died(NamedTuple):
    """A worker's process is gone."""

    exit_code: int | None


Message = Epoch | Done | Pruned | Failed | Died


class PrunedError(Exception):
    """The task is to end early: its results are not promising."""


Report = Callable[[int, dict[str, float]], None]
"""Reports an epoch with its metrics; raises `PrunedError` if it was the last that is wanted."""
Task = Callable[[Report], Any]


@dataclass(eq=False)
class Worker:
    """A process and the way to talk to it."""

    number: int
    process: BaseProcess
    connection: Connection
    task: Task | None = None

    def submit(self, task: Task) -> None:
        """Give an idle worker a task; a dead one is noticed when messages are received."""
        self.task = task
        self._send(task)

    def reply(self, *, prune: bool) -> None:
        """Answer the report of an epoch: whether it was the last that is wanted."""
        self._send(prune)

    def _send(self, content: Task | bool) -> None:
        try:
            self.connection.send(content)
        except OSError:
            self.process.kill()


class Pool:
    """So many worker processes, which share the processors and the GPUs.

    A worker that dies is replaced when its death is noticed.

    Args:
        size: number of workers.
        threads: of all of them together (0: as many as there are cores).
        gpu: whether they compute on GPUs.
        initializer: called in each of them before its first task.

    """

    def __init__(
        self,
        size: int,
        threads: int = 0,
        *,
        gpu: bool = False,
        initializer: Callable[[], object] | None = None,
    ):
        threads = threads_per_worker(size, threads)
        self._set_up = partial(_set_up, size, threads, gpu, initializer)
        self._context = forkserver.context()
        self.workers = [self._start(number) for number in range(size)]

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def idle(self) -> Worker | None:
        """Return a worker that has nothing to do, and lives."""
        for worker in self.workers:
            if worker.task is None:
                return worker if worker.process.is_alive() else self._replace(worker)
        return None

    def receive(self, timeout_seconds: float) -> Iterator[tuple[Worker, Message]]:
        """Yield messages of busy workers, after waiting for the first one."""
        busy = {worker.connection: worker for worker in self.workers if worker.task is not None}
        if not busy:
            time.sleep(timeout_seconds)
        for connection in wait(list(busy), timeout=timeout_seconds):
            worker = busy[connection]  # type: ignore[index]  # none of the other kinds was given
            try:
                message: Message = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join()
                message = Died(worker.process.exitcode)
            if not isinstance(message, Epoch):
                worker.task = None
            if isinstance(message, Died):
                self._replace(worker)
            yield worker, message

    def stop(self) -> None:
        """End every worker: the idle ones by themselves, the others whatever they do."""
        for worker in self.workers:
            worker.connection.close()
            if worker.task is not None:
                worker.process.kill()
        for worker in self.workers:
            worker.process.join()
        self.workers = []

    def _replace(self, worker: Worker) -> Worker:
        worker.connection.close()
        self.workers[worker.number] = self._start(worker.number)
        return self.workers[worker.number]

    def _start(self, number: int) -> Worker:
        here, there = self._context.Pipe()
        set_up = partial(self._set_up, number, Path.cwd())
        process = self._context.Process(target=_work, args=(there, set_up), daemon=True)
        forkserver.start_process(process)
        there.close()
        return Worker(number, process, here)


def threads_per_worker(workers: int, threads: int = 0) -> int:
    """Return how many threads each worker computes with.

    Together no more than are asked for; or else than there are cores, and each no more than
    OMP_NUM_THREADS in the environment: two threads on one free core mostly wait for each other.
    """
    if threads:
        return max(1, threads // workers)
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = int(limit) if limit.isdecimal() and int(limit) else cores
    return max(1, min(cores // workers, most))


class _ParentGoneError(Exception):
    """The process that gives the tasks is gone."""


def _work(connection: Connection, set_up: Callable[[], None]) -> None:
    """Carry out one task after the other, until the parent process is gone."""
    set_up()

    def report(epoch: int, metrics: dict[str, float]) -> None:
        try:
            connection.send(Epoch(epoch, metrics))
            prune = connection.recv()
        except (EOFError, ConnectionError):
            raise _ParentGoneError from None
        if prune:
            raise PrunedError

    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            message = _attempt(task, report)
            connection.send(message)
        except (_ParentGoneError, ConnectionError):
            return
        if isinstance(message, Failed) and "CUDA error" in message.reason:
            return  # its context is lost; another process takes its place


def _set_up(
    size: int,
    threads: int,
    gpu: bool,
    initializer: Callable[[], object] | None,
    number: int,
    folder: Path,
) -> None:
    """Make this process the worker of a number, in a pool of a size."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal_at_death_of_parent("SIGKILL")
    os.chdir(folder)  # the server that it is forked from may have started in another one
    tqdm.set_lock(threading.RLock())  # its own is shared between processes: one killed leaks it
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # bars are the parent's
    torch.set_num_threads(threads)
    if gpu:  # one of its own, or an equal part of the memory of a shared one
        count = torch.cuda.device_count()
        torch.cuda.set_device(number % count)
        if (sharing := math.ceil(size / count)) > 1:
            torch.cuda.set_per_process_memory_fraction(0.9 / sharing)
    if initializer is not None:
        initializer()


def _attempt(task: Task, report: Report) -> Message:
    try:
        return Done(task(report))
    except PrunedError:
        return Pruned()
    except _ParentGoneError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        place = traceback.extract_tb(error.__traceback__)[-1]
        origin = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        return Failed(_kind(error), reason, origin, traceback.format_exc())
    finally:
        if torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # what has failed before fails here, too
                gc.collect()
                torch.cuda.empty_cache()


def _kind(error: Exception) -> ErrorKind:
    out_of_memory = any(words in str(error).lower() for words in OUT_OF_MEMORY)
    if isinstance(error, EXPECTED_ERRORS) or out_of_memory:
        return "expected"
    return "user" if isinstance(error, UserError) else "bug"

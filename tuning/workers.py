"""Processes that train: they are given tasks, report each epoch, and may die at any moment.

Only the process that started them writes to Optuna, so a worker that is killed leaves nothing
half-done behind but the task that it had.
"""

import contextlib
import ctypes
import gc
import io
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mlflow
import numpy as np
import torch
from tqdm import tqdm

from experiments.harness.errors import UserError
from experiments.harness.metrics import DivergedError
from tuning import forks

KNOWN_ERRORS = (
    DivergedError,
    FloatingPointError,
    OverflowError,
    MemoryError,
    torch.OutOfMemoryError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]  # it has no stub
    np.linalg.LinAlgError,
)
"""What may become of a trial with unlucky values, and is no fault of the code."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Epoch(NamedTuple):
    """A worker's report of an epoch; it waits to hear whether to go on."""

    number: int
    row: dict[str, float]


class Done(NamedTuple):
    """A worker's task has returned."""

    result: Any


class Pruned(NamedTuple):
    """A worker has given its task up, as it was told to."""


class Failed(NamedTuple):
    """A worker's task has raised."""

    kind: Literal["known", "mistake", "bug"]
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
    """The trial is not worth going on with."""


Report = Callable[[int, dict[str, float]], None]
"""Tells of an epoch, and raises `PrunedError` if it was the last that is wanted."""
Task = Callable[[Report], Any]


@dataclass(eq=False)
class Worker:
    """A process and the way to talk to it."""

    number: int
    process: BaseProcess
    connection: Connection
    task: Task | None = None

    def submit(self, task: Task) -> None:
        """Give an idle worker something to do; a dead one is noticed when it is listened to."""
        self.task = task
        try:
            self.connection.send(task)
        except OSError:
            self.process.kill()

    def reply(self, go_on: bool) -> None:
        """Answer the report of an epoch."""
        try:
            self.connection.send(go_on)
        except OSError:
            self.process.kill()


class Pool:
    """So many worker processes, which share the processors and the GPUs.

    A worker that dies is replaced when its death is noticed.

    Args:
        size: number of workers.
        threads: of all of them together (0: as many as there are cores).
        gpu: whether they compute on GPUs.

    """

    def __init__(self, size: int, threads: int = 0, *, gpu: bool = False):
        self.size = size
        self.gpu = gpu
        self.threads = threads_each(size, threads)
        self._context = forks.context()
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

    def listen(self, seconds: float) -> Iterator[tuple[Worker, Message]]:
        """Yield what busy workers say, after waiting for at most `seconds` for the first."""
        busy = {worker.connection: worker for worker in self.workers if worker.task is not None}
        if not busy:
            time.sleep(seconds)
        for connection in wait(list(busy), timeout=seconds):
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
        share = _Share(number, self.size, self.threads, self.gpu)
        process = self._context.Process(target=_work, args=(there, share, _place()), daemon=True)
        process.start()
        there.close()
        return Worker(number, process, here)


def threads_each(workers: int, threads: int = 0) -> int:
    """Return how many threads each worker computes with.

    Together no more than are asked for; or else than there are cores, and each no more than
    OMP_NUM_THREADS in the environment: two threads on one free core mostly wait for each other.
    """
    if threads:
        return max(1, threads // workers)
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    most = int(limit) if limit.isdecimal() and int(limit) else cores
    return max(1, min(cores // workers, most))


class _Place(NamedTuple):
    """Where a process works, which the server may have known otherwise when it started."""

    folder: str
    tracking_uri: str


def _place() -> _Place:
    return _Place(str(Path.cwd()), mlflow.get_tracking_uri())


class _Share(NamedTuple):
    """What of the machine a worker may use."""

    number: int
    size: int
    threads: int
    gpu: bool


class _LeftAloneError(Exception):
    """The process in charge is gone."""


def _work(connection: Connection, share: _Share, place: _Place) -> None:
    """Carry out one task after the other until there is nobody left to give them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who gives the tasks
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    os.chdir(place.folder)
    mlflow.set_tracking_uri(place.tracking_uri)
    os.environ.pop("MLFLOW_RUN_ID", None)  # it names the parent's run
    tqdm.set_lock(threading.RLock())  # its own is shared between processes: one killed leaks it
    sys.stderr = _NoTerminal(sys.stderr.buffer, line_buffering=True)
    torch.set_num_threads(share.threads)
    if share.gpu:
        _take_gpu(share.number, share.size)

    def report(epoch: int, row: dict[str, float]) -> None:
        try:
            connection.send(Epoch(epoch, row))
            go_on = connection.recv()
        except (EOFError, ConnectionError):
            raise _LeftAloneError from None
        if not go_on:
            raise PrunedError

    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            message = _attempt(task, report)
            connection.send(message)
        except (_LeftAloneError, ConnectionError):
            return
        if isinstance(message, Failed) and "CUDA error" in message.reason:
            return  # its context is lost; another process takes its place


def _attempt(task: Task, report: Report) -> Message:
    try:
        return Done(task(report))
    except PrunedError:
        return Pruned()
    except _LeftAloneError:
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


def _kind(error: Exception) -> Literal["known", "mistake", "bug"]:
    if isinstance(error, UserError):
        return "mistake"
    lacks_memory = any(words in str(error).lower() for words in OUT_OF_MEMORY)
    return "known" if isinstance(error, KNOWN_ERRORS) or lacks_memory else "bug"


class _NoTerminal(io.TextIOWrapper):
    """Where the errors go; progress bars, which belong to the process in charge, stay silent."""

    def isatty(self) -> bool:
        return False


def _take_gpu(number: int, size: int) -> None:
    """Give the worker a GPU of its own, or a fair part of the memory of a shared one."""
    count = torch.cuda.device_count()
    torch.cuda.set_device(number % count)
    sharing = math.ceil(size / count)
    if sharing > 1:
        torch.cuda.set_per_process_memory_fraction(0.9 / sharing)

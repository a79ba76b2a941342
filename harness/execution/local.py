"""The local backend: processes of this machine, which share its cores and its GPUs.

They write nothing but what their task writes, so a worker that is killed leaves nothing half-done
behind but the task that it had.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from harness import signals
from harness.execution import forkserver
from harness.execution.messages import (
    SECONDS_TO_END,
    Died,
    Epoch,
    Failed,
    Message,
    ParentGoneError,
    PrunedError,
    Task,
    attempt,
    become_worker,
)


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
        self._send(task.run)

    def reply(self, *, prune: bool) -> None:
        """Answer the report of an epoch: whether it was the last that is wanted."""
        self._send(prune)

    def kill(self) -> None:
        """End the worker, whatever it does."""
        self.process.kill()

    def _send(self, content: Any) -> None:
        try:
            self.connection.send(content)
        except OSError:
            self.process.kill()


class LocalPool:
    """So many worker processes, forked from one that has imported everything.

    A worker that dies is replaced when its death is noticed.

    Args:
        size: number of workers.
        gpus: the GPU of each worker as CUDA counts them; empty where they compute on the CPU.
        share: what each worker may take of the memory of its GPU.
        initializer: called in each of them before its first task.

    """

    def __init__(
        self,
        size: int,
        *,
        gpus: tuple[str, ...] = (),
        share: float = 1.0,
        initializer: Callable[[], object] | None = None,
    ):
        self._gpus, self._share, self._initializer = gpus, share, initializer
        self._context = forkserver.context()
        self.workers = [self._start(number) for number in range(size)]

    def __enter__(self) -> "LocalPool":
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
                message = Died(f"exit status {worker.process.exitcode}")
            if not isinstance(message, Epoch):
                worker.task = None
            if isinstance(message, Died):
                self._replace(worker)
            yield worker, message

    def stop(self, *, gently: bool = False) -> None:
        """End every worker: the idle ones by themselves, the others whatever they do.

        With `gently` they are asked first, and may end a run that they track as interrupted.
        """
        busy = [worker for worker in self.workers if worker.task is not None]
        if gently:
            for worker in busy:
                worker.process.terminate()
            deadline = time.monotonic() + SECONDS_TO_END
            for worker in busy:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        for worker in self.workers:
            worker.connection.close()
        for worker in busy:
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
        gpu = self._gpus[number] if self._gpus else None
        set_up = partial(_set_up, Path.cwd(), gpu, self._share, self._initializer)
        process = self._context.Process(target=_work, args=(there, set_up), daemon=True)
        forkserver.start_process(process)
        there.close()
        return Worker(number, process, here)


def _work(connection: Connection, set_up: Callable[[], None]) -> None:
    """Carry out one task after the other, until the parent process is gone."""
    set_up()

    def report(epoch: int, metrics: dict[str, float]) -> None:
        try:
            connection.send(Epoch(epoch, metrics))
            with signals.interruptible():
                prune = connection.recv()
        except (EOFError, ConnectionError):
            raise ParentGoneError from None
        if prune:
            raise PrunedError

    while True:
        try:
            with signals.interruptible():
                run = connection.recv()
        except (EOFError, ConnectionError, signals.Terminated):
            return
        try:
            message = attempt(run, report)
            connection.send(message)
        except (ParentGoneError, ConnectionError, signals.Terminated):
            return
        if isinstance(message, Failed) and "CUDA error" in message.reason:
            return  # its context is lost; another process takes its place


def _set_up(
    folder: Path, gpu: str | None, share: float, initializer: Callable[[], object] | None
) -> None:
    """Make this process a worker."""
    become_worker()
    signals.listen()  # SIGTERM ends a run in good order
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signals.signal_at_death_of_parent("SIGKILL")
    os.chdir(folder)  # the server that it is forked from may have started in another one
    tqdm.set_lock(threading.RLock())  # its own is shared between processes: one killed leaks it
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # bars are the parent's
    if gpu is not None:  # before anything of CUDA is called, which then knows no other GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        if share < 1:
            torch.cuda.set_per_process_memory_fraction(share)
    if initializer is not None:
        initializer()

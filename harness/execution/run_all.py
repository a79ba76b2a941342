"""Many tasks on the workers of a pool: each worker is given the next task when it is idle."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from tqdm import tqdm

from harness import signals
from harness.execution.messages import (
    Died,
    Epoch,
    Message,
    Outcome,
    PrunedError,
    Task,
    TimedOut,
    attempt,
)

SECONDS_BETWEEN_TICKS = 1.0
MAX_RETRIES = 2
"""How often a task is tried again whose worker died: the task itself may be the cause."""


class Worker(Protocol):
    """One that carries out tasks, one after the other."""

    task: Task | None

    def submit(self, task: Task) -> None:
        """Give it a task, while it is idle."""

    def reply(self, *, prune: bool) -> None:
        """Answer its report of an epoch: whether it was the last that is wanted."""

    def kill(self) -> None:
        """End it, whatever it does."""


class Pool(Protocol):
    """Workers of a backend; one that dies is replaced."""

    def idle(self) -> Any:
        """Return a worker that has nothing to do, or None."""

    def receive(self, timeout_seconds: float) -> Iterator[tuple[Any, Message]]:
        """Yield messages of busy workers, after waiting for the first one."""

    def stop(self, *, gently: bool = False) -> None:
        """End every worker; `gently`, those that track a run may end it as interrupted."""


def never(task: Task, epoch: Epoch) -> bool:
    """Prune no task."""
    return False


def run_all(
    tasks: Iterable[Task | None],
    pool: Pool | None,
    *,
    prune: Callable[[Task, Epoch], bool] = never,
    tick: Callable[[], object] = lambda: None,
    max_retries: int = MAX_RETRIES,
    title: str = "",
) -> Iterator[tuple[Task, Outcome]]:
    """Carry out tasks, and yield each with what became of it, in the order in which they end.

    Args:
        tasks: the next one is taken when a worker is idle, so it may depend on the outcomes of
            earlier ones; None is none at present, and is asked for again.
        pool: the workers; None is this process itself, which does one after the other.
        prune: called with each epoch that a task reports; returns whether it was the last wanted.
        tick: called about once a second.
        max_retries: how often a task is given to another worker when its own has died.
        title: of a progress bar, where the workers are other processes and `tasks` is a list.

    """
    if pool is None:
        for task in filter(None, tasks):
            yield task, attempt(task.run, partial(_answer, prune, task))
        return
    total = len(tasks) if isinstance(tasks, Sized) else None
    # disable=None: silent where stderr is no terminal.
    with tqdm(desc=title, total=total, unit="run", disable=None if title else True) as bar:
        execution = _Execution(iter(tasks), pool, prune, max_retries, bar)
        while True:
            signals.check()
            tick()
            execution.start_tasks()
            if execution.is_over:
                return
            execution.end_late_tasks()
            yield from execution.receive()


@dataclass
class _Execution:
    """Tasks and the workers that have them."""

    waiting: Iterator[Task | None]
    pool: Pool
    prune: Callable[[Task, Epoch], bool]
    max_retries: int
    bar: "tqdm[Any]"
    running: dict[Worker, Task] = field(default_factory=dict)
    again: deque[Task] = field(default_factory=deque)
    """Tasks whose worker has died."""
    deaths: Counter[Task] = field(default_factory=Counter)
    late: set[Worker] = field(default_factory=set)
    has_more: bool = True

    @property
    def is_over(self) -> bool:
        """Whether every task has ended, and there are no others."""
        return not (self.running or self.again or self.has_more)

    def start_tasks(self) -> None:
        """Give tasks to idle workers."""
        while (self.again or self.has_more) and (worker := self.pool.idle()):
            try:
                task = self.again.popleft() if self.again else next(self.waiting)
            except StopIteration:
                self.has_more = False
                return
            if task is None:
                return
            self.running[worker] = task
            worker.submit(task)

    def end_late_tasks(self) -> None:
        """Kill the workers of tasks that have no more time."""
        for worker, task in self.running.items():
            if task.deadline is not None and time.monotonic() >= task.deadline:
                self.late.add(worker)
                worker.kill()

    def receive(self) -> Iterator[tuple[Task, Outcome]]:
        """Answer the reports of epochs, and yield the tasks that have ended."""
        for worker, message in self.pool.receive(SECONDS_BETWEEN_TICKS):
            task = self.running[worker]
            if isinstance(message, Epoch):
                worker.reply(prune=self.prune(task, message))
                self.bar.set_postfix_str(f"{task.name}: epoch {message.number}")
                continue
            del self.running[worker]
            if isinstance(message, Died) and worker in self.late:
                message = TimedOut()
            elif isinstance(message, Died) and self.deaths[task] < self.max_retries:
                self.deaths[task] += 1
                self.again.append(task)
                continue
            self.bar.update()
            yield task, message


def _answer(
    prune: Callable[[Task, Epoch], bool], task: Task, number: int, metrics: dict[str, float]
) -> None:
    if prune(task, Epoch(number, metrics)):
        raise PrunedError

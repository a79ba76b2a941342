"""The Ray backend: workers on an existing cluster, which places them where cores or GPUs are free.

It says the same as the local backend in the same words, so `run_all` knows no difference. A worker
is an actor: it dies with its process or its node, and another takes its place.
"""

import contextlib
import os
import queue
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import signals
from harness.errors import UserError
from harness.execution.messages import (
    SECONDS_TO_END,
    Died,
    Epoch,
    Failed,
    Message,
    PrunedError,
    Task,
    attempt,
    become_worker,
)
from harness.project import ROOT

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported

SECONDS_TO_CONNECT = 5.0
NOT_SHIPPED = ["*.db", "*.journal", ".git", ".venv", "mlruns", "tests"]


class Actor:
    """A worker, in a process of the cluster; its methods run in threads of their own."""

    def __init__(self, folder: str, initializer: Callable[[], object] | None):
        if Path(folder).is_dir():  # as that of the process that gives the tasks, where it is here
            os.chdir(folder)
        become_worker()
        self._initializer = initializer
        self._messages = queue.SimpleQueue[Message]()
        self._answers = queue.SimpleQueue[bool]()

    def ready(self) -> bool:
        """Return that this process has a place in the cluster."""
        return True

    def work(self, run: Callable[..., Any]) -> None:
        """Carry out a task."""
        if self._initializer is not None:
            self._initializer()
            self._initializer = None
        try:
            self._messages.put(attempt(run, self._report))
        except signals.Terminated:
            self._messages.put(Died("it was asked to end"))

    def receive(self, prune: bool | None = None) -> Message:
        """Return the next message, once there is one, after the answer to the last one, if any."""
        if prune is not None:
            self._answers.put(prune)
        return self._messages.get()

    def end(self) -> None:
        """Let the task end at its next safe point, as SIGTERM would."""
        signals.note_termination()
        self._answers.put(False)

    def _report(self, epoch: int, metrics: dict[str, float]) -> None:
        self._messages.put(Epoch(epoch, metrics))
        if self._answers.get():
            raise PrunedError


@dataclass(eq=False)
class Worker:
    """An actor of the cluster, and what it is to answer."""

    actor: Any
    is_ready: Any
    task: Task | None = None
    work: Any = None
    message: Any = None

    def submit(self, task: Task) -> None:
        """Give an idle worker a task."""
        self.task = task
        self.work = self.actor.work.remote(task.run)
        self.message = self.actor.receive.remote()

    def reply(self, *, prune: bool) -> None:
        """Answer the report of an epoch: whether it was the last that is wanted."""
        self.message = self.actor.receive.remote(prune)

    def kill(self) -> None:
        """End the worker, whatever it does."""
        ray().kill(self.actor)


class ClusterPool:
    """So many workers on a cluster that is connected to; see `connect`.

    Args:
        size: number of workers.
        cpus: cores of each worker.
        gpus: GPUs of each worker, which may be a fraction of one.
        initializer: called in each of them before its first task.

    """

    def __init__(
        self,
        size: int,
        *,
        cpus: int,
        gpus: float = 0.0,
        initializer: Callable[[], object] | None = None,
    ):
        self._initializer = initializer
        # Threads for the task, for the message that is waited for, and for an answer.
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": 4}
        self._remote = ray().remote(**options)(Actor)
        self.workers = [self._start() for _ in range(size)]

    def idle(self) -> Worker | None:
        """Return a worker that has a place in the cluster, and nothing to do."""
        for worker in [each for each in self.workers if each.task is None]:
            if not ray().wait([worker.is_ready], timeout=0)[0]:
                continue
            try:
                ray().get(worker.actor.ready.remote())
            except ray().exceptions.RayActorError:
                self._replace(worker)
            else:
                return worker
        return None

    def receive(self, timeout_seconds: float) -> Iterator[tuple[Worker, Message]]:
        """Yield messages of busy workers, after waiting for the first one."""
        awaited: dict[Any, Worker] = {}
        for worker in self.workers:
            if worker.task is not None:
                awaited |= {ref: worker for ref in (worker.message, worker.work) if ref is not None}
        if not awaited:
            time.sleep(timeout_seconds)
            return
        arrived, _ = ray().wait(list(awaited), timeout=timeout_seconds)
        for ref in arrived:
            worker = awaited[ref]
            message = _message(ref)
            if ref == worker.work:
                worker.work = None  # what became of the task is the next message
            if worker.task is None or message is None:
                continue
            if not isinstance(message, Epoch):
                worker.task = None
            if isinstance(message, Died):
                self._replace(worker)
            yield worker, message

    def stop(self, *, gently: bool = False) -> None:
        """End every worker; `gently`, those that track a run may end it as interrupted."""
        busy = [worker for worker in self.workers if worker.task is not None]
        if gently and busy:
            for worker in busy:
                worker.actor.end.remote()
            working = [worker.work for worker in busy if worker.work is not None]
            ray().wait(working, num_returns=len(working), timeout=SECONDS_TO_END)
        for worker in self.workers:
            worker.kill()
        self.workers = []

    def _replace(self, worker: Worker) -> None:
        worker.kill()
        self.workers[self.workers.index(worker)] = self._start()

    def _start(self) -> Worker:
        actor = self._remote.remote(str(Path.cwd()), self._initializer)
        return Worker(actor, actor.ready.remote())


def ray() -> Any:
    """Return the module, which takes a second to import; a `UserError` where it is missing."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        extra = 'pip install -e ".[cluster]"'
        raise UserError(f"backend=ray: needs Ray, which `{extra}` installs") from None
    return ray


def connect(address: str) -> dict[str, float]:
    """Connect to a cluster, and return its resources: `CPU`, and `GPU` where there are some.

    Args:
        address: `host:port`; or `auto`, the cluster of this machine or of RAY_ADDRESS.

    Raises:
        UserError: there is no such cluster, or its machines cannot reach the tracking store.

    """
    if not ray().is_initialized():
        if address != "auto":
            _require_somebody(address)
        handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        options = {"log_to_driver": False, "configure_logging": False}
        try:
            ray().init(address, runtime_env={"env_vars": environment}, **options)
            if elsewhere():
                ray().shutdown()
                shipped = {"working_dir": str(ROOT), "excludes": NOT_SHIPPED}
                del environment["PYTHONPATH"]
                ray().init(address, runtime_env={"env_vars": environment, **shipped}, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"address={address}: no Ray cluster ({_first_line(error)})") from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return dict(ray().cluster_resources())


def elsewhere() -> list[str]:
    """Return the names of the cluster's machines that are not this one."""
    names = {node["NodeManagerHostname"] for node in ray().nodes() if node["Alive"]}
    return sorted(names - {socket.gethostname()})


def _require_somebody(address: str) -> None:
    """Raise a `UserError` if nobody listens at an address; Ray itself would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        raise UserError(f"address={address}: has to be auto or host:port, such as 10.0.0.5:6379")
    try:
        with contextlib.closing(socket.create_connection((host, int(port)), SECONDS_TO_CONNECT)):
            pass
    except (OSError, OverflowError) as error:
        raise UserError(f"address={address}: no Ray cluster answers there ({error})") from None


def _message(ref: Any) -> Message | None:
    """Return what a call of a worker has brought: a message, nothing, or the worker's death."""
    try:
        return ray().get(ref)  # type: ignore[no-any-return]
    except ray().exceptions.RayActorError as error:
        return Died(_first_line(error))
    except ray().exceptions.RayError as error:  # such as a function that cannot be unpickled
        return Failed("bug", _first_line(error), "worker", str(error))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]

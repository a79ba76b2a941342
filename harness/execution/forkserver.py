"""The server that workers are forked from: it imports what they need while others do other things.

Started first of all, it has everything when the first worker is wanted. It ends with the process
that started it, even in the middle of an import, and Ctrl-C is not for it.

There is one on Linux only. Windows cannot fork, and on macOS the system's own libraries may crash
in a process that was forked; there each worker is started anew, and imports for itself.
"""

import contextlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any

PRELOADED = (
    "harness.execution.end_with_parent",  # first: the others take seconds
    "harness.execution.local",
    "harness.run_experiment",
    # What the first optimiser and the first logged model would import, for seconds.
    "torch._dynamo",
    "torch.export._trace",
    "torch.distributed.tensor.experimental",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""Modules that workers find imported."""
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How workers are started, as multiprocessing names it."""
ATTEMPTS = 5
"""How often a process is started: the server may be killed meanwhile, and is started anew."""


def context() -> Any:
    """Return the context of multiprocessing in which to make workers.

    On Linux it forks them from a process that has imported everything, in milliseconds, and has
    never touched a GPU, which a process cannot share with those forked from it.
    """
    if METHOD == "spawn":
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(PRELOADED))
    return made


def start() -> None:
    """Start the server now, where there is one."""
    context()
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        with _ctrl_c_blocked():
            forkserver.ensure_running()


def start_process(process: BaseProcess) -> None:
    """Start a process of the context, with another server if this one is killed meanwhile.

    Raises:
        ChildProcessError: the servers are killed one after the other.

    """
    for attempt in range(ATTEMPTS):
        time.sleep(attempt / 2)  # a process that is being killed still counts as alive
        with _ctrl_c_blocked(), contextlib.suppress(EOFError, ConnectionError):
            process.start()
            return
    raise ChildProcessError(f"the server of worker processes was killed {ATTEMPTS} times")


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Block SIGINT, which a process that is started within inherits; here it comes afterwards."""
    if sys.platform == "win32":  # it has no such mask: a worker ignores Ctrl-C once it is set up
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which else the server starts first, and unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

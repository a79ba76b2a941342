"""The server that workers are forked from: it imports what they need while others do other things.

Started first of all, it has everything when the first worker is wanted.
"""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PRELOADED = (
    "harness.execution.workers",
    "harness.run_experiment",
    # What the first optimiser and the first logged model would import, for seconds.
    "torch._dynamo",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
)
"""Modules that workers find imported."""


def context() -> ForkServerContext:
    """Return the context in which to make workers.

    It forks them from a process that has imported everything, in milliseconds, and has never
    touched a GPU, which a process cannot share with those forked from it.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(PRELOADED))
    return made


def start() -> None:
    """Start the server now."""
    context()
    forkserver.ensure_running()

"""The server that forks the workers: started first of all, it imports while others do."""

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PRELOADED = (
    "tuning.workers",
    "experiments.harness.tracking",
    # What the first optimiser and the first logged model would import, for seconds.
    "torch._dynamo",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
)


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

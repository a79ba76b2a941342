"""Which workers a command gets: how many, on which backend, with which cores and GPUs."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial

import mlflow
import torch

from harness.errors import UserError
from harness.execution import cluster, messages
from harness.execution.config import ExecutionConfig
from harness.execution.local import LocalPool
from harness.execution.run_all import Pool
from harness.tracking.store import connect_worker
from harness.training.device import num_cores
from harness.wording import plural


@contextlib.contextmanager
def open_pool(
    execution: ExecutionConfig, num_tasks: int, *, threads: int, on_gpu: bool
) -> Iterator[Pool]:
    """Open the workers that a command asks for, and end them afterwards.

    Args:
        execution: how many, and where.
        num_tasks: more workers than these are of no use.
        threads: CPU threads that a task computes with.
        on_gpu: whether a task computes on a GPU.

    Raises:
        UserError: there are not so many GPUs or cores, or there is no such cluster.

    """
    open_backend = {"local": _open_local, "ray": _open_cluster}[execution.backend]
    pool = open_backend(execution, num_tasks, threads, on_gpu)
    try:
        yield pool
    except BaseException:
        pool.stop(gently=True)
        raise
    pool.stop()


@contextlib.contextmanager
def open_pool_if_needed(
    execution: ExecutionConfig, num_tasks: int, *, threads: int, on_gpu: bool
) -> Iterator[Pool | None]:
    """Open the workers, unless there would be a single one, which this process can be itself.

    A worker does what it has to do by itself, too.
    """
    is_local = execution.backend == "local"
    if messages.is_worker() or (
        is_local and num_workers(execution, num_tasks, threads, on_gpu) == 1
    ):
        yield None
    else:
        with open_pool(execution, num_tasks, threads=threads, on_gpu=on_gpu) as pool:
            yield pool


def num_workers(execution: ExecutionConfig, num_tasks: int, threads: int, on_gpu: bool) -> int:
    """Return how many workers a command gets on this machine.

    As many as it asks for; by default as many as have a GPU, or their threads cores, of their own.

    Raises:
        UserError: more are asked for than have a place on a GPU.

    """
    if on_gpu:
        gpus = torch.cuda.device_count()
        places = gpus * execution.runs_per_gpu
        if execution.workers != "auto" and execution.workers > places:
            allowed = f"at most {places}, on {gpus} GPUs with runs_per_gpu={execution.runs_per_gpu}"
            raise UserError(f"workers={execution.workers}: {allowed}")
    else:
        places = max(1, num_cores() // threads)
    return min(num_tasks, places if execution.workers == "auto" else execution.workers)


def _open_local(execution: ExecutionConfig, num_tasks: int, threads: int, on_gpu: bool) -> Pool:
    size = num_workers(execution, num_tasks, threads, on_gpu)
    gpus = visible_gpus() if on_gpu else []
    return LocalPool(
        size,
        gpus=tuple(gpus[number % len(gpus)] for number in range(size)) if gpus else (),
        share=0.9 / execution.runs_per_gpu if execution.runs_per_gpu > 1 else 1.0,
        initializer=partial(connect_worker, mlflow.get_tracking_uri()),
    )


def _open_cluster(execution: ExecutionConfig, num_tasks: int, threads: int, on_gpu: bool) -> Pool:
    resources, uri = cluster.connect(execution.address), mlflow.get_tracking_uri()
    if uri.startswith("sqlite:") and (others := cluster.elsewhere()):
        raise UserError(
            f"backend=ray: {', '.join(others)} cannot write to the tracking store, a file of this "
            "machine; MLFLOW_TRACKING_URI has to name a server"
        )
    cores, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    gpus_each = 1 / execution.runs_per_gpu if on_gpu else 0.0
    places = int(cores // threads)
    if on_gpu:
        places = min(places, int(gpus // gpus_each))
    wanted = places if execution.workers == "auto" else execution.workers
    if not 0 < wanted <= places:
        needed = f"{plural(threads, 'core')} and {gpus_each:g} GPU each"
        there = f"the cluster has {cores:g} cores and {gpus:g} GPUs"
        raise UserError(f"workers={execution.workers}: at most {places}, of {needed}; {there}")
    return cluster.ClusterPool(
        min(num_tasks, wanted),
        cpus=threads,
        gpus=gpus_each,
        initializer=partial(connect_worker, uri),
    )


def visible_gpus() -> list[str]:
    """Return the GPUs of this process as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = range(torch.cuda.device_count())
    return named.split(",")[: len(numbers)] if named else [str(number) for number in numbers]

"""Which process a run belongs to, and whether that process still exists."""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

CLOCK_STEP_SECONDS = 2.0
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""A process that was killed is still listed until its parent has asked for its exit status."""


def process_tags() -> dict[str, str]:
    """Return what tells this process from any other, as `process_lives` reads it."""
    return {
        "host": socket.gethostname(),
        "process_id": str(os.getpid()),
        "process_started": f"{psutil.Process().create_time():.2f}",
    }


def process_lives(tags: Mapping[str, str]) -> bool:
    """Return whether the process that wrote these tags of a run still works on this machine."""
    if tags.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(tags["process_id"]))
        if process.status() in ENDED:
            return False
        # The clock, by which it is measured, may have been set since.
        return abs(process.create_time() - float(tags["process_started"])) < CLOCK_STEP_SECONDS
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def process_gone(tags: Mapping[str, str]) -> bool:
    """Return whether the process that wrote these tags ran on this machine and has ended."""
    return tags.get("host") == socket.gethostname() and not process_lives(tags)


def of_this_process(tags: Mapping[str, str]) -> bool:
    """Return whether this process or one of its descendants, such as a worker, wrote these tags."""
    here = psutil.Process()
    numbers = {str(process.pid) for process in (here, *here.children(recursive=True))}
    return tags.get("host") == socket.gethostname() and tags.get("process_id") in numbers


def serves_mlflow_run(run_id: str, created: float) -> bool:
    """Return whether a process of this machine may be at work on a run that `mlflow run` has made.

    It is one that has been given the run's id, or an `mlflow run` that began before the run was
    created (seconds since the epoch), and may be at work on its environment. Processes of other
    users are not looked at.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() in ENDED:
                continue
            if process.environ().get("MLFLOW_RUN_ID") == run_id:
                return True
            words = process.cmdline()
            is_mlflow = any(Path(word).name == "mlflow" for word in words) and "run" in words
            if is_mlflow and process.create_time() < created:
                return True
    return False

"""Which process a run belongs to, and whether that process still exists."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

TAG = "mlflow.process"
"""Of a run; the MLflow UI shows no tag whose name begins with `mlflow.`."""

CLOCK_STEP_SECONDS = 2.0
ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
"""A process that was killed is still listed until its parent has asked for its exit status."""


def this_process() -> dict[str, str]:
    """Return what tells this process from any other, as `process_lives` reads it."""
    return {
        "host": socket.gethostname(),
        "process_id": str(os.getpid()),
        "process_started": f"{psutil.Process().create_time():.2f}",
    }


def process_tags() -> dict[str, str]:
    """Return the tag that names this process as the one that works on a run."""
    return {TAG: json.dumps(this_process())}


def process_of(tags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the process that the tags of a run name, or nothing.

    In runs of earlier versions each of its fields has a tag of its own.
    """
    if TAG in tags:
        return json.loads(tags[TAG])  # type: ignore[no-any-return]
    return {name: tags[name] for name in this_process() if name in tags}


def process_lives(tags: Mapping[str, Any]) -> bool:
    """Return whether the process that these tags of a run name still works on this machine."""
    owner = process_of(tags)
    if owner.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(owner["process_id"]))
        if process.status() in ENDED:
            return False
        # The clock, by which it is measured, may have been set since.
        return abs(process.create_time() - float(owner["process_started"])) < CLOCK_STEP_SECONDS
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def process_gone(tags: Mapping[str, Any]) -> bool:
    """Return whether the process that these tags name ran on this machine and has ended."""
    return process_of(tags).get("host") == socket.gethostname() and not process_lives(tags)


def of_this_process(tags: Mapping[str, str]) -> bool:
    """Return whether this process or a descendant, such as a worker, is what these tags name."""
    here = psutil.Process()
    numbers = {str(process.pid) for process in (here, *here.children(recursive=True))}
    owner = process_of(tags)
    return owner.get("host") == socket.gethostname() and owner.get("process_id") in numbers


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

"""Resuming an interrupted run, with the configuration that it has."""

import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.tracking.failures import failure_of, first_line
from harness.tracking.locations import redact_password
from harness.tracking.processes import process_lives, process_of, process_tags
from harness.tracking.run import CONFIGURATION
from harness.tracking.store import require_artifacts, store_lock
from harness.training.config import C

SETTLE_SECONDS = 0.3
"""Time for another process's claim at the same moment to become visible: the last one counts."""


def resumed(config: C) -> C:
    """Return the configuration of the run that `config.resume` names.

    Only the device and the time between checkpoints may be others.

    Raises:
        UserError: no such run, a run of another experiment, one that has ended or still runs,
            or a value that contradicts it.

    """
    client, run_id = MlflowClient(), config.resume
    try:
        with store_lock():
            run = client.get_run(run_id)
        require_artifacts(client.get_experiment(run.info.experiment_id).artifact_location)
        stored = json.loads(
            Path(client.download_artifacts(run_id, CONFIGURATION)).read_text("utf-8")
        )
    except MlflowException as error:
        if failure_of(error):
            raise
        known = "no run of this suite has that id, or `mlflow gc` has removed it"
        raise UserError(f"resume={run_id}: {known} ({first_line(error)})") from None
    tags = run.data.tags
    if tags.get("entry_point") != config.entry_point:
        started = f"{tags.get('architecture')} (entry point {tags.get('entry_point')})"
        raise UserError(f"resume={run_id}: that run is of {started}, not of {config.entry_point}")
    _require_interrupted(run)
    for name, asked in config.changes().items():
        has = stored.get(name)
        if name not in ("device", "resume", "checkpoint_seconds") and asked != has:
            raise UserError(f"{name}={asked}: run {run_id} has {has}, and resuming keeps it")
    return type(config)(**(stored | config.changes()))


def claim(run_id: str) -> None:
    """Make this process the one that works on an interrupted run, which says RUNNING from now on.

    Of two processes at once one succeeds: in a file, the store is locked meanwhile; on a server,
    the later claim counts.

    Raises:
        UserError: another process works on it, or has finished it meanwhile.

    """
    client = MlflowClient()
    _require_interrupted(client.get_run(run_id))
    # The process is named before the run says RUNNING: nobody is to take it for abandoned.
    client.log_batch(run_id, tags=[RunTag(*tag) for tag in process_tags().items()])
    client.update_run(run_id, status="RUNNING")
    time.sleep(SETTLE_SECONDS)
    tags = client.get_run(run_id).data.tags
    if not process_tags().items() <= tags.items():
        owner = process_of(tags)
        other = f"process {owner['process_id']} on {owner['host']}"
        raise UserError(f"resume={run_id}: {other} has begun to work on that run")


def resume_command(command: str) -> str:
    """Return `python -m ...` as it has to be typed here: the store, and which Python."""
    python = sys.executable
    if shutil.which("python") == python:
        python = "python"
    elif Path(python).is_relative_to(Path.cwd()):
        python = str(Path(python).relative_to(Path.cwd()))
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    store = f"MLFLOW_TRACKING_URI={shlex.quote(redact_password(uri))} " if uri else ""
    return f"{store}{shlex.quote(python)} {command.removeprefix('python ')}"


def _require_interrupted(run: Run) -> None:
    run_id, tags = run.info.run_id, run.data.tags
    if run.info.lifecycle_stage == "deleted":
        restore = f"`mlflow runs restore --run-id {run_id}` restores it"
        raise UserError(f"resume={run_id}: that run is deleted; {restore}")
    if run.info.status == "FINISHED":
        raise UserError(f"resume={run_id}: that run has finished; only interrupted ones resume")
    if run.info.status == "RUNNING" and process_lives(tags):
        owner = process_of(tags)["process_id"]
        raise UserError(f"resume={run_id}: process {owner} still works on that run")

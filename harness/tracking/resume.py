"""Resuming an interrupted run, with the configuration that it has."""

import json
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config import C
from harness.errors import UserError
from harness.tracking.failures import failure_of, first_line
from harness.tracking.processes import process_lives
from harness.tracking.run import CONFIGURATION
from harness.tracking.store import require_artifacts, store_lock


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
        stored = json.loads(Path(client.download_artifacts(run_id, CONFIGURATION)).read_text())
    except MlflowException as error:
        if failure_of(error):
            raise
        known = "no run of this suite has that id, or `mlflow gc` has removed it"
        raise UserError(f"resume={run_id}: {known} ({first_line(error)})") from None
    tags = run.data.tags
    if tags.get("entry_point") != config.entry_point:
        started = f"{tags.get('architecture')} (entry point {tags.get('entry_point')})"
        raise UserError(f"resume={run_id}: that run is of {started}, not of {config.entry_point}")
    if run.info.lifecycle_stage == "deleted":
        restore = f"`mlflow runs restore --run-id {run_id}` restores it"
        raise UserError(f"resume={run_id}: that run is deleted; {restore}")
    if run.info.status == "FINISHED":
        raise UserError(f"resume={run_id}: that run has finished; only interrupted ones resume")
    if run.info.status == "RUNNING" and process_lives(tags):
        raise UserError(f"resume={run_id}: process {tags['process_id']} still works on that run")
    for name, asked in config.changes().items():
        has = stored.get(name)
        if name not in ("device", "resume", "checkpoint_seconds") and asked != has:
            raise UserError(f"{name}={asked}: run {run_id} has {has}, and resuming keeps it")
    return type(config)(**(stored | config.changes()))

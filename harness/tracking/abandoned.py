"""What killed processes leave behind in the store: runs that say RUNNING, and checkpoints of none.

A run is taken for abandoned only if its process was one of this machine and has ended. It can be
resumed afterwards as before.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.tracking.locations import to_path
from harness.tracking.processes import process_gone
from harness.tracking.run import CHECKPOINT, LOCAL_COPY

SECONDS_UNTOUCHED = 24 * 3600
"""Least age of a checkpoint that is deleted. Where two stores share a folder, it may be a run of
the other store, and a run in progress writes its checkpoint every few seconds."""


class Finding(NamedTuple):
    """Something that a killed process has left behind."""

    description: str
    """In one line."""
    fix: Callable[[], None]


def abandoned_runs() -> Iterator[Finding]:
    """Yield the runs that say RUNNING although their process has ended."""
    for run in runs_that_are("RUNNING"):
        if process_gone(run.data.tags):
            name, process = run.info.run_name, run.data.tags.get("process_id")
            text = (
                f"run {run.info.run_id} ({name}) says RUNNING, but its process {process} has ended"
            )
            yield Finding(text, partial(close, run))


def close(run: Run) -> None:
    """End a run as KILLED, with the reason; unless somebody has resumed it meanwhile."""
    client, run_id = MlflowClient(), run.info.run_id
    if process_gone(client.get_run(run_id).data.tags):  # on a server there is no lock: ask again
        client.set_tag(run_id, "failure", "its process ended without ending the run")
        client.set_terminated(run_id, "KILLED")


def runs_that_are(status: str) -> list[Run]:
    """Return every run of a status, of all experiments."""
    query = f"attributes.status = '{status}'"
    return mlflow.search_runs(  # type: ignore[no-any-return]
        filter_string=query, search_all_experiments=True, output_format="list"
    )


def orphaned_checkpoints() -> Iterator[Finding]:
    """Yield the checkpoints of runs unknown to the store; a deleted run can still be restored."""
    for experiment in mlflow.search_experiments(view_type=ViewType.ALL):
        folder = to_path(experiment.artifact_location)
        for checkpoint in folder.glob(f"*/artifacts/{CHECKPOINT}") if folder else ():
            run_id = checkpoint.parents[2].name
            if not re.fullmatch("[0-9a-f]{32}", run_id):
                continue  # no folder that MLflow has made: somebody's copy
            untouched = time.time() - checkpoint.stat().st_mtime
            if untouched > SECONDS_UNTOUCHED and not is_known(run_id):
                size = f"{checkpoint.stat().st_size / 1e6:,.1f} MB"
                text = f"checkpoint {checkpoint} ({size}) belongs to no run of this store"
                yield Finding(text, partial(delete, checkpoint))


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint, or the folder of one; a `UserError` if the file system refuses."""
    try:
        if checkpoint.is_dir():
            shutil.rmtree(checkpoint)
        else:
            checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"fix=True: {checkpoint} cannot be deleted ({error.strerror})") from None


def local_copies_of_checkpoints() -> Iterator[Finding]:
    """Yield the temporary folders of runs on a server whose process was killed.

    The server has the checkpoint. Runs unknown to it may be of another one.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{LOCAL_COPY}*"):
        run_id = folder.name.removeprefix(LOCAL_COPY).partition("-")[0]
        if is_known(run_id):
            unused = process_gone(MlflowClient().get_run(run_id).data.tags)
        else:
            unused = time.time() - folder.stat().st_mtime > SECONDS_UNTOUCHED
        if unused:
            text = f"folder {folder} holds the local copy of a checkpoint; its process has ended"
            yield Finding(text, partial(delete, folder))


def checkpoints_of_finished_runs() -> Iterator[Path]:
    """Yield their local folders; a run that has finished is never resumed."""
    for run in runs_that_are("FINISHED"):
        folder = to_path(run.info.artifact_uri)
        if folder:
            yield (folder / CHECKPOINT).parent


def is_known(run_id: str) -> bool:
    """Return whether the store has a run, deleted or not."""
    try:
        MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True

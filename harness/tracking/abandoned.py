"""What killed processes leave behind in the store: runs that say RUNNING, and checkpoints of none.

A run is taken for abandoned only if its process was one of this machine and has ended. It can be
resumed afterwards as before.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.tracking.processes import process_gone
from harness.tracking.run import CHECKPOINT

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
        tags = run.data.tags
        if process_gone(tags):
            name = f"run {run.info.run_id} ({run.info.run_name})"
            yield Finding(
                f"{name} says RUNNING, but its process {tags.get('process_id')} has ended",
                partial(close, run),
            )


def close(run: Run) -> None:
    """End a run as KILLED, with the reason; unless somebody has resumed it meanwhile."""
    client = MlflowClient()
    # On a server there is no lock: ask once more.
    if not process_gone(client.get_run(run.info.run_id).data.tags):
        return
    client.set_tag(run.info.run_id, "failure", "its process ended without ending the run")
    client.set_terminated(run.info.run_id, "KILLED")


def runs_that_are(status: str) -> list[Run]:
    """Return every run of a status, of all experiments."""
    return mlflow.search_runs(  # type: ignore[no-any-return]
        search_all_experiments=True,
        filter_string=f"attributes.status = '{status}'",
        output_format="list",
    )


def orphaned_checkpoints() -> Iterator[Finding]:
    """Yield the checkpoints of runs unknown to the store; a deleted run can still be restored."""
    for experiment in mlflow.search_experiments(view_type=ViewType.ALL):
        folder = local_folder(experiment.artifact_location)
        for checkpoint in folder.glob(f"*/artifacts/{CHECKPOINT}") if folder else ():
            run_id = checkpoint.parents[2].name
            if not re.fullmatch("[0-9a-f]{32}", run_id):
                continue  # no folder that MLflow has made: somebody's copy
            untouched = time.time() - checkpoint.stat().st_mtime
            if untouched > SECONDS_UNTOUCHED and not is_known(run_id):
                size = checkpoint.stat().st_size / 1e6
                yield Finding(
                    f"checkpoint {checkpoint} ({size:,.1f} MB) belongs to no run of this store",
                    partial(delete, checkpoint),
                )


def delete(checkpoint: Path) -> None:
    """Delete a checkpoint.

    Raises:
        UserError: the file system refuses.

    """
    try:
        checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"fix=True: {checkpoint} cannot be deleted ({error.strerror})") from None


def checkpoints_of_finished_runs() -> Iterator[Path]:
    """Yield their local folders; a run that has finished is never resumed."""
    for run in runs_that_are("FINISHED"):
        folder = local_folder(run.info.artifact_uri)
        if folder:
            yield (folder / CHECKPOINT).parent


def local_folder(uri: str) -> Path | None:
    """Return the folder of a location of artifacts, and None if it is on a server."""
    location = urlparse(uri)
    return Path(url2pathname(location.path)) if location.scheme in ("", "file") else None


def is_known(run_id: str) -> bool:
    """Return whether the store has a run, deleted or not."""
    try:
        MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True

"""What killed processes leave behind: runs that say RUNNING, incomplete models and checkpoints.

A run is taken for abandoned only if its process was one of this machine and has ended. It can be
resumed afterwards as before.
"""

import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow.entities import LoggedModelStatus, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.tracking.locations import to_path
from harness.tracking.processes import process_gone, process_of, serves_mlflow_run
from harness.tracking.run import CHECKPOINT, LOCAL_COPY
from harness.tracking.store import last_attempt

PARTIAL = str(Path(CHECKPOINT).with_suffix(".partial"))
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
        if owner_gone(run):
            name, process = run.info.run_name, process_of(run.data.tags).get("process_id")
            whose = f"its process {process} has ended" if process else "`mlflow run` has ended"
            text = f"run {run.info.run_id} ({name}) says RUNNING, but {whose}"
            yield Finding(text, partial(close, run))


def owner_gone(run: Run) -> bool:
    """Return whether it is certain that no process works on a run that says RUNNING.

    One that `mlflow run` has made names no process until ours has opened it. Where the store is a
    file, its processes are those of this machine.
    """
    tags = run.data.tags
    if process_of(tags) or "mlflow.project.entryPoint" not in tags:
        return process_gone(tags)
    is_local = mlflow.get_tracking_uri().startswith(("sqlite:", "file:"))
    return is_local and not serves_mlflow_run(run.info.run_id, run.info.start_time / 1000)


def close(run: Run) -> None:
    """End a run as KILLED, with the reason; unless somebody has resumed it meanwhile."""
    client, run_id = MlflowClient(), run.info.run_id
    if owner_gone(client.get_run(run_id)):  # on a server there is no lock: ask again
        client.set_tag(run_id, "failure", "its process ended without ending the run")
        client.set_terminated(run_id, "KILLED")


@contextlib.contextmanager
def children_closed(parent_id: str) -> Iterator[None]:
    """Afterwards end the children of a run whose process is gone: workers that were killed."""
    try:
        yield
    finally:
        with last_attempt():
            for run in runs_that_are("RUNNING"):
                if run.data.tags.get("mlflow.parentRunId") == parent_id:
                    close(run)


def incomplete_models() -> Iterator[Finding]:
    """Yield the models that a process had begun to log when it was killed."""
    client, token = MlflowClient(), None
    experiments = [each.experiment_id for each in mlflow.search_experiments()]
    while experiments:
        page = client.search_logged_models(experiments, page_token=token)
        pending = (model for model in page if model.status == LoggedModelStatus.PENDING)
        for model in pending:
            if model.source_run_id and not in_progress(model.source_run_id):
                text = f"model {model.model_id} of run {model.source_run_id} was logged in part"
                yield Finding(text, partial(client.delete_logged_model, model.model_id))
        if not (token := page.token):
            return


def incomplete_checkpoints() -> Iterator[Finding]:
    """Yield what a process was writing, beside the last whole checkpoint, when it was killed."""
    for file, run_id, untouched in files_of_runs(PARTIAL):
        known = is_known(run_id)
        if not in_progress(run_id) if known else untouched > SECONDS_UNTOUCHED:
            yield Finding(f"checkpoint {file} was written in part", partial(delete, file))


def in_progress(run_id: str) -> bool:
    """Return whether a process may be at work on a run."""
    if not is_known(run_id):
        return False
    run = MlflowClient().get_run(run_id)
    return run.info.status == "RUNNING" and not owner_gone(run)


def runs_that_are(status: str) -> list[Run]:
    """Return every run of a status, of all experiments."""
    query = f"attributes.status = '{status}'"
    return mlflow.search_runs(  # type: ignore[no-any-return]
        filter_string=query, search_all_experiments=True, output_format="list"
    )


def orphaned_checkpoints() -> Iterator[Finding]:
    """Yield the checkpoints of runs unknown to the store; a deleted run can still be restored."""
    for checkpoint, run_id, untouched in files_of_runs(CHECKPOINT):
        if untouched > SECONDS_UNTOUCHED and not is_known(run_id):
            size = f"{checkpoint.stat().st_size / 1e6:,.1f} MB"
            text = f"checkpoint {checkpoint} ({size}) belongs to no run of this store"
            yield Finding(text, partial(delete, checkpoint))


def files_of_runs(artifact: str) -> Iterator[tuple[Path, str, float]]:
    """Yield an artifact of every local run, with the run's id and the file's age in seconds."""
    for experiment in mlflow.search_experiments(view_type=ViewType.ALL):
        folder = to_path(experiment.artifact_location)
        for file in folder.glob(f"*/artifacts/{artifact}") if folder else ():
            run_id = file.parents[2].name
            if re.fullmatch("[0-9a-f]{32}", run_id):  # else no folder of MLflow: somebody's copy
                yield file, run_id, time.time() - file.stat().st_mtime


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

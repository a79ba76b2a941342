"""The life of a run: opened, named, tagged, and ended with the status that is true of it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from harness.config import Configuration, TrainingConfig
from harness.errors import UserError
from harness.signals import Terminated
from harness.tracking.failures import failure_of
from harness.tracking.git import git_tags
from harness.tracking.processes import process_tags
from harness.tracking.run import CONFIGURATION, Run, checkpoint_of
from harness.tracking.store import (
    last_attempt,
    set_mlflow_experiment,
    store_errors,
    store_lock,
)


@contextlib.contextmanager
def track(
    config: TrainingConfig,
    device_name: str,
    *,
    parent_id: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Run]:
    """Open the run that `config` asks for, and end it with its final status.

    The run is a new one; or the one that `mlflow run` has made for this process; or, with
    `config.resume`, an earlier one. With `parent_id` it is a child of that run. It ends
    FINISHED; KILLED where the user interrupts it; FAILED on any other exception, with the reason
    in the tag `failure`. A new run that ends for a `UserError` is deleted: nothing was computed.
    """
    with final_status(delete_failed_starts=not config.resume):
        active = _start(config, parent_id, name, tags)
        known = {"architecture": config.family, "entry_point": config.entry_point}
        known |= {"seed": str(config.seed), "device": device_name}
        record(active, config.as_parameters(), known)
        run = Run(active.info.run_id, config)
        try:
            yield run
            run.flush()
        except BaseException as error:
            command = f"python -m {config.module()} --resume {run.run_id}"
            note_how_to_resume(error, run.run_id, command)
            with last_attempt():
                run.flush()
            raise


@contextlib.contextmanager
def track_command(
    config: Configuration, mlflow_experiment: str, *, delete_failed_starts: bool = True
) -> Iterator[str]:
    """Open a run for a command that trains nothing itself, and yield its id; see `track`."""
    tags = {"entry_point": config.entry_point, **process_tags()}
    with final_status(delete_failed_starts=delete_failed_starts):
        with store_errors(), store_lock():
            set_mlflow_experiment(mlflow_experiment)
            active = mlflow.start_run(tags=tags)
            mlflow.set_tag("mlflow.runName", config.as_name())
        record(active, config.as_parameters(), tags)
        yield active.info.run_id


@contextlib.contextmanager
def reopen(run_id: str, config: TrainingConfig) -> Iterator[Run]:
    """Open a run that has finished, to add to it; it ends FINISHED again, or FAILED."""
    with final_status(delete_failed_starts=False):
        with store_errors(), store_lock():
            mlflow.start_run(run_id, nested=True)
        yield Run(run_id, config)


@contextlib.contextmanager
def final_status(*, delete_failed_starts: bool) -> Iterator[None]:
    """End the run that is started within with its final status; see `track`."""
    deletable = delete_failed_starts and "MLFLOW_RUN_ID" not in os.environ
    outer = mlflow.active_run()
    try:
        yield
    except BaseException as error:
        active = mlflow.active_run()
        if active is not None and (outer is None or active.info.run_id != outer.info.run_id):
            interrupted = isinstance(error, KeyboardInterrupt | Terminated)
            with last_attempt():
                mlflow.end_run("KILLED" if interrupted else "FAILED")
                reason = f"{type(error).__name__}: {error}".split("\n")[0]
                MlflowClient().set_tag(active.info.run_id, "failure", reason)
                if deletable and isinstance(error, UserError):
                    MlflowClient().delete_run(active.info.run_id)
        raise
    mlflow.end_run("FINISHED")


def note_how_to_resume(error: BaseException, run_id: str, command: str) -> None:
    """Add to a failure of disk, network or store how the run is resumed; the last note counts."""
    if failure_of(error) is not None:
        error.add_note(f"to resume run {run_id} afterwards: {command}")


def record(
    active: mlflow.ActiveRun, parameters: Mapping[str, Any], tags: Mapping[str, Any]
) -> None:
    """Log what is known of a run before it begins."""
    # `mlflow run` has logged the values it was given, as text: 1e-3 is not to be changed to 0.001.
    known = active.data.params
    mlflow.log_params({k: v for k, v in parameters.items() if k not in known})
    mlflow.log_dict(dict(parameters), CONFIGURATION)
    origin = {k: v for k, v in git_tags().items() if k not in active.data.tags}
    mlflow.set_tags({**tags, **process_tags(), **origin})
    if "failure" in active.data.tags:
        mlflow.delete_tag("failure")


def detach_from_parent_run(run_id: str) -> None:
    """Leave a note in the run that `mlflow run` has made, where another one is resumed instead."""
    if wrapper := os.environ.pop("MLFLOW_RUN_ID", None):
        note = f"Resumed run {run_id}; see there."
        MlflowClient().set_tag(wrapper, "mlflow.note.content", note)


def _start(
    config: TrainingConfig, parent_id: str | None, name: str | None, tags: Mapping[str, str]
) -> mlflow.ActiveRun:
    """Start the run: a new one, the one that `mlflow run` made, or the one to be resumed."""
    with store_errors(), store_lock():
        if config.resume:
            # A damaged checkpoint is found before the run is touched.
            checkpoint_of(config.resume, 0).load()
            detach_from_parent_run(config.resume)
            # Its process is named before it says RUNNING: nobody is to take it for abandoned.
            for key, value in process_tags().items():
                MlflowClient().set_tag(config.resume, key, value)
            return mlflow.start_run(config.resume, nested=True, log_system_metrics=True)
        set_mlflow_experiment(config.family, parent_id)
        # The seed is how a parent finds its children, however early one was interrupted.
        active = mlflow.start_run(
            nested=parent_id is not None,
            parent_run_id=parent_id,
            log_system_metrics=True,
            tags={"seed": str(config.seed), **process_tags(), **tags},
        )
        # Also in place of the one that `mlflow run` drew.
        name = name or (f"seed {config.seed}" if parent_id else config.as_name())
        mlflow.set_tag("mlflow.runName", name)
        return active

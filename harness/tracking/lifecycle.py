"""The life of a run: opened, named, tagged, and ended with the status that is true of it."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow import ActiveRun
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness import signals
from harness.config import Configuration
from harness.errors import UserError
from harness.tracking.abandoned import runs_that_are
from harness.tracking.failures import failure_of
from harness.tracking.git import DIFF, git_tags, uncommitted_changes
from harness.tracking.processes import of_this_process, process_of, process_tags
from harness.tracking.resume import claim, resume_command
from harness.tracking.run import CONFIGURATION, OF_EPOCHS, Run, checkpoint_of
from harness.tracking.store import (
    last_attempt,
    mlflow_experiment_id,
    require_artifacts,
    store_errors,
    store_lock,
)
from harness.training.config import TrainingConfig

INTERRUPTIONS = (KeyboardInterrupt, signals.Terminated)


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
    FINISHED; KILLED where the user interrupts it, and then the exception has a note that tells how
    to resume it; FAILED on any other exception, with the reason in the tag `failure`. A new run
    that ends for a `UserError` before its first epoch has ended is deleted: nothing was computed.
    """
    with final_status(delete_failed_starts=not config.resume):
        active = _start(config, parent_id, name, tags)
        if parent_id is None:
            print(f"Run {active.info.run_id}: {config.as_name()}", file=sys.stderr)
        known = {"architecture": config.family, "entry_point": config.entry_point}
        known |= {"seed": str(config.seed), "device": device_name}
        record(active, config.as_parameters(), known)
        run = Run(active.info.run_id, config)
        try:
            yield run
            run.flush()
            signals.check()  # the last moment that a run can be interrupted at
        except BaseException as error:
            with last_attempt():
                run.flush()
            command = f"python -m {config.module()} --resume {run.run_id}"
            note_how_to_resume(error, run.run_id, command)
            raise


@contextlib.contextmanager
def track_command(
    config: Configuration, mlflow_experiment: str, *, delete_failed_starts: bool = True
) -> Iterator[str]:
    """Open a run for a command that trains nothing itself, and yield its id; see `track`."""
    tags = {"entry_point": config.entry_point, **process_tags()}
    with final_status(delete_failed_starts=delete_failed_starts):
        with store_errors(), store_lock():
            active = start_new_run(mlflow_experiment, tags=tags)
            mlflow.set_tag("mlflow.runName", config.as_name())
        record(active, config.as_parameters(), tags)
        yield active.info.run_id


@contextlib.contextmanager
def reopen(run_id: str, config: TrainingConfig) -> Iterator[Run]:
    """Open a run that has finished, to add to it; it ends FINISHED again, or FAILED."""
    with final_status(delete_failed_starts=False):
        with store_errors(), store_lock():
            start_run_again(run_id)
        yield Run(run_id, config)


@contextlib.contextmanager
def final_status(*, delete_failed_starts: bool) -> Iterator[None]:
    """End the run that is started within with its final status; see `track`."""
    deletable = delete_failed_starts and "MLFLOW_RUN_ID" not in os.environ
    outer = mlflow.active_run()
    try:
        yield
        signals.check()
    except BaseException as error:
        active = mlflow.active_run()
        if active is not None and (outer is None or active.info.run_id != outer.info.run_id):
            with last_attempt():
                mlflow.end_run("KILLED" if isinstance(error, INTERRUPTIONS) else "FAILED")
                reason = f"{type(error).__name__}: {error}".split("\n")[0]
                MlflowClient().set_tag(active.info.run_id, "failure", reason)
                if deletable and isinstance(error, UserError) and not _has_results(active):
                    MlflowClient().delete_run(active.info.run_id)
        raise
    mlflow.end_run("FINISHED")


def _has_results(run: mlflow.entities.Run) -> bool:
    """Return whether an epoch of a run, or of one below it, is logged."""
    client = MlflowClient()
    query = f"tags.mlflow.parentRunId = '{run.info.run_id}'"
    below = client.search_runs([run.info.experiment_id], query)
    own = client.get_run(run.info.run_id).data.metrics
    return OF_EPOCHS in own or any(map(_has_results, below))


def start_new_run(architecture: str, parent_id: str | None = None, **options: Any) -> ActiveRun:
    """Start a run: a new one, or the one that `mlflow run` has made for this process.

    Raises:
        UserError: MLFLOW_RUN_ID names a run that something was logged to already, or artifacts
            would go to where the store was before it was moved.

    """
    client = MlflowClient()
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        _require_unused_run()
        experiment_id = client.get_run(run_id).info.experiment_id
    else:
        options["experiment_id"] = experiment_id = mlflow_experiment_id(architecture, parent_id)
    require_artifacts(client.get_experiment(experiment_id).artifact_location)
    return mlflow.start_run(nested=parent_id is not None, parent_run_id=parent_id, **options)


def start_run_again(run_id: str, **options: Any) -> ActiveRun:
    """Start a run that exists, and name this process as the one that works on it."""
    MlflowClient().log_batch(run_id, tags=[RunTag(*tag) for tag in process_tags().items()])
    return mlflow.start_run(run_id, nested=True, **options)


def require_unused_run() -> None:
    """Raise a `UserError` if MLFLOW_RUN_ID names a run that something was logged to already.

    `mlflow run` sets it to a run that it has just made; left in a shell, it would lead every
    command to overwrite that run.
    """
    if "MLFLOW_RUN_ID" in os.environ:
        with store_errors(), store_lock():
            _require_unused_run()


def end_unused_run() -> None:
    """End the run that `mlflow run` has made, for a process that is interrupted before it began."""
    with contextlib.suppress(UserError, MlflowException):
        require_unused_run()
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            MlflowClient().set_terminated(run_id, "KILLED")


def _require_unused_run() -> None:
    if not (run_id := os.environ.get("MLFLOW_RUN_ID")):
        return
    hint = "unset the variable for a new run"
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise UserError(f"MLFLOW_RUN_ID={run_id}: the store has no such run; {hint}") from None
        raise
    if run.info.lifecycle_stage == "deleted":
        raise UserError(f"MLFLOW_RUN_ID={run_id}: that run is deleted; {hint}")
    if run.info.status == "FINISHED":
        raise UserError(f"MLFLOW_RUN_ID={run_id}: that run has finished; {hint}")
    if run.info.status != "RUNNING" or process_of(run.data.tags):
        hint += ", or resume that one with --resume"
        raise UserError(f"MLFLOW_RUN_ID={run_id}: that run was begun before; {hint}")


def note_how_to_resume(error: BaseException, run_id: str, command: str) -> None:
    """Add to what has ended a run how it is resumed; the last note counts.

    Not to a fault of the code, which would end it again.
    """
    if isinstance(error, INTERRUPTIONS):
        error.add_note(f"Run {run_id} was interrupted. To resume it:\n  {resume_command(command)}")
    elif failure_of(error) is not None:
        error.add_note(f"to resume run {run_id} afterwards: {resume_command(command)}")


def _kill_open_runs() -> None:
    """End the runs of this process and its workers, which a repeated Ctrl-C ends."""
    for run in runs_that_are("RUNNING"):
        if of_this_process(run.data.tags):
            MlflowClient().set_terminated(run.info.run_id, "KILLED")
            MlflowClient().set_tag(run.info.run_id, "failure", "KeyboardInterrupt, twice")
            print(f"Run {run.info.run_id} was interrupted", file=sys.stderr)


signals.before_exit.append(_kill_open_runs)


def record(active: ActiveRun, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
    """Log what is known of a run before it begins."""
    # `mlflow run` has logged the values it was given, as text: 1e-3 is not to be changed to 0.001.
    known = active.data.params
    mlflow.log_params({k: v for k, v in parameters.items() if k not in known})
    origin = {k: v for k, v in git_tags().items() if k not in active.data.tags}
    mlflow.set_tags({**tags, **process_tags(), **origin})
    if "failure" in active.data.tags:
        mlflow.delete_tag("failure")
    # Once for runs and their children, and not again where a run is resumed with other code.
    if origin.get("git_dirty") == "True" and "mlflow.parentRunId" not in active.data.tags:
        mlflow.log_text(uncommitted_changes(), DIFF)
    mlflow.log_dict(dict(parameters), CONFIGURATION)  # last: a run that has it can be resumed


def detach_from_parent_run(run_id: str) -> None:
    """Leave a note in the run that `mlflow run` has made, where another one is resumed instead."""
    if os.environ.get("MLFLOW_RUN_ID") != run_id:
        _require_unused_run()
    wrapper = os.environ.pop("MLFLOW_RUN_ID", run_id)
    if wrapper != run_id:
        MlflowClient().set_tag(wrapper, "mlflow.note.content", f"Resumed run {run_id}; see there.")


def _start(
    config: TrainingConfig, parent_id: str | None, name: str | None, tags: Mapping[str, str]
) -> ActiveRun:
    """Start the run: a new one, the one that `mlflow run` made, or the one to be resumed."""
    with store_errors(), store_lock():
        if config.resume:
            # A damaged checkpoint is found before the run is touched.
            checkpoint_of(config.resume, 0).load()
            detach_from_parent_run(config.resume)
            claim(config.resume)
            return start_run_again(config.resume, log_system_metrics=True)
        # The seed is how a parent finds its children, however early one was interrupted.
        tags = {"seed": str(config.seed), **process_tags(), **tags}
        active = start_new_run(config.family, parent_id, log_system_metrics=True, tags=tags)
        # Also in place of the one that `mlflow run` drew.
        name = name or (f"seed={config.seed}" if parent_id else config.as_run_name())
        mlflow.set_tag("mlflow.runName", name)
        return active

"""The runs of a study in MLflow: one parent, and one child for each trial."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import mlflow
import optuna
from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from optuna.trial import FrozenTrial, TrialState

from harness import signals
from harness.fingerprints import DataSet
from harness.tracking.abandoned import close
from harness.tracking.git import git_tags
from harness.tracking.lifecycle import (
    detach_from_parent_run,
    final_status,
    note_how_to_resume,
    record,
    start_new_run,
    start_run_again,
)
from harness.tracking.processes import process_tags
from harness.tracking.run import as_metrics, in_batches
from harness.tracking.store import store_errors, store_lock
from harness.training.config import TrainingConfig
from tuning.retries import INTERRUPTED

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
TRIAL, FINALIST = "trial", "finalist"


class StudyRuns:
    """Writes a study to MLflow: the parent run, and a child run for each trial and finalist."""

    def __init__(self, parent_id: str, study_name: str, device_name: str):
        self.parent_id = parent_id
        self.study_name = study_name
        self._client = MlflowClient()
        self._experiment_id = self._client.get_run(parent_id).info.experiment_id
        self._tags = {  # what is the same for every child, looked up once
            **resolve_tags(),
            **git_tags(),
            **process_tags(),
            "optuna.study_name": study_name,
            "mlflow.parentRunId": parent_id,
            "device": device_name,
        }

    def open_trial(self, number: int, config: TrainingConfig) -> str:
        """Open the run of a trial, and return its id."""
        tags = {
            **self._tags,
            "architecture": config.family,
            "entry_point": config.entry_point,
            "seed": str(config.seed),
            "optuna.trial_number": str(number),
            "optuna.trial_state": TrialState.RUNNING.name,
            "tuning.stage": TRIAL,
        }
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=f"trial {number}")
        parameters = [Param(name, str(v)) for name, v in config.as_parameters().items()]
        self._client.log_batch(run.info.run_id, params=parameters)
        return str(run.info.run_id)

    def log_epochs(self, run_id: str, rows: Mapping[int, Mapping[str, float]]) -> None:
        """Log the rows of some epochs of a trial."""
        metrics = [m for epoch, row in rows.items() for m in as_metrics(row, epoch)]
        for batch in in_batches(metrics):
            self._client.log_batch(run_id, metrics=batch)

    def close_trial(
        self,
        run_id: str,
        trial: FrozenTrial,
        metrics: Mapping[str, float],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """End the run of a trial that has ended, with its final metrics, its state and tags."""
        tags = {"optuna.trial_state": trial.state.name, **tags}
        status, failure = STATUS[trial.state], trial.user_attrs.get("failure", "")
        if trial.state == TrialState.FAIL:
            # One whose heartbeat had stopped was failed by another process, without a reason.
            tags["failure"] = failure or "its heartbeat stopped"
            status = "KILLED" if failure.startswith(INTERRUPTED) else status
        run_tags = [RunTag(name, value) for name, value in tags.items()]
        self._client.log_batch(run_id, metrics=as_metrics(metrics, step=0), tags=run_tags)
        self._client.set_terminated(run_id, status)

    def close_orphans(self, trials: Sequence[FrozenTrial]) -> None:
        """Close the runs of trials that have ended while their process could not close them."""
        for run in self.children(TRIAL):
            number = int(run.data.tags["optuna.trial_number"])
            trial = trials[number] if number < len(trials) else None
            if run.info.status == "RUNNING" and trial is not None and trial.state.is_finished():
                alone = trial.values is not None and len(trial.values) == 1
                value = {"best/value": trial.values[0]} if alone else {}
                self.close_trial(run.info.run_id, trial, value)

    def close_finalists(self) -> None:
        """End the runs of finalists whose process is gone."""
        for run in self.children(FINALIST):
            if run.info.status == "RUNNING":
                close(run)

    def children(self, stage: str) -> list[Any]:
        """Return the children of one stage, the oldest first."""
        query = f"tags.mlflow.parentRunId = '{self.parent_id}' and tags.`tuning.stage` = '{stage}'"
        options: dict[str, Any] = {"order_by": ["attributes.start_time"], "output_format": "list"}
        return list(mlflow.search_runs([self._experiment_id], query, **options))


@contextlib.contextmanager
def open_parent(
    family: str, parameters: Mapping[str, Any], study: optuna.Study, command: str
) -> Iterator[str]:
    """Open the parent run of a study, or resume the one it has; yield its id.

    Where a run is open already, such as that of a comparison, a new one is its child.

    It ends with its final status: see `harness.tracking.lifecycle.final_status`. The command is
    what resumes the study.
    """
    tags = {
        "architecture": family,
        "entry_point": "tune",
        **DataSet(*study.user_attrs["data"]).tags,
    }
    tags["optuna.study_name"] = study.study_name
    parent_id = study.user_attrs.get("parent_id")
    with final_status(delete_failed_starts=False):
        with store_errors(), store_lock():
            if parent_id is None or not _exists(parent_id):  # or in another tracking store
                outer = mlflow.active_run()
                above = outer.info.run_id if outer else None
                active = start_new_run(family, above, tags={**tags, **process_tags()})
            else:
                detach_from_parent_run(parent_id)
                active = start_run_again(parent_id, tags=tags)
            study.set_user_attr("parent_id", active.info.run_id)
            mlflow.set_tag("mlflow.runName", f"{family}-study")
        record(active, parameters, tags)
        try:
            yield active.info.run_id
            signals.check()
        except BaseException as error:
            note_how_to_resume(error, active.info.run_id, command)
            raise


def _exists(run_id: str) -> bool:
    """Whether the tracking store has a run, and it is not deleted."""
    try:
        return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False

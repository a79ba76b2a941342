"""The runs of a study in MLflow: one parent, and one child for each trial."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mlflow
from matplotlib.figure import Figure
from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from optuna.trial import FrozenTrial, TrialState

from experiments.harness import tracking
from experiments.harness.config import TrainingConfig
from tuning.storage import INTERRUPTED

STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAIL: "FAILED",
}
TRIAL, FINALIST = "trial", "finalist"


class StudyRuns:
    """Writes a study to MLflow. Children name their parent by its id, whoever makes them."""

    def __init__(self, parent_id: str, study_name: str, device_name: str):
        self.parent_id = parent_id
        self.study_name = study_name
        self._client = MlflowClient()
        self._experiment_id = self._client.get_run(parent_id).info.experiment_id
        # What is the same for every child is looked up once.
        self._tags = {
            **resolve_tags(),
            **tracking.git_tags(),
            **tracking.process_tags(),
            **child_tags(study_name),
            "mlflow.parentRunId": parent_id,
            "device": device_name,
        }

    def open_trial(self, number: int, config: TrainingConfig) -> str:
        """Open the run of a trial, and return its id."""
        tags = {
            **self._tags,
            "architecture": config.family,
            "entry_point": config.entry_point,
            "seed": config.seed,
            "optuna.trial_number": number,
            "optuna.trial_state": TrialState.RUNNING.name,
            "tuning.stage": TRIAL,
        }
        tags = {name: str(value) for name, value in tags.items()}
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=f"trial {number}")
        parameters = [Param(name, str(v)) for name, v in config.as_parameters().items()]
        self._client.log_batch(run.info.run_id, params=parameters)
        return str(run.info.run_id)

    def log_epochs(self, run_id: str, rows: Mapping[int, Mapping[str, float]]) -> None:
        """Log the rows of some epochs of a trial."""
        metrics = [m for epoch, row in rows.items() for m in tracking.as_metrics(row, epoch)]
        for batch in tracking.in_batches(metrics):
            self._client.log_batch(run_id, metrics=batch)

    def close_trial(self, run_id: str, trial: FrozenTrial, summary: Mapping[str, float]) -> None:
        """End the run of a trial that has ended, with its numbers and its state."""
        tags = {"optuna.trial_state": trial.state.name}
        status, failure = STATUS[trial.state], trial.user_attrs.get("failure", "")
        if trial.state == TrialState.FAIL:
            # One whose heart had stopped was failed by another process, without a word.
            tags["failure"] = failure or "its process was not heard of any more"
            status = "KILLED" if failure.startswith(INTERRUPTED) else status
        self._client.log_batch(
            run_id,
            metrics=tracking.as_metrics(summary, step=0),
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        self._client.set_terminated(run_id, status)

    def close_orphans(self, trials: Sequence[FrozenTrial]) -> None:
        """Close the runs of trials that have ended while nobody was left to say so in MLflow."""
        for run in self.children(TRIAL):
            number = int(run.data.tags["optuna.trial_number"])
            trial = trials[number] if number < len(trials) else None
            if run.info.status == "RUNNING" and trial is not None and trial.state.is_finished():
                value = {} if trial.value is None else {"best/value": trial.value}
                self.close_trial(run.info.run_id, trial, value)

    def close_finalists(self) -> None:
        """End the runs of finalists whose process is gone."""
        for run in self.children(FINALIST):
            if run.info.status == "RUNNING" and tracking.process_gone(run.data.tags):
                self._client.set_tag(run.info.run_id, "failure", "its process was killed")
                self._client.set_terminated(run.info.run_id, "KILLED")

    def children(self, stage: str) -> list[Any]:
        """Return the children of one stage, the oldest first."""
        query = f"tags.mlflow.parentRunId = '{self.parent_id}' and tags.`tuning.stage` = '{stage}'"
        found, token = [], None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], query, order_by=["attributes.start_time"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def log_figures(self, figures: Mapping[str, Figure]) -> None:
        """Log the parent's pictures as `figures/<name>.png`."""
        for name, figure in figures.items():
            self._client.log_figure(self.parent_id, figure, f"figures/{name}.png")

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers of the whole study to the parent."""
        self._client.log_batch(self.parent_id, metrics=tracking.as_metrics(metrics, step=0))

    def log_text(self, text: str, path: str) -> None:
        """Log a file of text to the parent."""
        self._client.log_text(self.parent_id, text, path)

    def describe(self, text: str) -> None:
        """Set the parent's description."""
        self._client.set_tag(self.parent_id, "mlflow.note.content", text)


def child_tags(study_name: str) -> dict[str, str]:
    """Return what the parent and every child is found by."""
    return {"optuna.study_name": study_name}


def best_name(metric: str) -> str:
    """Return the name of a metric at the epoch that was kept: `best/val_accuracy`."""
    return f"best/{metric.replace('/', '_')}"


def summary(best: Mapping[str, float], best_epoch: int) -> dict[str, float]:
    """Return what sums a training up: validation at the epoch that was kept, and which it was."""
    kept = {best_name(metric): value for metric, value in best.items() if "val/" in metric}
    return {**kept, "best/epoch": best_epoch}


def run_exists(run_id: str) -> bool:
    """Whether the tracking store has a run, and it is not deleted.

    Raises:
        UserError: the store cannot be used.

    """
    with tracking.store_errors(), tracking.store_lock():
        try:
            return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException:
            return False


@contextlib.contextmanager
def open_parent(
    architecture: str,
    parameters: Mapping[str, Any],
    study_name: str,
    parent_id: str | None,
    remember: Callable[[str], None],
) -> Iterator[str]:
    """Open the parent run of a study, or go on with the one it has; yield its id.

    It ends with the status it deserves: see `tracking.deserved_end`. `remember` is told its id
    as soon as there is one.
    """
    tags = {"architecture": architecture, "entry_point": "tune", **child_tags(study_name)}
    with tracking.deserved_end(delete_mistakes=False):
        with tracking.store_errors(), tracking.store_lock():
            if parent_id is None:
                tracking.choose_mlflow_experiment(architecture)
            else:
                tracking.leave_wrapper(parent_id)
            active = mlflow.start_run(parent_id, tags={**tags, **tracking.process_tags()})
            remember(active.info.run_id)
            mlflow.set_tag("mlflow.runName", f"{architecture}-study")
        tracking.record(active, parameters, tags)
        yield active.info.run_id

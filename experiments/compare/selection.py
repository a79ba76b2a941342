"""Which runs are compared."""

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from experiments.compare.config import CompareConfig
from harness.config import as_words, nearest
from harness.errors import UserError


def select(config: CompareConfig) -> list[Run]:
    """Return the finished training runs that have the metric and all that is asked for.

    Raises:
        UserError: an experiment, a study or a run does not exist, or no run is left.

    """
    trained = {run.info.run_id: run for run in training_runs(config)}
    for run_id in config.runs:
        if run_id not in trained:
            raise UserError(f"runs={run_id}: {_why_not(run_id, config)}")
    tags = dict(map(_name_and_value, config.tags))
    if config.study:
        tags["optuna.study_name"] = config.study
    selected = [
        run
        for run_id, run in trained.items()
        if (not config.runs or run_id in config.runs) and tags.items() <= run.data.tags.items()
    ]
    if config.study and not selected:
        studies = {run.data.tags.get("optuna.study_name", "") for run in trained.values()}
        if config.study not in studies:
            hint = nearest(config.study, studies)
            raise UserError(f"study={config.study}: no run is of a study of that name{hint}")
    if not selected:
        asked = " ".join(as_words(config.changes()))
        metric = f"no finished run with the metric {config.metric}"
        raise UserError(f"{asked}: {metric} is among these" if asked else f"there is {metric}")
    return selected


def training_runs(config: CompareConfig) -> list[Run]:
    """Return the finished runs of the experiment that have trained, and have the metric.

    Raises:
        UserError: the experiment does not exist.

    """
    known = {each.name: each.experiment_id for each in mlflow.search_experiments()}
    if config.experiment and config.experiment not in known:
        hint = nearest(config.experiment, known, f"; there are {', '.join(known)}")
        raise UserError(f"experiment={config.experiment}: no such experiment{hint}")
    finished = mlflow.search_runs(
        [known[config.experiment]] if config.experiment else list(known.values()),
        "attributes.status = 'FINISHED'",
        output_format="list",
    )
    # The parents of studies and of several seeds have metrics of their own, but no epoch.
    return [run for run in finished if {"best/epoch", config.metric} <= run.data.metrics.keys()]


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"tags={text}: has to be name=value")
    return name, value


def _why_not(run_id: str, config: CompareConfig) -> str:
    """Say why a run that was named cannot be compared."""
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException:
        return "no run has that id"
    if run.info.lifecycle_stage == "deleted":
        return "that run is deleted"
    if run.info.status != "FINISHED":
        return f"that run is {run.info.status}; only finished ones are compared"
    if "best/epoch" not in run.data.metrics:
        return "that run has trained nothing itself; its children may have"
    if config.metric not in run.data.metrics:
        return f"that run has no metric {config.metric}"
    return f"that run is not in experiment {config.experiment}"

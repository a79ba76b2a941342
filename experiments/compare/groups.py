"""Which runs are compared, and in which groups."""

import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from experiments.compare.config import CompareConfig
from harness.errors import UserError
from harness.wording import as_words, nearest


def select(config: CompareConfig) -> list[Run]:
    """Return the finished training runs that have the metric and all that is asked for.

    A UserError says which experiment, study or run does not exist, or that no run is left.
    """
    trained = {run.info.run_id: run for run in training_runs(config)}
    for run_id in config.runs:
        if run_id not in trained:
            raise UserError(f"runs={run_id}: {_why_not(run_id, config)}")
    tags = wanted_tags(config)
    studies = {run.data.tags.get("optuna.study_name", "") for run in trained.values()}
    if config.study and config.study not in studies:
        hint = nearest(config.study, studies)
        raise UserError(f"study={config.study}: no run is of a study of that name{hint}")
    selected = [
        run
        for run_id, run in trained.items()
        if (not config.runs or run_id in config.runs) and tags.items() <= run.data.tags.items()
    ]
    if not selected:
        asked = " ".join(as_words(config.changes()))
        metric = f"no finished run with the metric {config.metric}"
        raise UserError(f"{asked}: {metric} is among these" if asked else f"there is {metric}")
    return selected


def wanted_tags(config: CompareConfig) -> dict[str, str]:
    """Return the tags of the runs that are asked for; a UserError if one is no name=value."""
    for tag in config.tags:
        if "=" not in tag:
            raise UserError(f"tags={tag}: has to be name=value")
    tags = dict(tag.split("=", 1) for tag in config.tags)
    return tags | ({"optuna.study_name": config.study} if config.study else {})


def training_runs(config: CompareConfig) -> list[Run]:
    """Return the finished runs of the experiment that have trained, and a value of the metric."""
    known = {each.name: each.experiment_id for each in mlflow.search_experiments()}
    if config.experiment and config.experiment not in known:
        hint = nearest(config.experiment, known, f"; there are {', '.join(known)}")
        raise UserError(f"experiment={config.experiment}: no such experiment{hint}")
    ids = [known[config.experiment]] if config.experiment else list(known.values())
    finished = mlflow.search_runs(ids, "attributes.status = 'FINISHED'", output_format="list")
    # The parents of studies and of several seeds have metrics of their own, but no epoch.
    trained = [run for run in finished if "best/epoch" in run.data.metrics]
    return [run for run in trained if is_finite(run.data.metrics.get(config.metric, math.nan))]


def is_finite(value: float) -> bool:
    """Return whether a logged value is a number: MLflow's database keeps 1.8e308 for infinity."""
    return math.isfinite(value) and abs(value) < sys.float_info.max


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
    if not is_finite(run.data.metrics[config.metric]):
        return f"its {config.metric} is not finite"
    return f"that run is not in experiment {config.experiment}"


class Member(NamedTuple):
    """A run of a group; nan stands for what is not known."""

    run: Run
    value: float
    """Of the metric."""
    test_accuracy: float
    training_seconds: float
    prediction_seconds: float
    """For one sample, on the CPU."""
    num_parameters: float
    curve: np.ndarray
    """The metric by epoch, (epochs,); empty where it is not known."""


Groups = dict[str, list[Member]]
"""By the groups' names. The best group comes first, and in each group the best run."""


def grouped(config: CompareConfig, runs: Sequence[Run]) -> Groups:
    """Group runs by a parameter of all of them, or else by a tag; a UserError if none has it."""
    groups: Groups = {}
    for run, name in zip(runs, group_names(config, runs, runs), strict=True):
        if name is not None:
            groups.setdefault(name, []).append(member_of(config, run))
    if not groups:
        hint = f"; they differ in {', '.join(differing(runs)) or 'nothing'}"
        raise UserError(f"group_by={config.group_by}: no parameter or tag of these runs{hint}")
    sign = -config.sign
    for members in groups.values():
        members.sort(key=lambda member: sign * member.value)
    means = {name: statistics.fmean(m.value for m in members) for name, members in groups.items()}
    return {name: groups[name] for name in sorted(groups, key=lambda name: sign * means[name])}


def group_names(
    config: CompareConfig, runs: Sequence[Run], selected: Sequence[Run]
) -> list[str | None]:
    """Return the group of each run, None of one that has none, as those selected are grouped."""
    # A cnn has a parameter `architecture`, and like all runs a tag of that name.
    is_parameter = all(config.group_by in run.data.params for run in selected)
    known = [run.data.params if is_parameter else run.data.params | run.data.tags for run in runs]
    return [normalised(k[config.group_by]) if config.group_by in k else None for k in known]


def failures(config: CompareConfig, groups: Groups) -> dict[str, int]:
    """Return how many runs of each group have failed: its mean is of those that have not."""
    members = [member.run for each in groups.values() for member in each]
    if config.runs:
        return {}
    places = sorted({run.info.experiment_id for run in members})
    failed = mlflow.search_runs(places, "attributes.status = 'FAILED'", output_format="list")
    tags = wanted_tags(config).items()
    of_these = [
        run
        for run in failed
        if tags <= run.data.tags.items() and run.data.params.get("seeds", "1") == "1"
    ]
    counts = Counter(group_names(config, of_these, members))
    return {name: counts[name] for name in groups if counts[name]}


def normalised(value: str) -> str:
    """Return a logged value in one spelling: `mlflow run` quotes it, and keeps 1e-3 as it is."""
    if len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1]
    try:
        return f"{float(value):.12g}"
    except ValueError:
        return value


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the parameters that do not have the same value in all runs."""
    values: dict[str, set[str]] = {}
    for name in sorted({name for run in runs for name in run.data.params}):
        values[name] = {normalised(run.data.params.get(name, "")) for run in runs}
    return [name for name, different in values.items() if len(different) > 1]


def member_of(config: CompareConfig, run: Run) -> Member:
    """Return what of a run is compared."""
    metrics = run.data.metrics
    return Member(
        run,
        value=metrics[config.metric],
        test_accuracy=metrics.get("test/accuracy", np.nan),
        training_seconds=float(by_epoch(run, "epoch_seconds").sum()) or np.nan,
        prediction_seconds=metrics.get("prediction_seconds", np.nan),
        num_parameters=metrics.get("num_parameters", np.nan),
        curve=by_epoch(run, config.metric.replace("best/val_", "val/")),
    )


def by_epoch(run: Run, metric: str) -> np.ndarray:
    """Return a metric by epoch, (epochs,): nothing of one that is logged once, without epoch."""
    if metric not in run.data.metrics:
        return np.empty(0)
    points = MlflowClient().get_metric_history(run.info.run_id, metric)
    points = sorted((point for point in points if point.step), key=lambda point: point.step)
    return np.array([point.value for point in points])

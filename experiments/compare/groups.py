"""Runs in groups, with what of each run is compared."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from experiments.compare.config import CompareConfig
from harness.errors import UserError


class Member(NamedTuple):
    """A run of a group; nan stands for what is not known."""

    run: Run
    value: float
    """Of the metric."""
    test: float
    """Test accuracy."""
    seconds: float
    """Of training."""
    parameters: float
    """Number of parameters of the model."""
    curve: np.ndarray
    """The metric by epoch, (epochs,); empty where it is not known."""


Groups = dict[str, list[Member]]
"""By the groups' names. The best group comes first, and in each group the best run."""


def grouped(config: CompareConfig, runs: Sequence[Run]) -> Groups:
    """Group runs by a parameter that all of them have, or else by a tag.

    Raises:
        UserError: no run has such a parameter or tag.

    """
    # A cnn has a parameter `architecture`, and like all runs a tag of that name.
    is_parameter = all(config.group_by in run.data.params for run in runs)
    groups: Groups = {}
    for run in runs:
        known = run.data.params if is_parameter else run.data.params | run.data.tags
        if config.group_by in known:
            name = normalised(known[config.group_by])
            groups.setdefault(name, []).append(member_of(config, run))
    if not groups:
        hint = f"; they differ in {', '.join(differing(runs)) or 'nothing'}"
        raise UserError(f"group_by={config.group_by}: no parameter or tag of these runs{hint}")
    sign = 1 if config.lower_is_better else -1
    for members in groups.values():
        members.sort(key=lambda member: sign * member.value)
    order = sorted(groups, key=lambda n: sign * statistics.fmean(m.value for m in groups[n]))
    return {name: groups[name] for name in order}


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

    def values(name: str) -> set[str]:
        return {normalised(run.data.params.get(name, "")) for run in runs}

    names = sorted({name for run in runs for name in run.data.params})
    return [name for name in names if len(values(name)) > 1]


def member_of(config: CompareConfig, run: Run) -> Member:
    """Return what of a run is compared."""
    metrics = run.data.metrics
    return Member(
        run,
        value=metrics[config.metric],
        test=metrics.get("test/accuracy", np.nan),
        seconds=float(by_epoch(run, "epoch_seconds").sum()) or np.nan,
        parameters=metrics.get("num_parameters", np.nan),
        curve=by_epoch(run, config.metric.replace("best/val_", "val/")),
    )


def by_epoch(run: Run, metric: str) -> np.ndarray:
    """Return a metric by epoch, (epochs,)."""
    if metric not in run.data.metrics:
        return np.empty(0)
    points = MlflowClient().get_metric_history(run.info.run_id, metric)
    return np.array([point.value for point in sorted(points, key=lambda point: point.step)])

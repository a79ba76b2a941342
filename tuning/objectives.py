"""Studies with several objectives: what is measured, and the points that none other dominates.

A trial dominates another where it is at least as good in every objective, and better in one. Those
that none dominates form the Pareto front; which of them is best is a matter of taste. To the finals
go those nearest to the ideal point, the best of each objective on the front, with every objective
scaled to its range there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from matplotlib.figure import Figure
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.figures import style
from harness.figures.comparison import label_ticks
from harness.metric_direction import maximises
from harness.training.history import best_name
from harness.training.metrics import decimal
from harness.wording import plural

OF_A_MODEL = ("num_parameters", "train_seconds")
"""Objectives that are no metric of validation."""


@dataclass(frozen=True)
class Objective:
    """A number of which more, or less, is better."""

    name: str
    maximise: bool

    def value(self, metrics: Mapping[str, float]) -> float:
        """Return its value among the metrics of a trial."""
        return metrics[best_name(self.name) if self.name.startswith("val/") else self.name]

    def text(self, value: float) -> str:
        """Return a value as people read it."""
        return f"{value:,.0f}" if self.name == "num_parameters" else decimal(value)

    @property
    def direction(self) -> StudyDirection:
        """What Optuna calls it."""
        return StudyDirection.MAXIMIZE if self.maximise else StudyDirection.MINIMIZE


def objective(name: str) -> Objective:
    """Return the objective of a name, which says whether more of it is better.

    Raises:
        UserError: there is no such objective.

    """
    if not name.startswith("val/") and name not in OF_A_MODEL:
        allowed = f"val/..., {', '.join(OF_A_MODEL)}"
        raise UserError(f"objectives={name}: no such objective; allowed are {allowed}")
    return Objective(name, maximises(name, "auto") if name.startswith("val/") else False)


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that none other dominates, the nearest to the ideal point first."""
    trials = study.best_trials
    losses = np.array([trial.values for trial in trials], dtype=float).reshape(len(trials), -1)
    losses *= [-1 if each == StudyDirection.MAXIMIZE else 1 for each in study.directions]
    if not trials:
        return []
    low, high = losses.min(0), losses.max(0)
    distance = np.linalg.norm((losses - low) / np.where(high > low, high - low, 1), axis=1)
    return [trials[index] for index in np.argsort(distance, kind="stable")]


def front_table(study: optuna.Study, objectives: Sequence[Objective]) -> dict[str, list[object]]:
    """Return the front as named columns: trials, their objectives and parameters."""
    trials = front(study)
    columns: dict[str, list[object]] = {"trial": [trial.number for trial in trials]}
    for index, each in enumerate(objectives):
        columns[each.name] = [trial.values[index] for trial in trials]
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        columns[name] = [trial.params.get(name) for trial in trials]
    return columns


def front_figure(study: optuna.Study, objectives: Sequence[Objective]) -> Figure:
    """Draw each further objective against the first one: all trials, the front, the compromise."""
    first, *others = objectives
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = front(study)
    figure, (panels,) = style.canvas(columns=len(others), width=max(7.0, 5.0 * len(others)))
    everything = np.array([trial.values for trial in trials], dtype=float)
    chosen = np.array([trial.values for trial in best], dtype=float)
    for index, (axes, other) in enumerate(zip(panels, others, strict=True), start=1):
        axes.scatter(
            everything[:, index], everything[:, 0], c=style.GREY, s=20, label="complete trial"
        )
        points = chosen[np.argsort(chosen[:, index])]
        label = f"Pareto front ({len(best)})"
        line = "o-" if len(others) == 1 else "o"  # of three objectives, the front is a surface
        axes.plot(points[:, index], points[:, 0], line, color=style.BLUE, ms=7, label=label)
        name = f"nearest to the ideal point: trial {best[0].number}"
        axes.plot(
            chosen[0, index], chosen[0, 0], "*", c=style.VERMILION, mec="white", ms=18, label=name
        )
        if (low := everything[:, index].min()) > 0 and everything[:, index].max() > 10 * low:
            axes.set_xscale("log")
            label_ticks(axes)
        arrows = {True: "higher is better", False: "lower is better"}
        style.titled(
            axes,
            "",
            f"{other.name} ({arrows[other.maximise]})",
            f"{first.name} ({arrows[first.maximise]})",
        )
    count = plural(len(trials), "complete trial")
    figure.suptitle(f"{count}: what each objective costs in the others")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure

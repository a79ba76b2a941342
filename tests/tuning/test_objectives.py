"""Studies with several objectives: the front against a definition by hand, and the whole course."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import create_trial

from harness.errors import UserError
from tests.tuning.lines import SPACE
from tests.tuning.test_study import run_study
from tuning.config import StudyConfig
from tuning.objectives import Objective, front, front_figure, front_table, objective
from tuning.study import prepare

ACCURACY, SIZE = Objective("val/accuracy", maximise=True), Objective("num_parameters", False)


def study_with(values: list[tuple[float, float]]) -> optuna.Study:
    """Return a study of more accuracy and fewer parameters with trials of these values."""
    study = optuna.create_study(directions=[ACCURACY.direction, SIZE.direction])
    distribution = optuna.distributions.FloatDistribution(0, 1)
    for number, pair in enumerate(values):
        params = {"x": number / len(values)}
        study.add_trial(create_trial(values=pair, params=params, distributions={"x": distribution}))
    return study


def test_the_front_is_what_none_other_dominates() -> None:
    generator = np.random.default_rng(0)
    values = [(generator.random(), float(generator.integers(10, 99))) for _ in range(60)]
    study = study_with(values)
    expected = {
        number
        for number, (accuracy, size) in enumerate(values)
        if not any(a >= accuracy and s <= size and (a > accuracy or s < size) for a, s in values)
    }
    found = front(study)
    assert {trial.number for trial in found} == expected
    assert 2 < len(found) < 30
    best = max(values[n][0] for n in expected), min(values[n][1] for n in expected)
    worst = min(values[n][0] for n in expected), max(values[n][1] for n in expected)

    def distance(number: int) -> float:
        first, second = ((best[i] - values[number][i]) / (best[i] - worst[i]) for i in range(2))
        return round(math.hypot(first, second), 9)

    assert [distance(trial.number) for trial in found] == sorted(map(distance, expected))
    table = front_table(study, (ACCURACY, SIZE))
    assert list(table) == ["trial", "val/accuracy", "num_parameters", "x"]
    assert table["num_parameters"] == [values[trial.number][1] for trial in found]


@pytest.mark.parametrize(
    "values", [[(0.5, 10.0)], [(0.5, 10.0), (0.5, 10.0)], [(0.5, 1), (0.9, 99)]]
)
def test_the_front_is_drawn_however_few_trials_there_are(values: list[tuple[float, float]]) -> None:
    figure = front_figure(study_with(values), (ACCURACY, SIZE))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "num_parameters (lower is better)"
    assert axes.get_ylabel() == "val/accuracy (higher is better)"
    assert axes.get_xscale() == ("log" if values[-1][1] == 99 else "linear")


@pytest.mark.slow
def test_a_study_of_two_objectives_from_search_to_finals(store: Path) -> None:
    options: dict[str, Any] = {"objectives": ("val/loss,train_seconds",), "trials": 5}
    options |= {"finalists": 2, "final_seeds": 1, "registered_model_name": "pareto"}
    result = run_study(**options, pruner="median", sampler="random")
    parent = MlflowClient().get_run(result.parent_id)
    assert len(result.study.directions) == 2
    trials = result.study.get_trials()
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    best = front(result.study)[0]
    assert parent.data.metrics["best/val_loss"] == best.values[0]
    assert parent.data.metrics["best/train_seconds"] == best.values[1]
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith(
        f"Nearest to the ideal point of 5 complete trials: **trial {best.number},"
    )
    table = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/tables/pareto_front.csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [int(row["trial"]) for row in rows] == [t.number for t in front(result.study)]
    assert result.version is not None
    assert result.version.tags["metric"] == "val/loss"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objectives": ("val/loss",)}, "objectives=val/loss: have to be two or more"),
        ({"objectives": ("val/loss val/loss",)}, "one of them stands twice"),
        ({"objectives": ("val/loss,beauty",)}, "objectives=beauty: no such objective; allowed are"),
        ({"objectives": ("num_parameters,val/loss",)}, "the first has to be a metric"),
        (
            {"objectives": ("val/loss,train_seconds",), "direction": "maximize"},
            "direction=maximize",
        ),
        ({"objectives": ("val/loss,train_seconds",), "metric": "val/loss"}, "metric=val/loss"),
        ({"objectives": ("val/loss,train_seconds",), "sampler": "cmaes"}, "sampler=cmaes"),
        ({"objectives": ("val/loss,train_seconds",), "pruner": "asha"}, "pruner=asha"),
        ({"objectives": ("val/strangeness,val/loss",)}, "val/strangeness"),
    ],
)
def test_objectives_that_do_not_exist_or_contradict(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(StudyConfig(experiment="line", **values), SPACE)


def test_an_objective_says_whether_more_of_it_is_better() -> None:
    assert objective("val/accuracy").maximise
    assert not objective("val/loss").maximise
    assert not objective("train_seconds").maximise
    metrics = {"best/val_accuracy": 0.5, "num_parameters": 7.0}
    assert ACCURACY.value(metrics) == 0.5
    assert SIZE.value(metrics) == 7
    assert (ACCURACY.text(0.5), SIZE.text(12345.0)) == ("0.5000", "12,345")

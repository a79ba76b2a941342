"""No configuration is trained twice, and a study ends where its space is exhausted."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import TrialState

from harness.search_space import Parameter, Range, choice
from tests.tuning.lines import SPACE
from tests.tuning.test_study import children, run_study
from tuning import figures, parameters, report, study
from tuning.finals import best_configurations
from tuning.space import Space
from tuning.study import StudyResult
from tuning.tried import REPEATS, counted

FOUR = dataclasses.replace(
    SPACE, parameters={"learning_rate": choice(0.1, 0.2), "batch_size": choice(5, 10)}
)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def with_parameters(**searched: Parameter) -> Space:
    return dataclasses.replace(SPACE, parameters=searched)


def trained(result: StudyResult) -> list[dict[str, Any]]:
    """Return the configurations of the trials that have runs, as they were logged."""
    return [run.data.params for run in children(result).values()]


@pytest.mark.parametrize(
    "sampler",
    ["tpe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gp", "cmaes", "random"))],
)
def test_a_space_of_four_configurations_ends_after_four_trials(store: Path, sampler: str) -> None:
    options = {"trials": 7, "sampler": sampler, "study_name": "four"}
    result = run_study(FOUR, **options)
    configurations = trained(result)
    assert len(configurations) == 4
    assert len({(p["learning_rate"], p["batch_size"]) for p in configurations}) == 4
    parent = MlflowClient().get_run(result.parent_id)
    assert parent.data.metrics["trials/complete"] == 4
    assert parent.data.metrics["trials/failed"] == 0
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("Best of 4 complete trials: ")
    assert "The search space is exhausted: each of its configurations was tried." in note
    again = run_study(FOUR, **{**options, "trials": 9}, resume=True)
    assert len(trained(again)) == 4


@pytest.mark.slow
def test_a_grid_is_tried_from_end_to_end(store: Path) -> None:
    result = run_study(trials=50, sampler="grid", grid_points=2, study_name="grid")
    tried = [(float(p["learning_rate"]), int(p["batch_size"])) for p in trained(result)]
    rates = (1e-4, 0.5)
    expected = [(rate, size) for rate in rates for size in (2, 4, 10)]
    assert sorted(tried) == [pytest.approx(pair, rel=1e-3) for pair in expected]


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (Range(0.1, 0.4), (0.1, 0.2, 0.3, 0.4)),
        (Range(0.001, 1.0, log=True), (0.001, 0.01, 0.1, 1.0)),
        (Range(1, 3), (1, 2, 3)),
        (Range(1, 1000, log=True), (1, 10, 100, 1000)),
        (choice("a", "b"), ("a", "b")),
    ],
)
def test_a_range_as_choices(parameter: Parameter, values: tuple[Any, ...]) -> None:
    assert parameters.as_choice(parameter, 4).values == pytest.approx(values)


def test_what_the_sampler_repeats_is_replaced_by_what_was_not_tried(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer trials than configurations: as many as were asked for, and all different."""
    space = with_parameters(learning_rate=choice(0.1, 0.2, 0.3), batch_size=choice(5, 10))
    with figures.quiet():
        stubborn = PartialFixedSampler({"learning_rate": 0.3, "batch_size": 5}, RandomSampler())
    monkeypatch.setattr(study, "sampler", lambda *arguments, **options: stubborn)
    result = run_study(space, trials=5, workers=2)
    trials = result.study.get_trials()
    repeated = [trial for trial in trials if REPEATS in trial.user_attrs]
    assert repeated
    for trial in repeated:
        earlier = trials[trial.user_attrs[REPEATS]]
        assert earlier.params == trial.params
        assert trial.state == TrialState.FAIL
    assert len(counted(trials)) == len(trained(result)) == 5
    assert len({(p["learning_rate"], p["batch_size"]) for p in trained(result)}) == 5
    note = MlflowClient().get_run(result.parent_id).data.tags["mlflow.note.content"]
    assert "exhausted" not in note


@pytest.mark.parametrize(
    ("space", "count"),
    [
        (FOUR, 4),
        (with_parameters(batch_size=Range(2, 10, step=3)), 3),
        (with_parameters(learning_rate=Range(0.1, 0.3, step=0.1), batch_size=Range(4, 5)), 6),
        (
            with_parameters(
                lr_schedule=choice("constant", "step"),
                lr_decay_epochs=Range(1, 3),
                batch_size=choice(5, 10, when={"lr_schedule": ("constant",)}),
            ),
            2 + 3,
        ),
    ],
)
def test_the_points_of_a_space_without_real_numbers(space: Space, count: int) -> None:
    points = list(space.points(random.Random(0)))
    assert len(points) == count
    assert len({space.configuration(point) for point in points}) == count
    assert points != list(space.points(random.Random(1))) or count < 4


def test_real_numbers_are_never_exhausted() -> None:
    points = SPACE.points(random.Random(0))
    rates = {next(points)["learning_rate"] for _ in range(9)}
    assert len(rates) >= 3


def test_no_configuration_is_twice_among_the_finalists() -> None:
    """Rounded to four digits, the best two are the same."""
    made = optuna.create_study(direction="minimize")
    for rate, value in ((0.1, 3.0), (0.2, 1.0), (0.20000001, 1.1), (0.3, 2.0)):
        made.enqueue_trial({"learning_rate": rate, "batch_size": 2})
        trial = made.ask()
        SPACE.suggest(trial)
        made.tell(trial, value)
    found = best_configurations(made, SPACE, 3)
    assert list(found) == ["trial 1", "trial 3", "trial 0"]
    assert [config.learning_rate for config in found.values()] == [0.2, 0.3, 0.1]

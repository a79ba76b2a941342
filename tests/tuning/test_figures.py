"""Pictures of a study: what is drawn equals what the trials say, whatever trials there are."""

import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from harness.figures import style
from tests.harness.figures.layout import drawn
from tuning import figures

METRIC = "validation/balanced_accuracy"
START = datetime(2026, 1, 1)
LONG = "probabilities_"


def of_trials(trials: list[FrozenTrial], direction: str = "maximize") -> optuna.Study:
    """Return a study that has these trials."""
    made = optuna.create_study(direction=direction)  # type: ignore[arg-type]
    made.add_trials(trials)
    return made


def of_values(*values: float, direction: str = "maximize") -> optuna.Study:
    """Return a study whose trials have these values and no parameters."""
    trials = [optuna.create_trial(value=value, intermediate_values={1: value}) for value in values]
    return of_trials(trials, direction)


def random_study(count: int, *, extra: int = 0, direction: str = "maximize") -> optuna.Study:
    """Return a random study on two workers: conditional parameters, pruned and failed trials."""
    chance = random.Random(0)
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    sign = 1 if direction == "maximize" else -1
    for number in range(count):
        t = made.ask()
        rate = t.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        t.suggest_int("hidden_size", 16, 512, log=True)
        if t.suggest_categorical("optimiser", ["adamw", LONG + "1", LONG + "2", "sgd"]) == "sgd":
            t.suggest_float("momentum", 0.0, 0.99)
            t.suggest_categorical("nesterov", [True, False])
        for index in range(extra):
            t.suggest_float(f"another_parameter_{index}", 0.0, 1.0)
        best = sign * (0.95 - 0.05 * (math.log10(rate) + 2.5) ** 2 + chance.gauss(0, 0.01))
        for epoch in range(1, 6):
            t.report(best * (1 - math.exp(-epoch)), epoch)
        if number % 5 == 1:
            made.tell(t, state=TrialState.PRUNED)
        elif number % 11 == 2:
            made.tell(t, state=TrialState.FAIL)
        else:
            made.tell(t, best * (1 - math.exp(-5)))
    trials = made.get_trials()
    for frozen in trials:
        frozen.datetime_start = begun = START + timedelta(minutes=3 * (frozen.number // 2))
        frozen.datetime_complete = begun + timedelta(minutes=chance.uniform(1, 2.9))
    return of_trials(trials, direction)


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return random_study(60)


@pytest.fixture(scope="module", params=["maximize", "minimize"])
def either(request: pytest.FixtureRequest) -> optuna.Study:
    """Give a study that maximises, and one that minimises."""
    return random_study(60, direction=request.param)


def trials_of(study: optuna.Study, state: TrialState) -> list[FrozenTrial]:
    return study.get_trials(states=(state,))


def points(drawn: Line2D) -> list[list[float]]:
    """Return the points of a line, (N, 2)."""
    array: list[list[float]] = np.column_stack([drawn.get_xdata(), drawn.get_ydata()]).tolist()
    return array


def line(figure: Figure, label: str) -> Line2D:
    (found,) = [drawn for drawn in figure.axes[0].lines if drawn.get_label() == label]
    return found


def stars(axes: Axes) -> list[list[float]]:
    drawn = [each for each in axes.lines if each.get_marker() == "*"]
    return [point for each in drawn for point in points(each)]


def dots(axes: Axes) -> np.ndarray:
    """Return where the dots of a panel are, (N, 2)."""
    drawn = [c for c in axes.collections if isinstance(c, PathCollection)]
    return np.concatenate([np.asarray(each.get_offsets()) for each in drawn])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def test_history_steps_along_the_running_best(either: optuna.Study) -> None:
    figure = figures.history(either, METRIC)
    better = max if either.direction.name == "MAXIMIZE" else min
    expected: list[float] = []
    for t in either.get_trials():
        here = [t.value] if t.value is not None and t.state == TrialState.COMPLETE else []
        expected.append(better([*expected[-1:], *here]))
    steps = line(figure, "best so far")
    assert points(steps) == [[n, value] for n, value in enumerate(expected)]
    assert steps.get_drawstyle() == "steps-post"
    best = either.best_trial
    assert stars(figure.axes[0]) == [[best.number, best.value]]
    assert f"trial {best.number}, {METRIC} {best.value:.4g}" in figure.axes[0].get_title()


def test_history_shows_every_trial_that_has_a_value(study: optuna.Study) -> None:
    shown = dots(figures.history(study, METRIC).axes[0])
    ended = trials_of(study, TrialState.COMPLETE) + trials_of(study, TrialState.PRUNED)
    assert sorted(shown[:, 0]) == sorted(t.number for t in ended)
    low, high = figures.shown(study)
    values = {t.number: t.value or t.intermediate_values[5] for t in ended}
    for number, value in shown:
        assert value == pytest.approx(np.clip(values[number], low, high))


def test_the_range_ends_where_outliers_begin() -> None:
    usual = (0.90, 0.92, 0.94, 0.96, 0.98)
    low, high = figures.shown(of_values(*usual))
    assert 0.89 < low < 0.90
    assert 0.98 < high < 0.99
    low, high = figures.shown(of_values(*usual, -1e9))
    assert 0.8 < low < 0.9
    assert 0.98 < high < 0.99
    negative = of_values(*(-v for v in usual), 1e9, direction="minimize")
    assert figures.shown(negative) == pytest.approx((-high, -low))
    for constant in (0.0, 0.5, -3.0):
        low, high = figures.shown(of_values(constant))
        assert low < constant < high


def test_values_beyond_stand_on_the_frame() -> None:
    values = [0.90, 0.92, 0.94, 0.96, 0.98, -5.0]
    (axes,) = figures.history(of_values(*values), METRIC).axes
    bottom, top = axes.get_ylim()
    assert [5.0, bottom] in dots(axes).tolist()
    assert sorted(dots(axes)[:, 1])[1:] == values[:5]
    assert bottom < 0.9 < 0.98 < top < 1.0


def test_what_optuna_draws_leaves_pyplot_as_it_was(study: optuna.Study) -> None:
    before = dict(mpl.rcParams)
    timeline = figures.timeline(study)
    assert {name for name in before if before[name] != mpl.rcParams[name]} == set()
    assert plt.get_fignums() == []
    assert {"COMPLETE", "PRUNED", "FAIL"} <= set(texts(timeline))
    drawn(timeline)


def test_importances_are_drawn_beside_what_chance_gives() -> None:
    shares = {"learning_rate": 0.6, LONG + "1": 0.3, "hidden_size": 0.1}
    for chance, colours in ((0.4, [style.BLUE, style.GREY, style.GREY]), (0.9, [style.GREY] * 3)):
        figure = figures.importances(shares, chance, METRIC)
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == list(shares)
        assert [bar.get_width() for bar in axes.patches] == list(shares.values())  # type: ignore[attr-defined]
        assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == colours
        assert np.all(np.asarray(axes.lines[0].get_xdata()) == chance)
        assert ("no parameter is above chance" in axes.get_title()) is (chance == 0.9)
        assert axes.get_xlim()[1] > chance
        drawn(figure)


def test_trials_as_good_as_the_best_are_mentioned() -> None:
    tied = of_values(0.5, 0.9, 0.9, 0.9)
    for name in ("history", "parallel", "intermediate"):
        if name != "parallel":
            title = PICTURES[name](tied).axes[0].get_title()
            assert "trial 1 (and 2 as good)" in title
    assert "as good" not in figures.history(of_values(0.5, 0.9), METRIC).axes[0].get_title()


def test_every_dot_of_a_slice_stands_at_the_value_of_its_trial() -> None:
    """Also where numbers are choices, as batch sizes are."""
    sizes = CategoricalDistribution([200, 500, 1000])
    chance = random.Random(0)
    sampled = [chance.choice(sizes.choices) for _ in range(30)]
    trials = [
        optuna.create_trial(value=n / 30, params={"b": size}, distributions={"b": sizes})
        for n, size in enumerate(sampled)
    ]
    figure = figures.slices(of_trials(trials), METRIC)
    style.Canvas(figure)
    axes = figure.axes[0]
    at = {
        tick: label.get_text()
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    }
    found = {round(30 * y): at[x] for x, y in dots(axes)}
    assert found == {n: str(size) for n, size in enumerate(sampled)}


def test_slices_show_trials_and_the_best_in_three_columns(study: optuna.Study) -> None:
    best, complete = study.best_trial, trials_of(study, TrialState.COMPLETE)
    figure = figures.slices(study, METRIC, ["hidden_size"])
    *drawn, _ = figure.axes
    panels = {axes.get_xlabel().split("\n")[0]: axes for axes in drawn}
    assert set(panels) == {"learning_rate", "hidden_size", "optimiser", "momentum", "nesterov"}
    rates = sorted(dots(panels["learning_rate"])[:, 0])
    assert rates == sorted(t.params["learning_rate"] for t in complete)
    assert panels["learning_rate"].get_xscale() == "log"
    assert stars(panels["hidden_size"]) == [[best.params["hidden_size"], best.value]]
    with_momentum = [t for t in complete if "momentum" in t.params]
    assert len(dots(panels["momentum"])) == len(with_momentum)
    assert len(stars(panels["momentum"])) == ("momentum" in best.params)
    assert len({axes.get_ylim() for axes in drawn}) == 1
    marked = [axes for axes in drawn if axes.xaxis.label.get_color() == style.VERMILION]
    assert [axes.get_xlabel() for axes in marked] == ["hidden_size\nat the edge\nof its range"]
    style.Canvas(figure)
    assert len({round(axes.get_position().x0, 2) for axes in drawn}) == 3


def test_parallel_coordinates_mark_the_best(either: optuna.Study) -> None:
    names = ["hidden_size", "learning_rate", "momentum", "optimiser"]
    figure = figures.parallel_coordinates(either, METRIC, names)
    axes, complete = figure.axes[0], trials_of(either, TrialState.COMPLETE)
    assert [label.get_text() for label in axes.get_xticklabels()] == [METRIC, *names]
    (lines,) = axes.collections
    assert isinstance(lines, LineCollection)
    heights = np.array([np.asarray(segment)[:, 1] for segment in lines.get_segments()])
    assert heights.shape == (len(complete), 5)
    assert sorted(heights[:, 0]) == sorted(t.value or 0.0 for t in complete)
    (thick,) = heights[np.asarray(lines.get_linewidth()) > 1]
    assert thick[0] == either.best_value
    darkest_is_high = lines.get_cmap().name == "cividis_r"
    assert darkest_is_high == (either.direction.name == "MAXIMIZE")


def surfaces(figure: Figure) -> list[Any]:
    return figure.findobj(QuadContourSet)


def test_contour_marks_the_best(study: optuna.Study) -> None:
    best = study.best_trial
    figure = figures.contour(study, METRIC, ("learning_rate", "hidden_size"))
    axes = figure.axes[0]
    names = axes.get_xlabel(), axes.get_ylabel()
    assert set(names) == {"learning_rate", "hidden_size"}
    assert stars(axes) == [[best.params[name] for name in names]]
    assert surfaces(figure)
    used = figures.contour(study, METRIC, ("momentum", "learning_rate"))
    complete = trials_of(study, TrialState.COMPLETE)
    assert len(dots(used.axes[0])) == sum("momentum" in t.params for t in complete)
    is_shown = "momentum" in best.params
    assert bool(stars(used.axes[0])) == is_shown
    assert used.axes[0].get_title().startswith("Star: " if is_shown else "Not shown, as it lacks")


def test_contour_of_points_on_a_line_and_of_none() -> None:
    ranges = {"a": FloatDistribution(0, 1), "b": IntDistribution(0, 10)}
    line_up = [
        optuna.create_trial(value=n / 10, params={"a": n / 10, "b": n}, distributions=ranges)
        for n in range(10)
    ]
    figure = figures.contour(of_trials(line_up), METRIC, ("a", "b"))
    style.Canvas(figure)
    assert dots(figure.axes[0]) == pytest.approx(np.array([[n / 10, n] for n in range(10)]))
    apart = [
        optuna.create_trial(value=0.5, params={name: 0}, distributions={name: ranges[name]})
        for name in ("a", "b")
    ]
    nothing = figures.contour(of_trials(apart), METRIC, ("a", "b"))
    assert not surfaces(nothing)
    assert nothing.axes[0].get_title().startswith("No surface")


def test_intermediate_values_are_what_trials_reported(either: optuna.Study) -> None:
    figure = figures.intermediate_values(either, METRIC)
    complete, pruned = (trials_of(either, s) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    for colour, group in (
        (style.BLUE, complete),
        (style.GREY, pruned),
        (style.VERMILION, [either.best_trial]),
    ):
        drawn = [points(each) for each in figure.axes[0].lines if each.get_color() == colour]
        reported = [[[e, v] for e, v in t.intermediate_values.items()] for t in group]
        assert [curve for curve in drawn if curve] == reported
    assert f"complete ({len(complete)})" in texts(figure)
    assert f"pruned ({len(pruned)})" in texts(figure)


def test_reports_that_are_no_numbers_are_left_out() -> None:
    reported = {1: 0.5, 2: math.nan, 3: 0.7, 4: math.inf}
    pruned = optuna.create_trial(state=TrialState.PRUNED, intermediate_values=reported)
    good = optuna.create_trial(value=0.9, intermediate_values={1: 0.9})
    made = of_trials([good, pruned])
    figure = figures.intermediate_values(made, METRIC)
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 < 0.9 < high < 1
    drawn(figure)
    drawn(figures.history(made, METRIC))


@pytest.mark.parametrize("maximise", [True, False])
def test_finalists_by_their_means(maximise: bool) -> None:
    results = {
        "trial 3": {0: 0.9, 1: 0.92, 2: 0.97},
        "trial 7": {0: 0.8, 1: 0.82},
        "one": {0: 0.85},
    }
    figure = figures.finalists(results, METRIC, maximise)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["trial 3", "one", "trial 7"][:: 1 if maximise else -1]
    assert labels[0] in figure.axes[0].get_title()
    assert figure.axes[0].get_yticklabels()[0].get_color() == style.VERMILION
    row = labels.index("trial 3")
    own = sorted(x for x, y in dots(figure.axes[0]) if round(y) == row)
    assert own == [0.9, 0.92, 0.97]
    mean = sum(own) / 3
    deviation = math.sqrt(sum((x - mean) ** 2 for x in own) / 2)
    assert f"0.93 ± {deviation:.2g}" in texts(figure)
    whiskers = [
        np.asarray(segment)
        for collection in figure.axes[0].collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]
    (whisker,) = [w[:, 0] for w in whiskers if round(w[0, 1]) == row]
    assert whisker == pytest.approx([mean - deviation, mean + deviation])
    assert "0.85" in texts(figure)  # no deviation of one seed
    if maximise:  # pooled with one value, the standard deviation is that of the other three
        error = deviation * math.sqrt(1 / 3 + 1)
        ahead = f"0.08 ahead of one (standard error {error:.2g})"
        assert ahead in figure.axes[0].get_title()


PICTURES: dict[str, Callable[[optuna.Study], Figure]] = {
    "history": lambda study: figures.history(study, METRIC),
    "slices": lambda study: figures.slices(study, METRIC, ["learning_rate"]),
    "parallel": lambda study: figures.parallel_coordinates(
        study, METRIC, list(study.best_params)[:7]
    ),
    "contour": lambda study: figures.contour(study, METRIC, ("optimiser", "learning_rate")),
    "intermediate": lambda study: figures.intermediate_values(study, METRIC),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("options", [{"count": 1}, {"count": 60}, {"count": 200, "extra": 9}])
def test_any_trials_can_be_drawn(name: str, options: dict[str, Any]) -> None:
    made = random_study(**options)
    made.add_trial(optuna.create_trial(state=TrialState.WAITING))
    figure = PICTURES[name](made)
    drawn(figure)
    assert figure.axes[0].get_title() or figure.get_suptitle()


def test_many_finalists() -> None:
    results = {f"trial {1000 + n}": {0: 0.9} for n in range(9)}
    drawn(figures.finalists(results, METRIC, maximise=True))


def test_parameters_of_one_value_or_of_many() -> None:
    ranges = {
        "fixed": FloatDistribution(0.1, 0.1),
        "narrow": FloatDistribution(0.011, 0.014, log=True),
        "many": CategoricalDistribution([f"choice_{n}" for n in range(30)]),
    }
    params = {"fixed": 0.1, "narrow": 0.012, "many": "choice_29"}
    few = of_trials(
        [optuna.create_trial(value=n, params=params, distributions=ranges) for n in range(3)]
    )
    drawn(figures.slices(few, METRIC))
    drawn(figures.parallel_coordinates(few, METRIC, list(ranges)))
    drawn(figures.contour(few, METRIC, ("fixed", "narrow")))


def test_marks_of_many_trials_are_thinned_and_those_of_few_are_not() -> None:
    assert figures.thinned(0) == figures.thinned(50) == 1
    assert figures.thinned(100) == 0.5
    assert figures.thinned(1000) == 0.15, "each is still to be seen"

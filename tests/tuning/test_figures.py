"""Pictures of a study: what is drawn equals what the trials say, whatever trials there are."""

import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from harness.figures import style
from tuning import figures, parameter_axes
from tuning.figures import Objective

ACCURACY = Objective("val/accuracy", maximise=True)
LOSS = Objective("val/loss", maximise=False)
LONG_NAMED = Objective("validation/balanced_accuracy", maximise=True)
START = datetime(2026, 1, 1)
RATE = FloatDistribution(1e-5, 1e-1, log=True)
LONG = "a_category_with_a_name_that_is_much_too_long_for_a_tick_label_"


def trial(
    number: int, value: float | None = None, state: TrialState = TrialState.COMPLETE, **options: Any
) -> FrozenTrial:
    """Return a trial as a study would, with a number."""
    made = optuna.create_trial(state=state, value=value, **options)
    made.number = number
    return made


def at_rate(number: int, rate: float, value: float, **options: Any) -> FrozenTrial:
    made = {"params": {"lr": rate}, "distributions": {"lr": RATE}, **options}
    return trial(number, value, **made)


def study(count: int, *, extra: int = 0, seed: int = 0) -> list[FrozenTrial]:
    """Return trials of a random study on two workers: conditional ones, pruned, failed ones."""
    chance = random.Random(seed)
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for number in range(count):
        t = made.ask()
        rate = t.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        t.suggest_int("hidden_size", 16, 512, log=True)
        if t.suggest_categorical("optimiser", ["adamw", LONG + "1", LONG + "2", "sgd"]) == "sgd":
            t.suggest_float("momentum", 0.0, 0.99)
            t.suggest_categorical("nesterov", [True, False])
        for index in range(extra):
            t.suggest_float(f"another_parameter_{index}", 0.0, 1.0)
        best = 0.95 - 0.05 * (math.log10(rate) + 2.5) ** 2 + chance.gauss(0, 0.01)
        t.set_user_attr("worker", number % 2)
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
    return trials


@pytest.fixture(scope="module")
def trials() -> list[FrozenTrial]:
    return study(60)


@pytest.fixture(scope="module")
def many_trials() -> list[FrozenTrial]:
    """Return 200 trials of up to 14 parameters."""
    return study(200, extra=9)


def complete_ones(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.COMPLETE]


def points(drawn: Line2D) -> list[list[float]]:
    """Return the points of a line, (N, 2)."""
    array: list[list[float]] = np.column_stack([drawn.get_xdata(), drawn.get_ydata()]).tolist()
    return array


def line(figure: Figure, label: str) -> list[list[float]]:
    (found,) = [drawn for drawn in figure.axes[0].lines if drawn.get_label() == label]
    return points(found)


def stars(figure: Figure, panel: int = 0) -> list[list[float]]:
    drawn = [each for each in figure.axes[panel].lines if each.get_marker() == "*"]
    return [points(each)[0] for each in drawn]


def bundles(figure: Figure) -> dict[str, list[list[list[float]]]]:
    """Return the lines of each bundle of lines, (lines, N, 2), by the label of the bundle."""
    return {
        str(drawn.get_label()).split()[0]: [np.asarray(s).tolist() for s in drawn.get_segments()]
        for drawn in figure.axes[0].collections
        if isinstance(drawn, LineCollection)
    }


def dots(figure: Figure, panel: int = 0) -> np.ndarray:
    """Return where the dots and triangles of a panel are, (N, 2)."""
    drawn = [c for c in figure.axes[panel].collections if isinstance(c, PathCollection)]
    return np.concatenate([np.asarray(each.get_offsets()) for each in drawn])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("objective", [ACCURACY, LOSS])
def test_history_steps_along_the_running_best(
    trials: list[FrozenTrial], objective: Objective
) -> None:
    figure = figures.history(trials, objective)
    better = max if objective.maximise else min
    values: list[float] = []
    numbers: list[int] = []
    for t in complete_ones(trials):
        values.append(better([*values[-1:], t.values[0]]))
        numbers.append(t.number)
    expected = [*zip(numbers, values, strict=True), (trials[-1].number, values[-1])]
    assert line(figure, "best so far") == [list(point) for point in expected]
    best = better(complete_ones(trials), key=lambda t: t.values[0])
    assert stars(figure) == [[best.number, best.values[0]]]
    named = f"trial {best.number}, {objective.metric} {best.values[0]:.4g}"
    assert named in figure.axes[0].get_title()


def test_history_shows_every_trial_that_ended(trials: list[FrozenTrial]) -> None:
    shown = dots(figures.history(trials, ACCURACY))
    ended = [t.number for t in trials]
    assert sorted(shown[:, 0]) == ended
    failed = [t.number for t in trials if t.state == TrialState.FAIL]
    assert {x for x, y in shown if y == 0.025} == set(failed)  # in parts of the height


def test_the_range_ends_where_outliers_begin() -> None:
    usual = np.array([0.90, 0.92, 0.94, 0.96, 0.98])
    assert ACCURACY.shown(usual) == (0.90, 0.98)
    low, high = ACCURACY.shown(np.append(usual, -1e9))
    assert 0.8 < low < 0.9
    assert high == 0.98
    assert LOSS.shown(-np.append(usual, -1e9)) == (-high, -low)
    for constant in (0.0, 0.5, -3.0):
        low, high = ACCURACY.shown(np.array([constant]))
        assert low < constant < high


def test_values_beyond_stand_at_the_border_as_triangles() -> None:
    values = [0.90, 0.92, 0.94, 0.96, 0.98, -5.0]
    figure = figures.history([trial(n, v) for n, v in enumerate(values)], ACCURACY)
    low, _ = ACCURACY.shown(np.array(values))
    assert [5.0, low] in dots(figure).tolist()
    assert sorted(dots(figure)[:, 1])[1:] == values[:5]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < low < 0.98 < top < 1.0


def test_what_optuna_draws_leaves_pyplot_as_it_was() -> None:
    made = optuna.create_study(direction="maximize")
    made.add_trials([t for t in study(20) if t.state.is_finished()])
    before = dict(mpl.rcParams)
    importances, timeline = figures.importances(made, ACCURACY), figures.timeline(made)
    assert {name for name in before if before[name] != mpl.rcParams[name]} == set()
    assert plt.get_fignums() == []
    names = [label.get_text() for label in importances.axes[0].get_yticklabels()]
    assert {"learning_rate", "hidden_size"} <= set(names)
    assert {"COMPLETE", "PRUNED", "FAIL"} <= set(texts(timeline))
    for figure in (importances, timeline):
        check_layout(figure, "by Optuna")


def test_slices_place_trials_on_the_scales_of_their_distributions(
    trials: list[FrozenTrial],
) -> None:
    complete = complete_ones(trials)
    best = max(complete, key=lambda t: t.values[0])
    figure = figures.slices(trials, ACCURACY, {"hidden_size": "at the edge"})
    panels = {axes.get_title().split("\n")[0]: n for n, axes in enumerate(figure.axes)}
    rates = dots(figure, panels["learning_rate"])[:, 0]
    assert sorted(rates) == pytest.approx(
        sorted(math.log10(t.params["learning_rate"] / 1e-5) / 4 for t in complete)
    )
    ((x, y),) = stars(figure, panels["hidden_size"])
    assert x == pytest.approx(math.log2(best.params["hidden_size"] / 16) / 5)
    assert y == best.values[0]
    lanes = np.floor(dots(figure, panels["optimiser"])[:, 0] * 4)
    choices: list[Any] = ["adamw", LONG + "1", LONG + "2", "sgd"]
    assert sorted(lanes) == sorted(choices.index(t.params["optimiser"]) for t in complete)
    with_momentum = [t for t in complete if "momentum" in t.params]
    assert len(dots(figure, panels["momentum"])) == len(with_momentum)
    assert len({axes.get_ylim() for axes in figure.axes[: len(panels) - 1] if axes.axison}) == 1
    marked = [axes for axes in figure.axes if axes.title.get_color() == style.VERMILION]
    assert [axes.get_title() for axes in marked] == ["hidden_size\nat the edge of its range"]


def test_a_parameter_that_later_trials_draw_from_another_range() -> None:
    lower = {"lr": FloatDistribution(1e-6, 1e-2, log=True)}
    both = [at_rate(0, 1e-5, 0.5, distributions=lower), at_rate(1, 1e-2, 0.6)]
    for trials in (both, both[::-1]):
        places = dots(figures.slices(trials, ACCURACY))[:, 0]
        assert sorted(places) == pytest.approx([0.2, 0.8])


def test_ticks_of_logarithmic_axes_are_decades_or_round_numbers() -> None:
    figure = figures.slices([at_rate(0, 1e-5, 0.5)], ACCURACY)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1e-5", "0.0001", "0.001", "0.01", "0.1"]
    assert figure.axes[0].get_xticks() == pytest.approx(np.linspace(0, 1, 5))
    narrow = parameter_axes.Scale("size", 16, 512, log=True, integer=True)
    assert narrow.round_values() == [20, 50, 100, 200, 500]
    wide = parameter_axes.Scale("size", 1, 100, log=True)
    assert wide.round_values() == [1, 10, 100]


@pytest.mark.parametrize("objective", [ACCURACY, LOSS])
def test_parallel_coordinates_have_the_best_on_top(
    trials: list[FrozenTrial], objective: Objective
) -> None:
    figure = figures.parallel_coordinates(trials, objective)
    complete = complete_ones(trials)
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    lines = np.array(bundles(figure)["complete"])
    assert lines.shape == (len(complete), len(names), 2)
    ordered = sorted(complete, key=lambda t: t.values[0], reverse=not objective.maximise)
    for drawn, t in zip(lines[:, :, 1], ordered, strict=True):
        rate = math.log10(t.params["learning_rate"] / 1e-5) / 4
        assert drawn[names.index("learning_rate")] == pytest.approx(rate)
        missing = drawn[names.index("momentum")] == parameter_axes.NOT_USED
        assert missing == ("momentum" not in t.params)
    towards_best = lines[:, -1, 1] if objective.maximise else -lines[:, -1, 1]
    assert (np.diff(towards_best) >= 0).all()
    assert line(figure, "best") == lines[-1].tolist()


def has_surface(figure: Figure) -> bool:
    return bool(figure.findobj(QuadContourSet))


def test_contour_marks_the_best_and_needs_an_area(trials: list[FrozenTrial]) -> None:
    figure = figures.contour(trials, ACCURACY, ("learning_rate", "hidden_size"))
    best = max(complete_ones(trials), key=lambda t: t.values[0])
    rate = math.log10(best.params["learning_rate"] / 1e-5) / 4
    size = math.log2(best.params["hidden_size"] / 16) / 5
    assert stars(figure) == [pytest.approx([rate, size])]
    assert has_surface(figure)
    assert not has_surface(figures.contour(trials, ACCURACY, ("learning_rate", "optimiser")))
    assert not has_surface(figures.contour(trials[:4], ACCURACY, ("learning_rate", "hidden_size")))
    used = figures.contour(trials, ACCURACY, ("momentum", "learning_rate"))
    assert len(dots(used)) == sum("momentum" in t.params for t in complete_ones(trials))


def test_contour_of_points_on_a_line_shows_the_points() -> None:
    ranges = {"a": FloatDistribution(0, 1), "b": IntDistribution(0, 10)}
    line_up = [
        trial(n, n / 10, params={"a": n / 10, "b": n}, distributions=ranges) for n in range(10)
    ]
    figure = figures.contour(line_up, ACCURACY, ("a", "b"))
    style.Canvas(figure)
    assert not has_surface(figure)
    assert dots(figure) == pytest.approx(np.array([[n / 10, n / 10] for n in range(10)]))


def test_the_surface_is_the_mean_of_the_trials_around() -> None:
    points = np.random.default_rng(0).uniform(size=(500, 2))
    grid = np.linspace(0, 1, 11)
    flat = figures._mean_around(points, np.full(500, 0.7), grid)
    assert flat == pytest.approx(np.full((11, 11), 0.7))
    slope = figures._mean_around(points, points[:, 0], grid)
    assert slope[5, 2:-2] == pytest.approx(grid[2:-2], abs=0.05)  # columns are the first one
    assert np.ptp(slope[2:-2, 5]) < 0.05
    apart = figures._mean_around(
        np.array([[0, 0], [0, 0.1], [0.1, 0], [0.1, 0.1]]), points[:4, 0], grid
    )
    assert np.isfinite(apart[0, 0])
    assert np.isnan(apart[-1, -1])


def test_intermediate_values_are_what_trials_reported(trials: list[FrozenTrial]) -> None:
    figure = figures.intermediate_values(trials, ACCURACY)
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    for label, group in (("complete", complete_ones(trials)), ("pruned", pruned)):
        reported = [[[e, v] for e, v in t.intermediate_values.items()] for t in group]
        assert bundles(figure)[label] == reported
    best = max(complete_ones(trials), key=lambda t: t.values[0])
    assert line(figure, "best") == [[e, v] for e, v in best.intermediate_values.items()]


def test_reports_that_are_no_numbers_are_left_out() -> None:
    reported = {1: 0.5, 2: math.nan, 3: 0.7, 4: math.inf}
    pruned = trial(1, state=TrialState.PRUNED, intermediate_values=reported)
    infinite = trial(2, math.inf)
    of_both = [trial(0, 0.9, intermediate_values={1: 0.9}), pruned, infinite]
    figure = figures.intermediate_values(of_both, ACCURACY)
    assert bundles(figure)["pruned"] == [[[1, 0.5], [3, 0.7]]]
    history = figures.history(of_both, ACCURACY)
    assert [1, 0.7] in dots(history).tolist()
    assert line(history, "best so far") == [[0, 0.9], [2, 0.9]]


@pytest.mark.parametrize("objective", [ACCURACY, LOSS])
def test_finalists_by_their_means(objective: Objective) -> None:
    results = {
        "trial 3": {0: 0.9, 1: 0.92, 2: 0.97},
        "trial 7": {0: 0.8, 1: 0.82},
        "one": {0: 0.85},
    }
    figure = figures.finalists(results, objective)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["trial 3", "one", "trial 7"][:: 1 if objective.maximise else -1]
    assert labels[0] in figure.axes[0].get_title()
    assert figure.axes[0].get_yticklabels()[0].get_color() == style.VERMILION
    row = labels.index("trial 3")
    own = sorted(x for x, y in dots(figure) if round(y) == row)
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


PICTURES: dict[str, Callable[[list[FrozenTrial]], Figure]] = {
    "history": lambda trials: figures.history(trials, LONG_NAMED),
    "slices": lambda trials: figures.slices(trials, LONG_NAMED, {"learning_rate": "at the edge"}),
    "parallel": lambda trials: figures.parallel_coordinates(trials, LONG_NAMED),
    "contour": lambda trials: figures.contour(trials, LONG_NAMED, ("optimiser", "learning_rate")),
    "intermediate": lambda trials: figures.intermediate_values(trials, LONG_NAMED),
}


def unfinished() -> list[FrozenTrial]:
    """Return trials of every state but complete."""
    waiting = trial(0, state=TrialState.WAITING)
    waiting.datetime_start = waiting.datetime_complete = None
    pruned = [t for t in study(20) if t.state != TrialState.COMPLETE]
    return [waiting, trial(1, state=TrialState.RUNNING), *pruned]


def check_layout(figure: Figure, name: str) -> None:
    """Check that a picture fits the pane, and that no text lies on another or is cut off."""
    boxes: list[tuple[Text, Bbox]] = []
    draw = Text.draw

    def note(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            boxes.append((text, text.get_window_extent(renderer)))

    with patch.object(Text, "draw", note):
        width, height = style.Canvas(figure).get_width_height()
    assert width <= 900, name
    assert height <= 1300, name
    for text, box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -2, (name, text)
    # The box around slanted text overlaps others where the text does not.
    upright = [(text, box.padded(-1)) for text, box in boxes if text.get_rotation() in (0, 90)]
    for (text, box), (other, its_box) in combinations(upright, 2):
        assert not box.overlaps(its_box), (name, text, other)


@pytest.mark.parametrize("name", PICTURES)
def test_any_trials_can_be_drawn(
    name: str, trials: list[FrozenTrial], many_trials: list[FrozenTrial]
) -> None:
    draw = PICTURES[name]
    for none in ([], unfinished()):
        figure = draw(none)
        check_layout(figure, name)
        assert "no complete trial yet" in texts(figure)
    check_layout(draw(complete_ones(trials)[:1]), name)
    figure = draw(many_trials)
    assert "no complete trial yet" not in texts(figure)
    check_layout(figure, name)
    for axes in figure.axes:
        if axes.axison and not hasattr(axes, "_colorbar"):
            assert axes.get_title()


def test_no_finalists_and_many() -> None:
    figure = figures.finalists({"a": {}}, ACCURACY)
    check_layout(figure, "nothing")
    assert "no complete trial yet" in texts(figure)
    one = {f"{LONG}{n}": {0: 0.9} for n in range(5)}
    check_layout(figures.finalists(one, ACCURACY), "finalists")


def test_parameters_of_one_value_or_of_many() -> None:
    ranges = {
        "fixed": FloatDistribution(0.1, 0.1),
        "narrow": FloatDistribution(0.011, 0.014, log=True),
        "many": CategoricalDistribution([f"choice_{n}" for n in range(30)]),
    }
    params = {"fixed": 0.1, "narrow": 0.012, "many": "choice_29"}
    few = [trial(n, n / 10, params=params, distributions=ranges) for n in range(3)]
    check_layout(figures.slices(few, LOSS), "slices")
    check_layout(figures.parallel_coordinates(few, LOSS), "parallel")
    check_layout(figures.contour(few, LOSS, ("fixed", "narrow")), "contour")

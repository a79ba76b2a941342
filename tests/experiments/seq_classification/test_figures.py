"""Figures of a sequence classifier: which values they show, at which step, with which names."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from experiments.seq_classification import figures
from experiments.seq_classification.figures import Inspection
from tests.harness.figures.layout import drawn


def inspection(
    text: str, *, cells: bool = False, attention: bool = False, classes: int = 2
) -> Inspection:
    generator, steps = np.random.default_rng(0), len(text)
    return Inspection(
        title="class XY",
        text=text,
        features=generator.normal(size=(steps, 5)),
        cells=generator.normal(size=(steps, 5)) if cells else None,
        steps=np.arange(1, steps + 1),
        predictions=generator.dirichlet(np.ones(classes), steps),
        contributions=generator.normal(size=steps),
        attention=generator.dirichlet(np.ones(steps)) if attention else None,
    )


def ticks(axes: Axes) -> list[tuple[int, str]]:
    names = [label.get_text() for label in axes.get_xticklabels()]
    return list(zip(np.ravel(axes.get_xticks()).astype(int).tolist(), names, strict=True))


def test_accuracy_by_length_counts_every_sequence_once() -> None:
    lengths, correct = np.repeat([5, 6, 9], [10, 20, 30]), np.arange(60) % 2 == 0
    (axes,) = drawn(figures.accuracy_by_length(lengths, correct, bins=3)).axes
    labels = [text.get_text() for text in axes.texts]
    assert sum(int(label.split("of ")[1]) for label in labels) == 60
    assert "0.5000 on 60" in axes.get_title()
    (axes,) = drawn(figures.accuracy_by_length(np.full(7, 4), np.ones(7, bool))).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4"]


def test_predictions_are_drawn_against_targets() -> None:
    targets, predicted = np.array([0.2, 1.0, 1.5]), np.array([0.2, 1.1, 1.5])
    (axes,) = drawn(figures.predictions(targets, predicted, tolerance=0.04)).axes
    points = np.asarray(axes.collections[1].get_offsets())
    assert points.tolist() == np.stack([targets, predicted], axis=1).tolist()
    assert f"{0.01 / 3:.5f}" in axes.get_title()


def test_states_are_shown_over_the_steps_in_one_order_of_units() -> None:
    inspections = [inspection("BaXE"), inspection("BYbbE")]
    figure = drawn(figures.states(inspections))
    pictures = [axes for axes in figure.axes if axes.images]
    orders = []
    for axes, each in zip(pictures, inspections, strict=True):
        image = np.asarray(axes.images[0].get_array())
        orders.append([each.features.T.tolist().index(unit) for unit in image.tolist()])
        assert ticks(axes) == list(enumerate(each.text))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(5))


def test_cells_stand_beside_hidden_states() -> None:
    figure = drawn(figures.states([inspection("BaXE", cells=True)]))
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["class XY: hidden state", "class XY: cell state"]


@pytest.mark.parametrize("cells", [True, False])
def test_the_states_of_all_sequences_are_on_one_scale(cells: bool) -> None:
    small = inspection("BaXE", cells=cells)
    large = small._replace(features=3 * small.features)
    figure = drawn(figures.states([small, large]))
    limits = {
        axes.images[0].get_clim()
        for axes in figure.axes
        if "features" in axes.get_title() or "hidden" in axes.get_title()
    }
    largest = np.abs(large.features).max()
    assert limits == {(-largest, largest)}
    assert len([axes for axes in figure.axes if not axes.images]) == 1 + cells  # colour bars


def test_only_rare_symbols_of_a_long_sequence_are_labelled() -> None:
    text = "B" + "abcd" * 20 + "X" + "dcba" * 10 + "Y" + "E"
    figure = drawn(figures.states([inspection(text)]))
    (axes,) = (axes for axes in figure.axes if axes.images)
    assert ticks(axes) == [(0, "B"), (81, "X"), (122, "YE")]


@pytest.mark.parametrize(("count", "classes"), [(1, 2), (3, 4), (8, 9)])
def test_probabilities_are_drawn_class_by_class(count: int, classes: int) -> None:
    inspections = [inspection("BaXbYE", classes=classes) for _ in range(count)]
    names = [f"class {label}" for label in range(classes)]
    figure = drawn(figures.prediction_by_step(inspections, names))
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == count
    for axes, each in zip(panels, inspections, strict=True):
        for label, line in enumerate(axes.lines):
            assert np.array_equal(line.get_ydata(), each.predictions[:, label])
            assert np.ravel(line.get_xdata()).tolist() == list(range(6))
        looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
        assert len(looks) == classes
        assert len({line.get_linestyle() for line in axes.lines}) == min(classes, 4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_a_sequence_of_one_symbol_has_a_dot_for_each_class() -> None:
    each = inspection("B", classes=3)
    (axes,) = drawn(figures.prediction_by_step([each], ["a", "b", "c"])).axes
    assert [line.get_marker() for line in axes.lines] == ["o"] * 3


@pytest.mark.parametrize("cells", [True, False])
@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_many_sequences_of_classes_with_long_names(count: int, cells: bool) -> None:
    each = inspection("BaXbYE", cells=cells, attention=True, classes=12)
    inspections = [each._replace(title="class with a name of many words")] * count
    drawn(figures.states(inspections))
    drawn(figures.importance(inspections))
    drawn(figures.prediction_by_step(inspections, [f"{n} of many words" for n in range(12)]))


def test_a_regression_has_one_line_of_predictions() -> None:
    each = inspection("abcdef")._replace(text="", predictions=np.arange(6.0)[:, None] - 3)
    (axes,) = drawn(figures.prediction_by_step([each], ())).axes
    (line,) = axes.lines
    assert np.array_equal(line.get_ydata(), each.predictions[:, 0])
    low, high = axes.get_ylim()
    assert low < -3 < 2 < high


@pytest.mark.parametrize("attention", [True, False])
def test_importance_has_a_bar_for_each_step(attention: bool) -> None:
    each = inspection("BaXbYE", attention=attention)
    figure = drawn(figures.importance([each]))
    bars = figure.axes[0].containers[0]
    heights = [bar.get_height() for bar in bars]
    assert heights == pytest.approx(each.contributions)
    lines = [line for axes in figure.axes[1:] for line in axes.lines]
    assert len(lines) == attention
    if each.attention is not None:
        assert np.array_equal(lines[0].get_ydata(), each.attention)


def test_sequences_without_symbols_are_drawn_too() -> None:
    each = inspection("abcdef")._replace(text="")
    for figure in (figures.states([each]), figures.importance([each])):
        drawn(figure)


def test_sequences_to_solve_has_a_dot_for_each_seed_that_solved_the_task() -> None:
    counts = {"gru": np.array([1000, 3000]), "rnn": np.array([2000, np.inf])}
    (axes,) = drawn(figures.sequences_to_solve(counts, 8000)).axes
    gru, rnn = (np.asarray(dots.get_offsets()).tolist() for dots in axes.collections)
    assert (gru, rnn) == ([[1000, 0], [3000, 0]], [[2000, 1]])
    assert [text.get_text() for text in axes.texts] == ["mean 2,000", "1 of 2 solved"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gru", "rnn"]


def test_time_is_drawn_against_length() -> None:
    (axes,) = drawn(figures.time_by_length((32, 64), {"tcn": np.array([0.5, 1.0])})).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [32, 64]
    assert np.ravel(axes.lines[0].get_ydata()).tolist() == [0.5, 1.0]


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (3, 2), (8, 6)])
def test_contributions_are_colours_behind_the_series(count: int, channels: int) -> None:
    each = inspection("abcdefghij")._replace(text="")
    each = each._replace(series=np.random.default_rng(1).normal(size=(10, channels)))
    figure = drawn(figures.importance_on_series([each] * count))
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == count
    for axes in panels:
        (image,) = axes.images
        assert np.array_equal(np.asarray(image.get_array()).ravel(), each.contributions)
        assert each.series is not None
        drawn_lines = [np.asarray(line.get_ydata()) for line in axes.lines]
        assert np.array_equal(np.stack(drawn_lines, axis=1), each.series)
        left, right, low, high = image.get_extent()
        assert (left, right) == (-0.5, 9.5)
        assert low <= each.series.min() < each.series.max() <= high
        colour_low, colour_high = image.get_clim()
        assert colour_low == -colour_high  # white is no contribution
    still = each._replace(contributions=np.zeros(10))
    drawn(figures.importance_on_series([still]))

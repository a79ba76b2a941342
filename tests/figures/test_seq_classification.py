"""Pictures of a classifier at work: what is shown, at which step, with which names."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import seq_classification as figures
from experiments.figures import style
from experiments.figures.seq_classification import Look


def drawn(figure: Figure) -> Figure:
    """Draw a figure, which is when matplotlib warns, and check that it fits the pane."""
    assert style.to_image(style.Canvas(figure)).width <= 830
    return figure


def look(text: str, *, cells: bool = False, attention: bool = False, classes: int = 2) -> Look:
    generator, steps = np.random.default_rng(0), len(text)
    return Look(
        title="XY",
        text=text,
        features=generator.normal(size=(steps, 5)),
        cells=generator.normal(size=(steps, 5)) if cells else None,
        steps=np.arange(1, steps + 1),
        said=generator.dirichlet(np.ones(classes), steps),
        mattered=generator.normal(size=steps),
        attention=generator.dirichlet(np.ones(steps)) if attention else None,
    )


def ticks(axes: Axes) -> list[tuple[int, str]]:
    names = [label.get_text() for label in axes.get_xticklabels()]
    return list(zip(np.ravel(axes.get_xticks()).astype(int).tolist(), names, strict=True))


def test_accuracy_by_length_counts_every_sequence_once() -> None:
    lengths, right = np.repeat([5, 6, 9], [10, 20, 30]), np.arange(60) % 2 == 0
    (axes,) = drawn(figures.accuracy_by_length(lengths, right, bins=3)).axes
    labels = [text.get_text() for text in axes.texts]
    assert sum(int(label.split("of ")[1]) for label in labels) == 60
    assert "0.5000 on 60" in axes.get_title()
    (axes,) = drawn(figures.accuracy_by_length(np.full(7, 4), np.ones(7, bool))).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4"]


def test_answers_stand_beside_what_was_wanted() -> None:
    wanted, said = np.array([0.2, 1.0, 1.5]), np.array([0.2, 1.1, 1.5])
    (axes,) = drawn(figures.answers(wanted, said, tolerance=0.04)).axes
    points = np.asarray(axes.collections[1].get_offsets())
    assert points.tolist() == np.stack([wanted, said], axis=1).tolist()
    assert f"{0.01 / 3:.5f}" in axes.get_title()


def test_states_are_shown_over_the_steps_in_one_order_of_units() -> None:
    looks = [look("BaXE"), look("BYbbE")]
    figure = drawn(figures.states(looks))
    pictures = [axes for axes in figure.axes if axes.images]
    orders = []
    for axes, each in zip(pictures, looks, strict=True):
        image = np.asarray(axes.images[0].get_array())
        orders.append([each.features.T.tolist().index(unit) for unit in image.tolist()])
        assert ticks(axes) == list(enumerate(each.text))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(5))


def test_cells_stand_beside_hidden_states() -> None:
    figure = drawn(figures.states([look("BaXE", cells=True)]))
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == ["XY: hidden state", "XY: cell state"]


def test_of_a_long_sequence_the_rare_symbols_are_named() -> None:
    text = "B" + "abcd" * 20 + "X" + "dcba" * 10 + "Y" + "E"
    figure = drawn(figures.states([look(text)]))
    (axes,) = (axes for axes in figure.axes if axes.images)
    assert ticks(axes) == [(0, "B"), (81, "X"), (122, "Y"), (123, "E")]


@pytest.mark.parametrize(("count", "classes"), [(1, 2), (3, 4), (8, 9)])
def test_probabilities_are_drawn_class_by_class(count: int, classes: int) -> None:
    looks = [look("BaXbYE", classes=classes) for _ in range(count)]
    names = [f"class {label}" for label in range(classes)]
    figure = drawn(figures.while_reading(looks, names))
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == count
    for axes, each in zip(panels, looks, strict=True):
        for label, line in enumerate(axes.lines):
            assert np.array_equal(line.get_ydata(), each.said[:, label])
            assert np.ravel(line.get_xdata()).tolist() == list(range(6))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


@pytest.mark.parametrize("attention", [True, False])
def test_importance_has_a_bar_for_each_step(attention: bool) -> None:
    each = look("BaXbYE", attention=attention)
    figure = drawn(figures.importance([each]))
    bars = figure.axes[0].containers[0]
    heights = [bar.get_height() for bar in bars]
    assert heights == pytest.approx(each.mattered)
    lines = [line for axes in figure.axes[1:] for line in axes.lines]
    assert len(lines) == attention
    if each.attention is not None:
        assert np.array_equal(lines[0].get_ydata(), each.attention)


def test_sequences_without_symbols_are_drawn_too() -> None:
    each = look("abcdef")._replace(text="")
    for figure in (figures.states([each]), figures.importance([each])):
        drawn(figure)


def test_the_sequences_to_solve_stand_where_they_were_needed() -> None:
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

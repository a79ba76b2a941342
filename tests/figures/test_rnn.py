"""Pictures of memory: what is shown, where, and with which marks."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from experiments.figures import rnn as figures
from experiments.figures import style

DOT = figures.BLANK


def drawn(figure: Figure) -> Figure:
    """Draw a figure, which is when matplotlib warns, and check that it fits the pane."""
    assert style.to_image(style.Canvas(figure)).width <= 830
    return figure


def test_accuracy_by_length_starts_at_the_trained_length() -> None:
    lengths = np.array([15, 30, 60])
    curves = {"symbols": np.array([1, 0.9, 0.8]), "whole sequences": np.array([1, 0.5, 0])}
    (axes,) = drawn(figures.accuracy_by_length(lengths, curves, "letters")).axes
    symbols, whole, trained = axes.lines
    assert np.array_equal(symbols.get_ydata(), curves["symbols"])
    assert np.array_equal(whole.get_ydata(), curves["whole sequences"])
    assert np.ravel(trained.get_xdata()).tolist() == [15, 15]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["15", "30", "60"]
    assert "letters" in axes.get_xlabel()


def test_positions_where_nothing_counts_have_no_point() -> None:
    right, counted = np.array([0, 0, 5, 4]), np.array([0, 0, 5, 8])
    (axes,) = drawn(figures.accuracy_by_position(right, counted)).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [3, 4]
    assert np.ravel(axes.lines[0].get_ydata()).tolist() == [1, 0.5]
    assert "9 of 13" in axes.get_title()


def test_each_delay_has_its_bar() -> None:
    (axes,) = drawn(figures.accuracy_by_delay(np.array([3, 0, 1]), np.array([3, 0, 4]))).axes
    heights = [bar.get_extents().height for bar in axes.patches]
    assert heights[1] / heights[0] == pytest.approx(0.25)
    assert list(axes.get_xticks()) == [0, 2]


def test_gradients_that_have_vanished_end_the_curve() -> None:
    norms = {"untrained": np.array([1, 0.1, 0, 0]), "trained": np.array([1, 1, 0.5, 0.2])}
    (axes,) = drawn(figures.reach(norms, delay=2)).axes
    untrained, trained, delay = axes.lines
    assert np.isnan(untrained.get_ydata()).tolist() == [False, False, True, True]
    assert np.array_equal(trained.get_ydata(), norms["trained"])
    assert np.ravel(delay.get_xdata()).tolist() == [2, 2]
    assert len(drawn(figures.reach(norms)).axes[0].lines) == 2


def test_memory_shows_every_unit_at_every_step_beside_the_letters() -> None:
    hidden = np.random.default_rng(0).normal(size=(5, 7))
    figure = drawn(figures.memory(hidden, f"abc{DOT}{DOT}", f"{DOT}{DOT}abc"))
    image = figure.axes[0].images[0].get_array()
    assert image is not None
    assert sorted(map(tuple, np.asarray(image).tolist())) == sorted(map(tuple, hidden.T.tolist()))
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == [f"a\n{DOT}", f"b\n{DOT}", "c\na", f"{DOT}\nb", f"{DOT}\nc"]
    drawn(figures.memory(np.zeros((300, 4)), "a" * 300, "b" * 300))  # too long for letters


def test_errors_are_marked_and_only_they() -> None:
    figure = drawn(figures.strips([("abcd", f"{DOT}{DOT}ab", f"{DOT}{DOT}ax"), ("ef", "ef", "ef")]))
    marked = [
        text.get_text()
        for text in figure.axes[0].texts
        if (box := text.get_bbox_patch()) and to_hex(box.get_facecolor()).upper() == style.VERMILION
    ]
    assert marked == ["x"]
    assert figure.get_suptitle().startswith("Answers: 1 errors")


def test_long_waits_are_left_out() -> None:
    wait = DOT * 100
    row = ("ab" + wait + "z" + DOT * 2, DOT * 103 + "ab", DOT * 103 + "aa")
    figure = drawn(figures.strips([row]))
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert letters[:6] == ["input", "a", "b", "z", DOT, DOT]
    assert "waits left out" in figure.get_suptitle()


def test_bits_stand_beside_those_of_the_compressors() -> None:
    curves = {"training": np.array([4.0, 2.0]), "validation": np.array([4.1, 2.2])}
    lines = {"5-gram": 1.8, "xz": 1.9}
    (axes,) = drawn(
        figures.bits(curves, 50, lines, best_epoch=2, tested={"test": 2.1, "dynamic": 1.7})
    ).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [50, 100]
    assert np.ravel(axes.lines[2].get_xdata()).tolist() == [100]
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [
        "training",
        "validation",
        "test 2.100",
        "dynamic 1.700",
        "5-gram 1.800",
        "xz 1.900",
    ]
    low, high = axes.get_ylim()
    assert low < 1.7 < 2.2 < high


def test_letters_are_shares_of_each_actual_one() -> None:
    counts = np.array([[3, 1], [0, 0]])
    axes = drawn(figures.letters(counts, [DOT, "a"])).axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]
    assert "0.750" in axes.get_title()


@pytest.mark.parametrize("length", [5, 300])
def test_all_that_was_written_is_shown(length: int) -> None:
    texts = {0.5: "ab " * length, 1.1: "z" * length}
    figure = drawn(figures.written(texts))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown[0] == "temperature 0.5"
    assert "".join(shown[3].split()) == "z" * length
    height = figure.get_figheight() * figure.dpi
    renderer = style.Canvas(figure).get_renderer()
    assert all(text.get_window_extent(renderer).y0 >= 0 for text in figure.axes[0].texts)
    assert all(text.get_window_extent(renderer).y1 <= height for text in figure.axes[0].texts)

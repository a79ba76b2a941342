"""Pictures of memory: what is shown, where, and how it is marked."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from experiments.rnn import figures
from harness.figures import style
from tests.harness.figures.layout import drawn

DOT = figures.BLANK


def test_accuracy_by_length_starts_at_the_trained_length() -> None:
    lengths = np.array([15, 30, 60])
    accuracies = np.array([[1, 0.9, 0.8], [1, 0.5, 0], [0.5, 0.4, 0.3]])
    (axes,) = drawn(figures.accuracy_by_length(lengths, *accuracies, unit="letters")).axes
    *curves, trained = axes.lines
    assert np.array_equal([np.asarray(each.get_ydata()) for each in curves], accuracies)
    labels = [str(each.get_label()) for each in curves]
    assert labels == ["symbols", "whole sequences", "without memory"]
    assert np.ravel(trained.get_xdata()).tolist() == [15, 15]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["15", "30", "60"]
    assert "letters" in axes.get_xlabel()


def test_positions_where_nothing_is_scored_have_no_point() -> None:
    correct, scored = np.array([0, 0, 5, 4]), np.array([0, 0, 5, 8])
    (axes,) = drawn(figures.accuracy_by_position(correct, scored, chance=0.25)).axes
    assert np.ravel(axes.lines[0].get_xdata()).tolist() == [3, 4]
    assert np.ravel(axes.lines[0].get_ydata()).tolist() == [1, 0.5]
    assert "9 of 13" in axes.get_title()
    assert np.ravel(axes.lines[1].get_ydata()).tolist() == [0.25, 0.25]


def test_each_delay_has_its_bar() -> None:
    counts, chance = (np.array([3, 0, 1]), np.array([3, 0, 4])), np.array([1, 0.2, 0.1])
    (axes,) = drawn(figures.accuracy_by_delay(*counts, chance)).axes
    heights = [bar.get_extents().height for bar in axes.patches]
    assert heights[1] / heights[0] == pytest.approx(0.25)
    assert list(axes.get_xticks()) == [0, 2]
    (without_memory,) = axes.collections
    assert isinstance(without_memory, LineCollection)
    assert [segment[0, 1] for segment in without_memory.get_segments()] == [1, 0.1]


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


def test_a_dot_stands_for_a_prediction_that_is_not_scored() -> None:
    scored = [False, False, True, True]
    (axes, _) = drawn(figures.memory(np.eye(4), "abcd", "xyab", scored)).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [f"a\n{DOT}", f"b\n{DOT}", "c\na", "d\nb"]
    assert "not scored" in axes.get_xlabel()


def test_what_is_written_is_told_apart_by_whether_it_is_to_be_remembered() -> None:
    hidden = np.array([[0, 0], [3, 4], [3, 4.5], [3, 4.5], [3, 4.75]])
    to_remember = np.array([False, True, False, False, False])
    scored = np.array([False, False, False, False, True])
    (axes,) = drawn(figures.writing(hidden, to_remember, scored)).axes
    heights: list[list[list[float]]] = []
    for lines in axes.collections:
        assert isinstance(lines, LineCollection)
        heights.append([segment[1].tolist() for segment in lines.get_segments()])
    assert heights == [[[1, 0], [3, 0.5], [4, 0]], [[5, 0.25]], [[2, 5]]]
    labels = [str(each.get_label()) for each in axes.collections]
    assert labels[0] == "other steps (0.17)"
    assert labels[2] == "to be remembered (5.00)"
    nothing = np.zeros(5, bool)
    assert len(drawn(figures.writing(hidden, nothing, nothing)).axes[0].collections) == 1


def test_errors_are_marked_and_only_they() -> None:
    figure = drawn(
        figures.predictions([("abcd", f"{DOT}{DOT}ab", f"{DOT}{DOT}ax"), ("ef", "ef", "ef")])
    )
    marked = [
        text.get_text()
        for text in figure.axes[0].texts
        if (box := text.get_bbox_patch()) and to_hex(box.get_facecolor()).upper() == style.VERMILION
    ]
    assert marked == ["x"]
    assert figure.get_suptitle().startswith("Predictions: 1 error,")


def test_long_blanks_are_left_out() -> None:
    row = ("ab" + DOT * 100 + "z" + DOT * 2, DOT * 103 + "ab", DOT * 103 + "aa")
    figure = drawn(figures.predictions([row]))
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert letters[:6] == ["input", "a", "b", "z", DOT, DOT]
    assert figure.get_suptitle() == "Predictions: 1 error, marked in red, blanks left out"


def test_of_a_long_sequence_the_last_steps_are_shown_and_only_their_errors_are_counted() -> None:
    inputs, target = "a" * 70, DOT * 9 + "b" * 60 + "c"
    figure = drawn(figures.predictions([(inputs, target, DOT * 9 + "x" * 2 + "b" * 58 + "d")]))
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert letters[-1] == "d"
    assert letters.count("a") == 60
    expected = "Predictions: 2 errors, marked in red, the last 60 steps"
    assert figure.get_suptitle() == expected

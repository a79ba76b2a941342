"""Figures of a classifier: the numbers in them are those of its predictions."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.evaluation import confusion_matrix
from harness.figures import classification as figures
from harness.figures import style
from tests.harness.figures.layout import NAMES, drawn


def rows(values: Any) -> list[Any]:
    """Return what matplotlib types loosely, an array, as lists."""
    lists: list[Any] = np.asarray(values).tolist()
    return lists


def legend(figure: Figure) -> list[str]:
    box = figure.axes[0].get_legend()
    assert box is not None
    return [text.get_text() for text in box.get_texts()]


def test_cells_hold_counts_and_shares_of_the_actual_class() -> None:
    matrix = np.array([[1200, 300], [50, 150]])
    (axes,) = drawn(figures.confusion(matrix, ("cats", "dogs"))).axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        (0, 0): "1,200\n80%",
        (1, 0): "300\n20%",
        (0, 1): "50\n25%",
        (1, 1): "150\n75%",
    }
    assert axes.get_title().startswith("Accuracy 0.794: 1,350 of 1,700 correct")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    assert axes.yaxis_inverted()  # the first class is the uppermost, as in the matrix


@pytest.mark.parametrize("num_classes", [4, 12])
def test_cells_keep_apart_however_many_classes(num_classes: int) -> None:
    names = [f"speaker {k + 1}" for k in range(num_classes)]
    figure = figures.confusion(np.full((num_classes, num_classes), 1234), names)
    canvas = style.Canvas(figure)
    (axes,) = figure.axes
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    boxes += [name.get_window_extent(canvas.get_renderer()) for name in axes.get_yticklabels()]
    overlaps = [(i, j) for i, one in enumerate(boxes) for j in range(i) if one.overlaps(boxes[j])]
    assert not overlaps


@pytest.mark.parametrize("num_classes", [3, 30])
def test_long_names_of_classes_are_readable(num_classes: int) -> None:
    names, labels = NAMES[:num_classes], np.arange(120) % num_classes
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(num_classes), 120)
    predicted = probabilities.argmax(1)
    drawn(figures.confusion(confusion_matrix(labels, predicted, num_classes), names))
    drawn(figures.roc_curves(labels, probabilities, names))
    points = random.normal(size=(120, 2))
    drawn(figures.feature_map(points, labels, predicted, names, "Title", ("first", "second")))


def test_a_legend_of_very_many_classes_counts_those_that_it_has_no_room_for() -> None:
    labels, axis_names = np.arange(60), ("first", "second")
    points = np.random.default_rng(0).normal(size=(60, 2))
    figure = drawn(figures.feature_map(points, labels, labels, NAMES[:60], "Title", axis_names))
    assert len(legend(figure)) == figures.MAX_LISTED + 1
    listed = figure.axes[0].get_legend()
    assert listed is not None
    assert listed.get_title().get_text() == f"and {60 - figures.MAX_LISTED} more classes"


def test_a_class_without_samples_has_shares_of_nothing() -> None:
    (axes,) = drawn(figures.confusion(np.array([[0, 0], [0, 3]]), ("cats", "dogs"))).axes
    assert axes.texts[0].get_text() == "0\n0%"
    assert "0 of 0" in figures.confusion(np.zeros((2, 2), int), "ab").axes[0].get_title()


def test_the_roc_curve_turns_where_a_threshold_parts_the_classes() -> None:
    labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9])
    (axes,) = drawn(figures.roc(labels, scores, "dogs")).axes
    curve, chance = axes.lines
    assert rows(curve.get_xydata()) == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert curve.get_label() == "classifier: AUC 0.750"
    assert rows(chance.get_xydata()) == [[0, 0], [1, 1]]
    assert axes.get_title() == "ROC curve, positive class: dogs"
    assert axes.get_xlabel().startswith("false positive rate")
    assert axes.get_ylabel().startswith("true positive rate")
    assert axes.get_aspect() == 1


def test_the_roc_curves_say_that_a_class_has_no_samples() -> None:
    probabilities = np.full((6, 4), 0.25)
    figure = figures.roc_curves(np.array([0, 1, 2, 0, 1, 2]), probabilities, list("abcd"))
    (axes,) = drawn(figure).axes
    assert axes.get_title().startswith("ROC curves, each class that has samples")


def test_the_roc_curve_of_one_class_says_that_there_is_none() -> None:
    (axes,) = drawn(figures.roc(np.ones(3), np.arange(3), "dogs")).axes
    assert "No ROC curve" in axes.texts[0].get_text()


def test_the_reliability_diagram_shows_filled_bins_and_their_gaps() -> None:
    nothing = np.nan
    figure = drawn(
        figures.reliability(
            confidence=np.array([nothing, nothing, 0.55, nothing, 0.9]),
            accuracy=np.array([nothing, nothing, 0.25, nothing, 1.0]),
            samples=np.array([0, 0, 4, 0, 1500]),
            calibration_error=0.1234,
        )
    )
    upper, lower = figure.axes
    points = next(line for line in upper.lines if line.get_label() == "classifier")
    assert rows(points.get_xydata()) == [[0.55, 0.25], [0.9, 1.0]]
    (gaps,) = upper.collections
    assert [rows(gap.vertices) for gap in gaps.get_paths()] == [
        [[0.55, 0.55], [0.55, 0.25]],
        [[0.9, 0.9], [0.9, 1.0]],
    ]
    assert upper.get_title() == "Expected calibration error 0.123"
    assert [text.get_text() for text in lower.texts] == ["", "", "4", "", "1,500"]
    assert upper.get_xlim() == lower.get_xlim() == pytest.approx((0.4, 1))
    assert upper.get_ylim()[0] <= 0.25  # the least accurate bin is inside


def test_the_reliability_diagram_of_nothing_says_so() -> None:
    empty = np.full(10, np.nan)
    (axes,) = drawn(figures.reliability(empty, empty, np.zeros(10, int), 0.0)).axes
    assert "no samples" in axes.texts[0].get_text()


@pytest.mark.parametrize("num_classes", [2, 12])
def test_the_feature_map_marks_classes_and_crosses_out_the_misclassified(
    num_classes: int,
) -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(40, 2))
    labels, predictions = np.arange(40) % num_classes, np.zeros(40, dtype=int)
    names = [f"class {k}" for k in range(num_classes)]
    figure = figures.feature_map(points, labels, predictions, names, "Title", ("first", "second"))
    (axes,) = drawn(figure).axes
    *classes, crosses = axes.collections
    for label, collection in enumerate(classes):
        assert rows(collection.get_offsets()) == points[labels == label].tolist()
    incorrect = points[labels != 0]
    assert rows(crosses.get_offsets()) == incorrect.tolist()
    assert legend(figure) == [*names, f"{len(incorrect)} misclassified"]
    looks = {
        str((rows(collection.get_facecolor()), rows(collection.get_paths()[0].vertices)))
        for collection in classes
    }
    assert len(looks) == num_classes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")


def test_the_feature_map_of_two_samples() -> None:
    labels = np.array([1, 1])
    figure = figures.feature_map(np.eye(2), labels, labels, ("cats", "dogs"), "Title", ("x", "y"))
    assert legend(drawn(figure)) == ["cats", "dogs", "0 misclassified"]

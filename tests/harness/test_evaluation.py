"""Metrics of a classifier, against counting by hand and by loops."""

import numpy as np
import pytest

from harness import evaluation
from harness.evaluation import Predictions


def test_confusions_are_counted_for_classes_without_samples_too() -> None:
    matrix = evaluation.confusion_matrix(np.array([0, 0, 0, 2, 2]), np.array([0, 2, 2, 2, 0]), 4)
    expected = [[1, 0, 2, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert matrix.tolist() == expected


def test_no_samples_make_no_confusions() -> None:
    none = np.array([], dtype=int)
    assert evaluation.confusion_matrix(none, none, 2).tolist() == [[0, 0], [0, 0]]


def test_the_area_is_the_fraction_of_pairs_in_the_correct_order() -> None:
    random = np.random.default_rng(0)
    labels, values = random.integers(0, 2, 60), random.integers(0, 9, 60)
    ones, zeros = values[labels == 1], values[labels == 0]
    ordered = [1.0 if one > zero else 0.5 if one == zero else 0.0 for one in ones for zero in zeros]
    assert evaluation.roc_area(labels, values) == pytest.approx(np.mean(ordered))


def test_one_class_alone_has_no_area() -> None:
    assert np.isnan(evaluation.roc_area(np.ones(3), np.arange(3)))


def test_calibration_of_five_samples_as_computed_by_hand() -> None:
    zero = np.array([0.95, 0.91, 0.62, 0.66, 0.7])
    probabilities = np.stack([zero, 1 - zero], axis=1)
    result = evaluation.reliability(probabilities, np.array([0, 0, 0, 1, 1]))
    # Bin 10: both correct, at 0.93. Bin 7: one of three correct, at 0.66.
    assert result.samples.tolist() == [0, 0, 0, 0, 0, 0, 3, 0, 0, 2]
    assert result.confidence[[6, 9]] == pytest.approx([0.66, 0.93])
    assert result.accuracy[[6, 9]] == pytest.approx([1 / 3, 1])
    assert result.calibration_error == pytest.approx(3 / 5 * (0.66 - 1 / 3) + 2 / 5 * 0.07)
    empty = np.delete(np.arange(10), [6, 9])
    assert np.isnan(result.confidence[empty]).all()
    assert np.isnan(result.accuracy[empty]).all()


@pytest.mark.parametrize(("num_classes", "bins"), [(2, 10), (5, 15)])
def test_calibration_against_a_loop_over_the_samples(num_classes: int, bins: int) -> None:
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.full(num_classes, 0.5), size=400)
    labels = random.integers(0, num_classes, 400)
    error = 0.0
    for m in range(bins):
        members = [n for n in range(400) if m / bins < max(probabilities[n]) <= (m + 1) / bins]
        if members:
            correct = [int(np.argmax(probabilities[n])) == labels[n] for n in members]
            confidence = [max(probabilities[n]) for n in members]
            error += len(members) / 400 * abs(np.mean(correct) - np.mean(confidence))
    result = evaluation.reliability(probabilities, labels, bins)
    assert result.calibration_error == pytest.approx(error)
    assert result.samples.sum() == 400


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    halves = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert evaluation.reliability(halves, np.array([0, 1]), bins=4).samples.tolist() == [0, 1, 1, 0]


def test_certainty_falls_into_the_last_bin_and_no_samples_are_no_error() -> None:
    certain = evaluation.reliability(np.array([[0, 1]], dtype=np.float32), np.array([1]))
    assert certain.samples.tolist() == [0] * 9 + [1]
    assert certain.calibration_error == 0
    assert evaluation.reliability(np.zeros((0, 2)), np.zeros(0)).calibration_error == 0


def test_metrics_of_predictions_by_hand() -> None:
    dogs = np.array([0.1, 0.6, 0.3, 0.8])
    labels = np.array([0, 1, 1, 1])
    predictions = Predictions(labels, np.stack([1 - dogs, dogs], axis=1), ("cats", "dogs"))
    metrics = predictions.metrics()
    assert metrics["test/accuracy"] == predictions.accuracy == 0.75
    assert metrics["test/loss"] == pytest.approx(-np.log([0.9, 0.6, 0.3, 0.8]).mean())
    assert metrics["test/roc_area"] == 1.0  # the one cat has the lowest probability of dogs
    assert metrics["test/calibration_error"] == predictions.reliability.calibration_error
    assert predictions.confusion.tolist() == [[1, 0], [1, 2]]
    assert predictions.table(name="abcd") == {
        "name": ["a", "b", "c", "d"],
        "actual": ["cats", "dogs", "dogs", "dogs"],
        "predicted": ["cats", "dogs", "cats", "dogs"],
        "correct": [True, True, False, True],
    }
    assert predictions.most_confident(correct=True, count=2).tolist() == [0, 3]
    assert predictions.most_confident(correct=False, count=2).tolist() == [2]
    assert predictions.select(np.array([2, 0])).predicted.tolist() == [0, 0]


def test_without_samples_of_all_classes_there_is_no_roc_area() -> None:
    probabilities = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    metrics = Predictions(np.array([2, 2]), probabilities, ("a", "b", "c")).metrics("val")
    names = ("accuracy", "loss", "brier_score", "calibration_error")
    assert set(metrics) == {f"val/{name}" for name in names}
    assert metrics["val/loss"] == pytest.approx(-np.log([0.5, 0.1]).mean())


def test_classes_of_unequal_size() -> None:
    """Nine of a, one of b and two of c: each class counts as much as the others."""
    rng = np.random.default_rng(0)
    labels = np.array(9 * [0] + [1] + 2 * [2])
    probabilities = rng.dirichlet(np.ones(3), len(labels))
    predictions = Predictions(labels, probabilities, ("a", "b", "c"))
    predicted = probabilities.argmax(1)
    recalls = [(predicted[labels == k] == k).mean() for k in range(3)]
    table = predictions.by_class()
    assert table["class"] == ["a", "b", "c"]
    assert table["samples"] == [9, 1, 2]
    assert table["accuracy"] == pytest.approx(recalls)
    metrics = predictions.metrics()
    assert metrics["test/balanced_accuracy"] == pytest.approx(np.mean(recalls))
    pairs = [
        np.mean([[a > b for b in scores[labels != k]] for a in scores[labels == k]])
        for k, scores in enumerate(probabilities.T)
    ]
    assert metrics["test/roc_area"] == pytest.approx(np.mean(pairs))


def test_each_class_is_shown_in_turn() -> None:
    probabilities = np.array([[0.1, 0.9], [0.05, 0.95], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
    predictions = Predictions(np.array([1, 1, 0, 0, 0]), probabilities, ["cats", "dogs"])
    assert predictions.most_confident_by_class(3).tolist() == [1, 2, 0]
    assert predictions.most_confident_by_class(9).tolist() == [1, 2, 0, 4]

"""Temperatures, prediction sets and abstention, against what is known of simulated classifiers."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from harness.errors import UserError
from harness.evaluation import Predictions
from harness.figures.style import drawn
from harness.inference.request import ClassifyRequest
from harness.serving.served_model import InvalidInputError, classified, threshold
from harness.uncertainty import (
    Uncertainty,
    calibration_of,
    fit_temperature,
    selective_accuracy,
    tempered,
)

CLASSES = ["cats", "dogs", "hens"]


def simulated(count: int, seed: int, scale: float = 1.0) -> Predictions:
    """Return a classifier whose logits would be calibrated, had they not been scaled."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(count, len(CLASSES)))
    probabilities = softmax(logits)
    labels = (generator.random((count, 1)) > probabilities.cumsum(1)).sum(1)
    return Predictions(labels, softmax(scale * logits), CLASSES)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, (N, K)."""
    return torch.from_numpy(logits).softmax(1).numpy()


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_takes_back_what_logits_were_scaled_by(scale: float) -> None:
    predictions = simulated(20_000, 0, scale)
    temperature = fit_temperature(predictions)
    assert temperature == pytest.approx(scale, rel=0.05)
    calibrated = tempered(predictions, temperature)
    assert calibrated.metrics()["test/loss"] <= predictions.metrics()["test/loss"]
    assert (calibrated.predicted == predictions.predicted).all()
    expected = simulated(20_000, 0).probabilities
    assert np.abs(tempered(predictions, scale).probabilities - expected).max() < 1e-9


def test_without_mistakes_probabilities_are_not_one() -> None:
    """Of N samples without any, one in N + 2 is a guess at how many there are."""
    labels = np.arange(98) % 2
    probabilities = np.where(np.eye(2)[labels] > 0, 0.9, 0.1)
    predictions = Predictions(labels, probabilities, CLASSES[:2])
    calibrated = tempered(predictions, fit_temperature(predictions))
    assert calibrated.confidence == pytest.approx(np.full(98, 0.99), abs=1e-4)


def test_the_brier_score_is_that_of_a_hand() -> None:
    predictions = Predictions(np.array([0, 2]), np.array([[0.5, 0.3, 0.2], [0, 0, 1.0]]), CLASSES)
    assert predictions.brier_score == pytest.approx((0.25 + 0.09 + 0.04 + 0) / 2)


@pytest.mark.parametrize("coverage", [0.85, 0.9, 0.99])
def test_sets_contain_the_actual_class_as_often_as_asked(coverage: float) -> None:
    """On average over validation splits, whatever the probabilities are worth.

    No set is empty, which adds a little where the coverage is near the accuracy.
    """
    contained = []
    for seed in range(200):
        calibration = calibration_of(simulated(150, seed, scale=2.5))
        test = simulated(300, 1_000 + seed, scale=2.5)
        sets = calibration.sets(test, coverage)
        assert sets.any(1).all()
        contained.append(sets[np.arange(300), test.labels].mean())
    error = 3 * np.std(contained) / len(contained) ** 0.5
    assert coverage - error <= np.mean(contained) <= coverage + 1 / 151 + error + 0.02


@pytest.mark.parametrize(
    ("coverage", "expected"), [(0.1, 0.1), (0.5, 0.3), (0.61, 0.4), (0.8, 0.4), (0.81, 1.0)]
)
def test_the_threshold_has_the_rank_of_split_conformal_prediction(
    coverage: float, expected: float
) -> None:
    assert threshold([0.1, 0.2, 0.3, 0.4], coverage) == expected


def test_many_scores_are_thinned_without_losing_coverage() -> None:
    validation, test = simulated(5_000, 1), simulated(5_000, 2)
    calibration = calibration_of(validation)
    assert len(calibration.scores) == 1_000
    exact = np.sort(
        1 - calibration.applied_to(validation).probabilities[np.arange(5_000), validation.labels]
    )
    for coverage in (0.5, 0.9, 0.99):
        thinned, every = (threshold(list(each), coverage) for each in (calibration.scores, exact))
        assert every <= thinned <= every + 0.02
        assert calibration.sets(test, coverage).sum() > 0


def test_a_served_model_answers_with_the_same_probabilities_and_sets() -> None:
    calibration, test = calibration_of(simulated(500, 3, scale=2)), simulated(50, 4, scale=2)
    metadata = {"classes": CLASSES, "calibration": calibration._asdict()}
    logits = torch.from_numpy(np.log(test.probabilities))
    rows = list(classified(metadata, logits, {"coverage": 0.9}))
    probabilities = [[row["probabilities"][name] for name in CLASSES] for row in rows]
    expected = calibration.applied_to(test).probabilities
    assert np.array(probabilities) == pytest.approx(expected)
    sets = calibration.sets(test, 0.9)
    for row, members in zip(rows, sets, strict=True):
        assert row["prediction_set"] == list(itertools.compress(CLASSES, members))
    assert all("prediction_set" not in row for row in classified(metadata, logits))


@pytest.mark.parametrize("coverage", [-0.1, 1.0, 7.0])
def test_a_coverage_that_is_no_probability_is_refused(coverage: float) -> None:
    metadata = {"classes": CLASSES, "calibration": {"temperature": 1.0, "scores": [0.5]}}
    with pytest.raises(InvalidInputError, match=f"coverage={coverage}: from 0"):
        list(classified(metadata, torch.zeros(1, 3), {"coverage": coverage}))
    with pytest.raises(UserError, match="coverage"):
        ClassifyRequest(model="m", inputs=("x",), coverage=coverage)


def test_a_model_of_an_earlier_version_has_no_sets() -> None:
    rows = list(classified({"classes": CLASSES}, torch.zeros(1, 3)))
    assert rows[0]["probability"] == pytest.approx(1 / 3)
    with pytest.raises(InvalidInputError, match="has no prediction sets"):
        list(classified({"classes": CLASSES}, torch.zeros(1, 3), {"coverage": 0.9}))


def test_the_most_confident_are_answered_first() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.45, 0.55]])
    predictions = Predictions(np.array([1, 1, 0, 1]), probabilities, CLASSES[:2])
    assert selective_accuracy(predictions) == pytest.approx([1, 1, 2 / 3, 3 / 4])
    calibration = calibration_of(simulated(100, 0))
    area = Uncertainty(predictions, calibration).metrics["test/risk_coverage_area"]
    assert area == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_the_area_is_that_of_the_calibrated_probabilities_which_are_drawn() -> None:
    """Of three classes or more, a temperature changes who is the most confident."""
    found = simulated(400, 1)
    calibration = calibration_of(found)._replace(temperature=4.0)
    answered = calibration.applied_to(found)
    order = np.argsort(-answered.probabilities.max(1), kind="stable")
    risks = 1 - answered.correct[order].cumsum() / np.arange(1, 401)
    area = Uncertainty(found, calibration).metrics["test/risk_coverage_area"]
    assert area == pytest.approx(risks.mean())
    assert area != pytest.approx((1 - selective_accuracy(found)).mean())


def test_the_figure_is_drawn_of_few_samples_and_of_many() -> None:
    calibration = calibration_of(simulated(60, 5))
    for count in (1, 3_000):
        ((name, figure),) = Uncertainty(simulated(count, 6), calibration).figures()
        assert name == "uncertainty"
        assert isinstance(figure, Figure)
        assert 800 < drawn(figure).width <= 900


def test_of_hardly_any_mistakes_the_axes_do_not_zoom_in_on_nothing() -> None:
    labels = np.arange(400) % 3
    probabilities = np.where(np.eye(3)[labels] == 1, 0.998, 0.001)
    predictions = Predictions(labels, probabilities, CLASSES)
    ((_, figure),) = Uncertainty(predictions, calibration_of(predictions)).figures()
    assert isinstance(figure, Figure)
    calibration, abstention, *_ = figure.axes
    assert calibration.get_xlim()[0] == pytest.approx(0.9)
    assert abstention.get_ylim()[0] == pytest.approx(0.9)

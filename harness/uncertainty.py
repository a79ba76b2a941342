"""How sure a classifier may be of its predictions: temperature, prediction sets, abstention.

Both are fitted on the validation split and kept with the model, so that probabilities of the model
that is logged are calibrated, and it can be asked for sets of classes of a given coverage. Letters:
N samples, K classes.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from harness.evaluation import Predictions
from harness.experiment import AnyExperiment, ModelExport, NamedFigure, Trained
from harness.figures import uncertainty as figure
from harness.serving.served_model import threshold

COVERAGES = (0.9, 0.99)
"""Those whose prediction sets are measured on the test split."""
DRAWN_COVERAGES = (0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
TEMPERATURES = (0.05, 20.0)
LEAST = 1e-30
"""Below it, probabilities are taken for this one, whose logarithm is finite."""
MAX_SCORES = 1_000
"""Quantiles of the scores that are kept with a model, of which there may be any number."""


class Calibration(NamedTuple):
    """What is learned on the validation split about a classifier's probabilities."""

    temperature: float
    """By which logits are divided: above 1, the network was too confident."""
    scores: list[float]
    """Ascending: one minus the probability of the actual class, in [0, 1], of samples, or their
    quantiles."""

    def applied_to(self, predictions: Predictions) -> Predictions:
        """Return predictions with calibrated probabilities; the predicted classes stay."""
        return tempered(predictions, self.temperature)

    def sets(self, predictions: Predictions, coverage: float) -> np.ndarray:
        """Return which classes are in the prediction set of each sample, (N, K) bool.

        They are those whose calibrated probability is no lower than that of the actual class in a
        fraction `coverage` of the validation samples, and always the most probable one. New samples
        of the same kind have their actual class in it with that probability at least (split
        conformal prediction: Vovk et al. 2005; Sadinle et al. 2019).
        """
        probabilities = self.applied_to(predictions).probabilities
        sets = 1 - probabilities <= threshold(self.scores, coverage)
        sets[np.arange(len(sets)), probabilities.argmax(1)] = True
        return np.asarray(sets)


def calibrate(experiment: AnyExperiment, trained: Trained) -> Calibration | None:
    """Calibrate a model on its validation split; None if it is no classifier, or has none."""
    if not trained.history.is_validated:
        return None
    predictions = experiment.predictions(trained, trained.data.validation)
    return None if predictions is None else calibration_of(predictions)


def calibration_of(validation: Predictions) -> Calibration:
    """Fit the temperature, and note how probable the actual classes then are."""
    temperature = fit_temperature(validation)
    probabilities = tempered(validation, temperature).probabilities
    scores = np.sort(1 - probabilities[np.arange(len(probabilities)), validation.labels])
    if len(scores) > MAX_SCORES:  # of each interval the highest: sets are too large, if anything
        scores = np.quantile(scores, np.arange(1, MAX_SCORES + 1) / MAX_SCORES, method="higher")
    return Calibration(temperature, scores.tolist())


def fit_temperature(predictions: Predictions) -> float:
    """Return the temperature of the lowest cross-entropy (Guo et al. 2017, section 4.2).

    One sample in N + 2 is taken to be of another class, after Platt 1999: where none is
    misclassified, the lowest cross-entropy would be that of temperature 0, all probabilities 1.
    """
    num_samples, num_classes = predictions.probabilities.shape
    other = 1 / (num_samples + 2)
    targets = np.full((num_samples, num_classes), other / max(1, num_classes - 1))
    targets[np.arange(num_samples), predictions.labels] = 1 - other

    def loss(log_temperature: float) -> float:
        probabilities = tempered(predictions, math.exp(log_temperature)).probabilities
        return float(-(targets * np.log(np.maximum(probabilities, LEAST))).sum(1).mean())

    bounds = tuple(map(math.log, TEMPERATURES))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)


def tempered(predictions: Predictions, temperature: float) -> Predictions:
    """Return predictions whose logits are divided by a temperature."""
    # Logarithms of probabilities are logits, up to a constant that the softmax takes away.
    logits = np.log(np.maximum(predictions.probabilities, LEAST)) / temperature
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    return predictions._replace(probabilities=probabilities)


def selective_accuracy(predictions: Predictions) -> np.ndarray:
    """Return the accuracy on the n most confident of N samples, for n = 1 to N: (N,)."""
    order = np.argsort(-predictions.confidence, kind="stable")
    return np.asarray(predictions.correct[order].cumsum() / np.arange(1, len(order) + 1))


class Uncertainty(NamedTuple):
    """A classifier's predictions of the test split, and what it learned on the validation split."""

    predictions: Predictions
    calibration: Calibration

    def reached(self, coverage: float) -> tuple[float, float]:
        """Return the fraction of sets that contain the actual class, and their mean size."""
        sets = self.calibration.sets(self.predictions, coverage)
        contained = sets[np.arange(len(sets)), self.predictions.labels]
        return float(contained.mean()), float(sets.sum(1).mean())

    @property
    def metrics(self) -> dict[str, float]:
        """What calibration changes, and what prediction sets contain.

        The area under the risk-coverage curve is the mean error rate over all numbers of samples
        that are answered, the most confident first (Geifman & El-Yaniv 2017).
        """
        predictions = self.calibration.applied_to(self.predictions)
        calibrated = predictions.metrics()
        names = ("loss", "brier_score", "calibration_error")
        found = {f"test/calibrated_{name}": calibrated[f"test/{name}"] for name in names}
        found["best/temperature"] = self.calibration.temperature
        area = (1 - selective_accuracy(predictions)).mean()
        found["test/risk_coverage_area"] = float(area)
        for coverage in COVERAGES:
            percent = f"{100 * coverage:.0f}"
            contained, size = self.reached(coverage)
            found |= {f"test/set_coverage_{percent}": contained, f"test/set_size_{percent}": size}
        return found

    def figures(self) -> Iterator[NamedFigure]:
        """Draw it."""
        calibrated = self.calibration.applied_to(self.predictions)
        reached, sizes = zip(*map(self.reached, DRAWN_COVERAGES), strict=True)
        yield (
            "uncertainty",
            figure.uncertainty(
                self.predictions.reliability,
                calibrated.reliability,
                self.calibration.temperature,
                selective_accuracy(calibrated),
                DRAWN_COVERAGES,
                reached,
                sizes,
            ),
        )


def on_test(
    experiment: AnyExperiment, trained: Trained, calibration: Calibration | None
) -> Uncertainty | None:
    """Return what to say of a classifier's probabilities; None of what is no classifier."""
    predictions = experiment.predictions(trained, trained.data.test)
    if predictions is None or calibration is None or not len(predictions.labels):
        return None
    return Uncertainty(predictions, calibration)


def kept_with(exported: ModelExport, calibration: Calibration | None) -> ModelExport:
    """Keep a calibration with a model, where `harness.serving.served_model` finds it."""
    if calibration is None:
        return exported
    metadata = {**exported.metadata, "calibration": calibration._asdict()}
    return dataclasses.replace(exported, metadata=metadata)

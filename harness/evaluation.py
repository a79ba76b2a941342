"""How good a classifier is: accuracy, loss, ranking, calibration, what it confuses with what.

Letters: N samples, K classes, M bins.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sklearn.metrics

from harness.experiment import Evaluation


class Reliability(NamedTuple):
    """The accuracy of a classifier by bins of its confidence.

    Bin m of M holds the samples whose confidence lies in ((m - 1) / M, m / M].
    """

    confidence: np.ndarray
    """(M,) mean confidence of each bin in [0, 1], nan where a bin is empty."""
    accuracy: np.ndarray
    """(M,) fraction of each bin that is classified correctly, nan where a bin is empty."""
    samples: np.ndarray
    """(M,) int: the number of samples in each bin."""
    calibration_error: float
    """Mean distance of accuracy and confidence, each bin weighted by its samples, in [0, 1]."""


class Predictions(NamedTuple):
    """What a classifier predicts for N samples, and what they are."""

    labels: np.ndarray
    """(N,) int in [0, K)."""
    probabilities: np.ndarray
    """(N, K) float in [0, 1]."""
    classes: Sequence[str]
    """The names of the K classes."""

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each sample, (N,) int."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that class, (N,) float."""
        return np.asarray(self.probabilities.max(1))

    @property
    def correct(self) -> np.ndarray:
        """Whether that class is the actual one, (N,) bool."""
        return np.asarray(self.predicted == self.labels)

    @property
    def accuracy(self) -> float:
        """The fraction of samples that are classified correctly."""
        return float(self.correct.mean())

    @property
    def brier_score(self) -> float:
        """The mean squared distance between the probabilities and the actual class (Brier 1950)."""
        actual = np.eye(len(self.classes))[self.labels]
        return float(np.square(self.probabilities - actual).sum(1).mean())

    @property
    def confusion(self) -> np.ndarray:
        """The number of samples by actual class (rows) and predicted class (columns), (K, K)."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

    @property
    def reliability(self) -> Reliability:
        """The accuracy by confidence."""
        return reliability(self.probabilities, self.labels)

    def metrics(self, split: str = "test") -> dict[str, float]:
        """Return accuracy, cross-entropy in nats, Brier score, calibration error and ROC area.

        The Brier score is the mean squared distance of the probabilities from 1 for the actual
        class and 0 for the others, in [0, 2].

        Balanced accuracy is the mean of the classes' own accuracies; the ROC area of more than two
        classes is the mean over each class against all others. Both take samples of all classes.
        """
        classes = range(len(self.classes))
        values = {
            "accuracy": self.accuracy,
            "loss": sklearn.metrics.log_loss(self.labels, self.probabilities, labels=classes),
            "brier_score": self.brier_score,
            "calibration_error": self.reliability.calibration_error,
        }
        if set(self.labels.tolist()) == set(classes):
            values["balanced_accuracy"] = float(np.mean(self.by_class()["accuracy"]))
            areas = [roc_area(self.labels == k, self.probabilities[:, k]) for k in classes]
            values["roc_area"] = areas[1] if len(classes) == 2 else float(np.mean(areas))
        return {f"{split}/{name}": float(value) for name, value in values.items()}

    def by_class(self) -> dict[str, list[Any]]:
        """Return samples and accuracy of each class: nan of one without samples."""
        samples = np.bincount(self.labels, minlength=len(self.classes))
        correct = np.bincount(self.labels[self.correct], minlength=len(self.classes))
        with np.errstate(invalid="ignore"):
            accuracy = (correct / samples).tolist()
        return {"class": list(self.classes), "samples": samples.tolist(), "accuracy": accuracy}

    def table(self, **columns: Iterable[Any]) -> dict[str, list[Any]]:
        """Return actual and predicted class of each sample, after the columns given."""
        return {
            **{name: list(values) for name, values in columns.items()},
            "actual": [self.classes[label] for label in self.labels],
            "predicted": [self.classes[label] for label in self.predicted],
            "correct": self.correct.tolist(),
        }

    def most_confident(self, *, correct: bool, count: int) -> np.ndarray:
        """Return the indices of the correct or the incorrect ones, the most confident first."""
        candidates = np.flatnonzero(self.correct == correct)
        return candidates[np.argsort(-self.confidence[candidates], kind="stable")][:count]

    def most_confident_by_class(self, count: int) -> np.ndarray:
        """Return the indices of correct ones: the most confident of each class, then the second."""
        order = self.most_confident(correct=True, count=len(self.labels))
        classes = self.predicted[order]
        rank = np.zeros(len(order), dtype=int)  # within the class
        for k in range(len(self.classes)):
            rank[classes == k] = np.arange((classes == k).sum())
        return order[np.argsort(rank, kind="stable")][:count]

    def select(self, indices: np.ndarray) -> "Predictions":
        """Return those of the samples at `indices`, in that order."""
        return Predictions(self.labels[indices], self.probabilities[indices], self.classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierEvaluation(Evaluation):
    """What a classifier reaches on the test split, and its predictions there."""

    predictions: Predictions


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count samples by their actual class (rows) and predicted class (columns): (K, K) int.

    Args:
        labels: (N,) int in [0, K).
        predicted: (N,) int in [0, K).
        num_classes: K; classes that no sample has get rows and columns too.

    """
    if not len(labels):  # scikit-learn asks for at least one sample
        return np.zeros((num_classes, num_classes), dtype=np.int64)
    return np.asarray(
        sklearn.metrics.confusion_matrix(labels, predicted, labels=range(num_classes))
    )


def roc_area(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve, nan unless both classes are there.

    It is the probability that a sample of class 1 scores higher than one of class 0. Both labels,
    0 or 1, and scores are (N,).
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(sklearn.metrics.roc_auc_score(labels, scores))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """Compare confidence with accuracy: Guo et al. 2017, "On calibration", equations 1 to 3.

    Args:
        probabilities: (N, K) float in [0, 1]; the largest of a row is the sample's confidence.
        labels: (N,) int in [0, K).
        bins: M, the number of bins of equal width.

    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of = np.digitize(confidence, inner_edges, right=True)
    samples = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 in an empty bin
        mean_confidence = np.bincount(bin_of, confidence, minlength=bins) / samples
        accuracy = np.bincount(bin_of, correct, minlength=bins) / samples
    gaps = np.nansum(samples * np.abs(accuracy - mean_confidence))
    return Reliability(mean_confidence, accuracy, samples, float(gaps / max(len(labels), 1)))


def sample_std(values: Iterable[float]) -> float:
    """Return the sample standard deviation, and 0 for a single value."""
    values = list(values)
    return statistics.stdev(values) if len(values) > 1 else 0.0


def pooled_standard_error(std_1: float, n_1: int, std_2: float, n_2: int) -> float:
    """Return the standard error of the difference of two means, nan of one value each.

    It is s sqrt(1/n1 + 1/n2), with the pooled variance s^2 = ((n1-1) s1^2 + (n2-1) s2^2) /
    (n1 + n2 - 2), of independent samples of equal variance.
    """
    if n_1 + n_2 == 2:
        return math.nan
    squares = (n_1 - 1) * std_1**2 + (n_2 - 1) * std_2**2
    return math.sqrt(squares / (n_1 + n_2 - 2) * (1 / n_1 + 1 / n_2))

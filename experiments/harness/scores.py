"""What a classifier's answers are worth, beyond their accuracy."""

from typing import NamedTuple

import numpy as np
from sklearn import metrics


class Reliability(NamedTuple):
    """How often a classifier is right when it claims to be so sure, by bins of its confidence.

    Bin m of M holds the samples whose confidence lies in ((m - 1) / M, m / M].
    """

    confidence: np.ndarray
    """(M,) mean confidence of each bin in [0, 1], nan where a bin is empty."""
    accuracy: np.ndarray
    """(M,) share of each bin that is right, nan where a bin is empty."""
    samples: np.ndarray
    """(M,) int: how many samples each bin holds."""
    calibration_error: float
    """Mean distance of accuracy and confidence, each bin weighed by its samples, in [0, 1]."""


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the samples of each actual class (rows) by what they were said to be (columns).

    Args:
        labels: (N,) int in [0, num_classes).
        predictions: (N,) int in [0, num_classes).
        num_classes: K; classes that no sample has get rows and columns too.

    Returns:
        (K, K) int.

    """
    if not len(labels):  # scikit-learn wants at least one
        return np.zeros((num_classes, num_classes), dtype=int)
    classes = np.arange(num_classes)
    return np.asarray(metrics.confusion_matrix(labels, predictions, labels=classes))


def roc_area(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve, nan unless both classes are there.

    It is the probability that a sample of class 1 scores higher than one of class 0.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) float, higher for class 1.

    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(metrics.roc_auc_score(labels, scores))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """Compare confidence with accuracy: Guo et al. 2017, "On calibration", equations 1 to 3.

    Args:
        probabilities: (N, K) float in [0, 1]; the largest of a row is the sample's confidence.
        labels: (N,) int in [0, K).
        bins: M, the number of bins of equal width.

    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of = np.digitize(confidence, inner_edges, right=True)
    samples = np.bincount(bin_of, minlength=bins)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(bin_of, values, minlength=bins)
        means = np.full(bins, np.nan)
        np.divide(sums, samples, out=means, where=samples > 0)
        return means

    mean_confidence, accuracy = mean(confidence), mean(right)
    gap = np.nan_to_num(np.abs(accuracy - mean_confidence))
    calibration_error = float((samples * gap).sum() / max(samples.sum(), 1))
    return Reliability(mean_confidence, accuracy, samples, calibration_error)

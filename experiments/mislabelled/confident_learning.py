"""Which labels are probably wrong, from predictions of models that have not seen them.

Letters: N samples, K classes.
"""

import numpy as np


def suggested_labels(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the label that each sample probably has (Northcutt, Jiang & Chuang 2021, eq. 1 and 2).

    A sample counts as of a class if that class's probability is at least the mean over the samples
    that are labelled with it; of several such classes, as of the most probable. A sample that
    counts as of none keeps its label. Those with another label than theirs are what the paper
    counts off the diagonal of its confident joint.

    Args:
        labels: (N,) int in [0, K), each class at least once.
        probabilities: (N, K) float in [0, 1], out of sample: by a model that was not trained on the
            sample.

    Returns:
        (N,) int in [0, K).

    """
    classes = range(probabilities.shape[1])
    thresholds = np.array([probabilities[labels == k, k].mean() for k in classes])
    confident = probabilities >= thresholds
    most_probable = np.where(confident, probabilities, -1).argmax(1)
    return np.where(confident.any(1), most_probable, labels)


def ranked(labels: np.ndarray, suggested: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the indices of photographs to look at, those with the clearest reason first.

    They are those whose suggested label is another, ranked by margin, the most probable class's
    probability less that of the label; then, likewise, the others whose most probable class is
    another, which are only unlike their class.
    """
    rows = np.arange(len(labels))
    confident, predicted = suggested != labels, probabilities.argmax(1)
    margins = probabilities[rows, predicted] - probabilities[rows, labels]
    candidates = np.flatnonzero(confident | (predicted != labels))
    order = np.lexsort((-margins[candidates], ~confident[candidates]))
    return np.asarray(candidates[order])

"""Figures of any classifier: confusion matrix, ROC curve, reliability diagram, feature map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL.Image import Image
from sklearn import metrics

from harness.figures import style
from harness.figures.letters import short, width
from harness.training.history import History
from harness.wording import plural

COLOURS = style.class_colours(7)
"""Vermilion and black are left for misclassified samples."""
MAX_CURVES = len(COLOURS)
"""ROC curves that one figure can have."""
MAX_NUMBERED = 12
"""Classes of a confusion matrix whose cells have room for numbers."""
ROOM_FOR_NAMES = 36
"""Letters that find room in one line below the columns of a confusion matrix."""
MAX_LISTED = 42
"""Classes that the legend of a feature map has room for."""
MARKERS = "os^DvP"  # 7 colours and 6 markers: 42 classes before a pair returns


def confusion_by_epoch(
    history: History, names: Sequence[str], count: int, num_epochs: int = 4
) -> dict[int, Image]:
    """Draw the confusion matrices of some epochs on `count` validation samples.

    The history has them as `val/confusion`, (K, K) shares of all samples; it has none, and nothing
    is drawn, where there are too many classes, or an earlier version has trained.
    """
    if "val/confusion" not in history.raw[0]:
        return {}
    shares = history.stacked("val/confusion")  # (epochs, K, K)
    drawn = {}
    for epoch in history.milestones(num_epochs):
        matrix = (count * shares[epoch - 1]).round().astype(int)
        drawn[epoch] = style.drawn(confusion(matrix, names, epoch=epoch))
    return drawn


def confusion(matrix: np.ndarray, names: Sequence[str], *, epoch: int = 0) -> Figure:
    """Draw a confusion matrix.

    Args:
        matrix: (K, K) int, actual classes in rows, predicted ones in columns.
        names: The K classes.
        epoch: After which it was measured, on validation samples (0: not said).

    """
    names = [short(name) for name in names]
    num_classes, total, correct = len(names), int(matrix.sum()), int(np.trace(matrix))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)  # of each actual class
    crowded = num_classes > 4
    numbered = num_classes <= MAX_NUMBERED
    slanted = crowded or num_classes * max(map(width, names)) > ROOM_FOR_NAMES
    side = 7.2 if not numbered else 6.2 if slanted else 5.2
    figure, ((axes,),) = style.canvas(width=side, height=side)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    if not numbered:
        figure.colorbar(image, ax=axes, label="fraction of the actual class", shrink=0.7)
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8 if crowded else 13}
    for (row, column), count in np.ndenumerate(matrix if numbered else np.empty((0, 0))):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{count:,}\n{share:.0%}", color=colour, **look)
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(num_classes), names, **(slant if slanted else {}))
    axes.set_yticks(range(num_classes), names)
    axes.tick_params(length=0, labelsize=None if numbered else max(4, 270 // num_classes))
    title = f"Accuracy {correct / max(total, 1):.3f}: {correct:,} of {total:,} correct"
    title = f"Validation after epoch {epoch}. {title}" if epoch else title
    title += "\n(percentages are of each actual class)" if numbered else ""
    style.titled(axes, title, "predicted", "actual")
    return figure


def roc(labels: np.ndarray, scores: np.ndarray, positive: str) -> Figure:
    """Draw an ROC curve: the true against the false positive rate, over all thresholds.

    Args:
        labels: (N,) 1 for the positive class, 0 for the others.
        scores: (N,) float, higher for the positive class.
        positive: Name of the positive class.

    """
    if len(np.unique(labels)) < 2:
        return note("No ROC curve: it takes samples of both classes")
    positive = short(positive)
    false_positives, true_positives, _ = metrics.roc_curve(labels, scores)
    area = metrics.auc(false_positives, true_positives)
    figure, ((axes,),) = style.canvas(width=5.4, height=5.4)
    curve = {"color": style.BLUE, "clip_on": False, "label": f"classifier: AUC {area:.3f}"}
    axes.plot(false_positives, true_positives, **curve)
    _draw_diagonal(axes, "chance: AUC 0.5")
    axes.set(
        title=f"ROC curve, positive class: {positive}",
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    axes.legend(frameon=False, loc="lower right")
    return figure


def roc_curves(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the ROC curve of the second of two classes, or of each of several against the others.

    Of many classes, the `MAX_CURVES` with the smallest areas are drawn.

    Args:
        labels: (N,) int in [0, K).
        probabilities: (N, K) float in [0, 1].
        names: The K classes.

    """
    if len(names) == 2:
        return roc(labels, probabilities[:, 1], names[1])
    present = [k for k in range(len(names)) if 0 < (labels == k).sum() < len(labels)]
    if not present:
        return note("No ROC curves: they take samples of several classes")
    curves = {k: metrics.roc_curve(labels == k, probabilities[:, k])[:2] for k in present}
    areas = {k: metrics.auc(*curves[k]) for k in present}
    drawn = sorted(sorted(present, key=areas.__getitem__)[:MAX_CURVES])
    of_class = len(names) <= len(COLOURS)  # the colour of a class in every figure
    figure, ((axes,),) = style.canvas(width=6.4, height=5.8)
    for place, k in enumerate(drawn):
        look = {"color": COLOURS[k if of_class else place], "clip_on": False}
        axes.plot(*curves[k], label=f"{short(names[k])}: {areas[k]:.3f}", **look)
    _draw_diagonal(axes, "chance: 0.5")
    every = "each class" if len(present) == len(names) else "each class that has samples"
    which = every if len(drawn) == len(present) else f"the {len(drawn)} smallest AUC"
    title = f"ROC curves, {which} against the others\nmean AUC {np.mean(list(areas.values())):.3f}"
    style.titled(axes, title, "false positive rate", "true positive rate")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(frameon=False, loc="lower right", title="AUC")
    return figure


def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, samples: np.ndarray, calibration_error: float
) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, and the samples of each bin.

    The expected calibration error (Guo et al. 2017, "On calibration of modern neural networks") is
    the mean length of the lines from the points to the diagonal, weighted by the bins' samples.

    Args:
        confidence: (M,) mean confidence of each bin of equal width, nan where it is empty.
        accuracy: (M,) fraction of each bin that is classified correctly, nan where it is empty.
        samples: (M,) int, how many samples each bin holds.
        calibration_error: Expected calibration error, in [0, 1].

    """
    filled = np.flatnonzero(samples)
    if not len(filled):
        return note("No reliability diagram: there are no samples")
    edges = np.linspace(0, 1, len(samples) + 1)
    figure, ((upper,), (lower,)) = style.canvas(2, 1, width=6.6, height=5.4)
    upper.get_gridspec().set_height_ratios([3, 1])
    x, y = confidence[filled], accuracy[filled]
    upper.plot(x, y, "o", color=style.BLUE, markersize=8, label="classifier", clip_on=False)
    _draw_diagonal(upper, "perfectly calibrated")
    upper.vlines(x, x, y, color=style.VERMILION, linewidth=3, label="gap", zorder=1)
    lowest = edges[filled[0]]
    upper.set(title=f"Expected calibration error {calibration_error:.3f}", ylabel="accuracy")
    upper.set_ylim(min(lowest, 0.95 * y.min()), 1)
    upper.tick_params(labelbottom=False)
    style.legend(upper)

    look: dict[str, Any] = {"align": "edge", "color": style.BLUE, "ec": "white"}
    bars = lower.bar(edges[:-1], samples, np.diff(edges), **look)
    lower.bar_label(bars, [f"{n:,}" if n else "" for n in samples], padding=2, fontsize=9)
    lower.set_ylim(0, 1.2 * samples.max())
    style.titled(lower, "", "confidence: probability of the predicted class", "samples")
    for axes in (upper, lower):
        axes.set(xlim=(lowest, 1), xticks=edges[filled[0] :])
    return figure


def feature_map(
    points: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    names: Sequence[str],
    title: str,
    axis_names: tuple[str, str],
) -> Figure:
    """Draw samples in a plane of their features, by class; misclassified ones are circled.

    Args:
        points: (N, 2) float.
        labels: (N,) int in [0, K).
        predictions: (N,) int in [0, K).
        names: The K classes.
        title: Of the figure, such as which layer's features they are.
        axis_names: Such as "first principal component (41% of the variance)".

    """
    listed = [short(name) for name in names[:MAX_LISTED]]
    is_long = len(names) > 4 or sum(map(width, listed)) > ROOM_FOR_NAMES
    figure, ((axes,),) = style.canvas(width=8.1 if is_long else 7.2, height=5.4)
    for label in range(len(names)):
        x, y = points[labels == label].T
        look = {"c": COLOURS[label % len(COLOURS)], "marker": MARKERS[label % len(MARKERS)]}
        name = listed[label] if label < len(listed) else None
        axes.scatter(x, y, s=22, alpha=0.7, linewidths=0, label=name, **look)
    incorrect = labels != predictions
    x, y = points[incorrect].T
    name = f"{incorrect.sum():,} misclassified"
    axes.scatter(x, y, s=70, c="none", edgecolors="black", linewidths=1, label=name)
    style.titled(axes, title, *axis_names)
    if not is_long:
        style.legend(axes, below=True)
        return figure
    more = len(names) - len(listed)
    axes.legend(
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=min(10, 270 // (len(listed) + 1)),
        labelspacing=0.3,
        title=f"and {plural(more, 'more class', 'more classes')}" if more else None,
    )
    return figure


def note(text: str) -> Figure:
    """Return a small figure that says why there is nothing to draw."""
    figure, ((axes,),) = style.canvas(height=1.2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure


def _draw_diagonal(axes: Axes, label: str) -> None:
    axes.plot([0, 1], [0, 1], color=style.GREY, linestyle="--", linewidth=1.2, label=label)

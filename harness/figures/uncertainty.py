"""The figure of how sure a classifier may be: calibration, abstention, prediction sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from harness.evaluation import Reliability
from harness.figures import style

HIGHEST_START = 0.9
"""Where axes of accuracy and confidence begin at the latest: nothing is told by a smaller range."""


def uncertainty(
    before: Reliability,
    after: Reliability,
    temperature: float,
    selective_accuracy: np.ndarray,
    requested: Sequence[float],
    reached: Sequence[float],
    sizes: Sequence[float],
) -> Figure:
    """Draw what temperature scaling, abstention and prediction sets give on the test split.

    Args:
        before: accuracy by confidence as the network has it.
        after: the same, with logits divided by the temperature.
        temperature: as fitted on the validation split.
        selective_accuracy: (N,) accuracy on the n most confident samples, for n = 1 to N.
        requested: Coverages of prediction sets.
        reached: The fraction of samples whose set contains the actual class, for each of them.
        sizes: The mean number of classes in a set, for each of them.

    """
    figure, ((left, middle, right),) = style.canvas(1, 3, width=8.1, height=3.9)
    _draw_calibration(left, before, after, temperature)
    _draw_abstention(middle, selective_accuracy)
    _draw_sets(right, requested, reached, sizes)
    return figure


def _draw_calibration(
    axes: Axes, before: Reliability, after: Reliability, temperature: float
) -> None:
    """Draw accuracy against confidence, before and after; the area of a point is its samples."""
    lowest = HIGHEST_START
    for each, name, colour, marker in (
        (before, "network", style.ORANGE, "s"),
        (after, f"temperature {temperature:.2f}", style.BLUE, "o"),
    ):
        filled = each.samples > 0
        x, y = each.confidence[filled], each.accuracy[filled]
        areas = 20 + 180 * each.samples[filled] / each.samples.sum()
        label = f"{name}: error {each.calibration_error:.3f}"
        look: dict[str, Any] = {"c": colour, "marker": marker, "alpha": 0.8, "clip_on": False}
        axes.scatter(x, y, s=areas, label=label, linewidths=0, **look)
        lowest = min(lowest, x.min(), y.min())
    axes.plot([0, 1], [0, 1], "--", color=style.GREY, linewidth=1.2, label="perfectly calibrated")
    style.titled(axes, "Calibration", "confidence", "accuracy")
    axes.set(xlim=(lowest, 1.005), ylim=(lowest - 0.02, 1.005))
    _legend_below(axes)


def _draw_abstention(axes: Axes, selective_accuracy: np.ndarray) -> None:
    """Draw accuracy against the share of samples that are answered, the most confident first."""
    count = len(selective_accuracy)
    first = max(1, count // 20)  # the accuracy on a handful says nothing
    shares = np.arange(first, count + 1) / count
    axes.plot(
        shares, selective_accuracy[first - 1 :], color=style.BLUE, label="on the most confident"
    )
    overall = selective_accuracy[-1]
    axes.axhline(overall, color=style.GREY, linestyle="--", linewidth=1.2, label="on all")
    style.titled(axes, "Abstention", "most confident samples", "accuracy")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks([0, 0.5, 1])
    axes.set(xlim=(0, 1), ylim=(max(0, min(HIGHEST_START, 2 * overall - 1.02)), 1.005))
    _legend_below(axes)


def _draw_sets(
    axes: Axes, requested: Sequence[float], reached: Sequence[float], sizes: Sequence[float]
) -> None:
    """Draw the coverage that prediction sets reach, and their mean size beside it."""
    axes.plot(requested, reached, "o-", color=style.BLUE, markersize=4, label="coverage reached")
    ends = [min(requested), max(requested)]
    axes.plot(ends, ends, "--", color=style.GREY, linewidth=1.2, label="as requested")
    style.titled(axes, "Prediction sets", "requested coverage", "with the actual class")
    axes.set_ylim(min(*ends, *reached) - 0.01, 1.005)
    beside = axes.twinx()
    beside.spines["right"].set_visible(True)
    beside.plot(requested, sizes, "s-", color=style.ORANGE, markersize=4, label="mean size")
    beside.set_ylabel("classes in a set")
    beside.set_ylim(0.95, max(1.5, 1.05 * max(sizes)))
    handles = [*axes.get_lines(), *beside.get_lines()]
    axes.legend(
        handles=handles,
        frameon=False,
        fontsize=8.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
    )


def _legend_below(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.22))

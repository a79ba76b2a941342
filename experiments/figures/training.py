"""Curves that every architecture has: loss, accuracy, learning rate over the epochs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from experiments.figures import style


def draw_curves(
    axes: Axes,
    title: str,
    y: str,
    curves: dict[str, np.ndarray],
    *,
    colours: Sequence[str] = style.SERIES,
    best_epoch: int = 0,
    logarithmic: bool = False,
) -> None:
    """Draw curves over the epochs, each (epochs,), and mark the epoch whose weights were kept."""
    for index, (name, values) in enumerate(curves.items()):
        epochs = np.arange(1, len(values) + 1)
        dashes = "--" if name == "training" else "-"
        marker = "o" if len(values) == 1 else None  # a line through one point would not be seen
        colour = colours[index % len(colours)]
        axes.plot(epochs, values, dashes, color=colour, label=name, marker=marker)
    if best_epoch:
        axes.axvline(best_epoch, color=style.GREY, linewidth=1, linestyle=":", label="kept")
    if logarithmic:
        axes.set_yscale("log")
    style.titled(axes, title, "epoch", y)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        style.legend(axes)

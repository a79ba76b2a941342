"""Learning curves: loss, accuracy and learning rate over the epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import style
from harness.wording import plural


def curves(
    losses: dict[str, np.ndarray],
    accuracies: dict[str, np.ndarray],
    learning_rate: np.ndarray,
    best_epoch: int,
    *,
    loss_unit: str,
    note: str = "",
) -> Figure:
    """Draw the learning curves of one training.

    Args:
        losses: (epochs,) each, by the names "training" and "validation".
        accuracies: the same.
        learning_rate: (epochs,).
        best_epoch: the epoch whose weights are kept, counted from 1 (0: none is marked).
        loss_unit: such as "nats per photograph".
        note: shown below the axes.

    """
    figure, ((loss, accuracy, rate),) = style.canvas(1, 3, width=7.4, height=3.6)
    draw_curves(loss, "Loss", loss_unit, losses, best_epoch=best_epoch)
    draw_curves(accuracy, "Accuracy", "fraction", accuracies, best_epoch=best_epoch)
    draw_curves(rate, "Learning rate", "learning rate", {"": learning_rate})
    figure.supxlabel(note, fontsize=10)
    share_legend(figure, loss)
    return figure


def share_legend(figure: Figure, axes: Axes) -> None:
    """Add one legend above all axes, of what is in these: inside, it could hide a curve."""
    handles, names = axes.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "outside upper center", "ncols": len(names)}
    figure.legend(handles, names, frameon=False, fontsize=10, **where)


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
    """Draw curves over the epochs, (epochs,) each, and mark the epoch whose weights are kept.

    They have labels, but no legend.
    """
    for index, (name, values) in enumerate(curves.items()):
        epochs = np.arange(1, len(values) + 1)
        dashes = "--" if name == "training" else "-"
        marker = "o" if len(values) == 1 else None  # a line through one point is invisible
        colour = colours[index % len(colours)]
        axes.plot(epochs, values, dashes, color=colour, label=name, marker=marker)
    if best_epoch:
        axes.axvline(best_epoch, color=style.GREY, linewidth=1, linestyle=":", label="best epoch")
    if logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        between = (1, 2, 5) if high < 100 * low else (1,)  # more labels than these would touch
        style.label_digits(axes.yaxis, between)
    style.count(axes)
    style.titled(axes, title, "epoch", y)


def compared(
    accuracies: Mapping[str, np.ndarray], y: str, *, x: str = "epoch", step: int = 1
) -> Figure:
    """Draw learning curves of several networks: mean, lowest and highest of several seeds.

    Args:
        accuracies: (seeds, epochs) on the validation split, by the network's name.
        y: name of the axis of accuracy.
        x: name of the other axis.
        step: units of x in an epoch, such as its samples.

    """
    figure, ((axes,),) = style.canvas(width=8.0, height=4.4)
    for index, (name, values) in enumerate(accuracies.items()):
        look = style.series_look(index)
        epochs = step * np.arange(1, values.shape[1] + 1)
        mean, low, high = values.mean(0), values.min(0), values.max(0)
        marker = "o" if len(mean) == 1 else None
        axes.plot(epochs, mean, marker=marker, label=f"{name}: {mean[-1]:.4f}", **look)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.2, linewidth=0)
    axes.set(yticks=np.linspace(0, 1, 6), ylim=(0, 1.06))
    style.count(axes)
    seeds = plural(next(iter(accuracies.values())).shape[0], "seed")
    style.titled(axes, f"Mean of {seeds}, with a band from the lowest to the highest", x, y)
    # Beside the axes: inside, it could hide a curve.
    figure.legend(loc="outside right upper", fontsize=9, frameon=False, title="last epoch")
    return figure

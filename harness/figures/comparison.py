"""Groups of runs compared: by epoch, against training time, against number of parameters."""

from collections.abc import Mapping, Sequence, Sized
from itertools import cycle, zip_longest
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import style
from harness.figures.letters import short

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""As many as there are colours: groups can be told apart without colours, too."""

T = TypeVar("T", bound=Sized)


def curves(values: Mapping[str, Sequence[np.ndarray]], y: str) -> Figure:
    """Draw learning curves of groups of runs: mean and sample standard deviation of each epoch.

    Runs may have different numbers of epochs: a mean is over those that reached its epoch, and
    dashed from where some have ended, as those that remain may be the better or the worse ones.

    Args:
        values: (epochs,) for each run, by the group's name; a group may have none, but not all.
        y: name of the axis.

    """
    figure, ((axes,),) = style.canvas(width=8.0, height=4.4)
    for (name, runs), colour, marker in _looks(values):
        mean, deviation = mean_and_std(runs)
        epochs = np.arange(1, len(mean) + 1)
        # Where curves overlap, their markers still show which ones are there.
        interval = max(1, len(epochs) // 8)
        axes.plot(epochs, mean, color=colour, marker=marker, markevery=interval, ls="--")
        all_reached = min(map(len, runs))  # the line of these epochs is drawn over the dashes
        axes.plot(epochs[:all_reached], mean[:all_reached], color=colour)
        axes.plot([], [], color=colour, marker=marker, label=short(name))
        axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
    style.count(axes)
    several = any(len(runs) > 1 for runs in values.values())
    title = "Mean of the runs, with a band of ±1 standard deviation" if several else "One run each"
    if any(len(set(map(len, runs))) > 1 for runs in values.values()):
        title += "\ndashed: some of the runs have ended"
    style.titled(axes, title, "epoch", y)
    _legend(figure)
    return figure


def mean_and_std(runs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sample standard deviation of each epoch, over the runs that reached it.

    Of runs (epochs,) each, not all empty, two arrays (E,) for the E epochs of the longest one;
    the deviation of a single run is nan: it is not known.
    """
    by_epoch = np.ma.masked_invalid(list(zip_longest(*runs, fillvalue=np.nan)))
    return by_epoch.mean(1).filled(np.nan), by_epoch.std(1, ddof=1).filled(np.nan)


def against(xs: Mapping[str, np.ndarray], ys: Mapping[str, np.ndarray], x: str, y: str) -> Figure:
    """Draw a metric of each run against what it costs, such as training time.

    Args:
        xs: (runs,) costs by the group's name, positive; some groups may have none.
        ys: (runs,) values of the metric, likewise.
        x: name of the costs' axis.
        y: name of the values' axis.

    """
    figure, ((axes,),) = style.canvas(width=8.0, height=4.4)
    several = False
    for (name, values), colour, marker in _looks(ys):
        across = xs[name]
        if len(values) > 1:
            several = True
            axes.plot(across, values, marker, color=colour, markersize=5, alpha=0.5, mew=0)
        # The geometric mean, since the axis is logarithmic.
        centre, mean = np.exp(np.log(across).mean()), values.mean()
        look = {"color": colour, "markersize": 10, "markeredgecolor": "white", "linestyle": ""}
        axes.plot(centre, mean, marker=marker, label=short(name), **look)
        if len(values) > 1:  # drawn apart from the marker: its white edge is not for the caps
            axes.errorbar(centre, mean, values.std(ddof=1), fmt="none", ecolor=colour, capsize=7)
    everywhere = np.concatenate(list(xs.values()))
    low, high = everywhere.min(), everywhere.max()
    edge = max(3.0, high / low) ** 0.1 if low < high else 3.0
    axes.set(xlim=(low / edge, high * edge), xscale="log")
    axes.margins(y=0.1)
    label_ticks(axes)
    axes.grid(alpha=0.3, linewidth=0.6)
    title = "Runs, and the mean of each group ±1 standard deviation" if several else "One run each"
    style.titled(axes, title, x, y)
    _legend(figure)
    return figure


def label_ticks(axes: Axes, *, sparse: bool = False) -> None:
    """Label at least two ticks of a logarithmic axis, without exponents; more within a decade.

    `sparse` axes are narrow ones, with room for fewer.
    """
    low, high = axes.get_xlim()
    within = [1, 3] if sparse else [1, 2, 5]
    digits = [1] if high / low > 100 else within if high / low > 4 else range(1, 10)
    style.label_digits(axes.xaxis, [float(digit) for digit in digits])


def _looks(groups: Mapping[str, T]) -> list[tuple[tuple[str, T], str, str]]:
    """Return each group with its colour and its marker, the same in every figure.

    Groups without runs are left out, but their colour and marker go to no other.
    """
    looks = zip(groups.items(), cycle(style.SERIES), cycle(MARKERS), strict=False)
    return [look for look in looks if len(look[0][1])]


def _legend(figure: Figure) -> None:
    """Add the legend beside the axes: inside, it could hide a point."""
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)

"""Groups of runs side by side: how they learn, what time and weights buy."""

from collections.abc import Mapping, Sequence, Sized
from itertools import cycle
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from experiments.figures import style

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""As many as there are colours: groups are told apart without colours, too."""
LONGEST_NAME = 28

T = TypeVar("T", bound=Sized)


def curves(values: Mapping[str, Sequence[np.ndarray]], y: str) -> Figure:
    """Draw how groups of runs learn: mean and standard deviation, epoch by epoch.

    Runs may be of unequal length: an epoch's mean is over those that got so far.

    Args:
        values: (epochs,) for each run, by the group's name; a group may have none, but not all.
        y: what they are.

    """
    figure, ((axes,),) = style.canvas(width=8.0, height=4.4)
    for (name, runs), colour, marker in _looks(values):
        mean, deviation = mean_and_deviation(runs)
        epochs = np.arange(1, len(mean) + 1)
        # Where curves lie upon each other, their markers still tell who is there.
        interval = max(1, len(epochs) // 8)
        axes.plot(epochs, mean, color=colour, marker=marker, markevery=interval, label=label(name))
        axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.2, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    several = any(len(runs) > 1 for runs in values.values())
    title = "Mean of the runs, with a band of ±1 standard deviation" if several else "One run each"
    style.titled(axes, title, "epoch", y)
    _legend(figure)
    return figure


def mean_and_deviation(runs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sample standard deviation at each epoch, over the runs that got so far.

    Args:
        runs: (epochs,) each, not all empty.

    Returns:
        Two arrays (most epochs of a run,); the deviation of a single run is 0.

    """
    by_epoch = [
        np.array([run[epoch] for run in runs if epoch < len(run)])
        for epoch in range(max(map(len, runs)))
    ]
    mean = np.array([values.mean() for values in by_epoch])
    deviation = np.array([values.std(ddof=1) if len(values) > 1 else 0.0 for values in by_epoch])
    return mean, deviation


def against_time(
    seconds: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], y: str
) -> Figure:
    """Draw what each run has reached against the seconds that it was trained.

    Args:
        seconds: (runs,) by the group's name, positive; a group may have none, but not all.
        values: (runs,) likewise.
        y: what the values are.

    """
    return _against(seconds, values, "seconds of training", y)


def against_parameters(
    parameters: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], y: str
) -> Figure:
    """Draw what each run has reached against its model's parameters; see `against_time`."""
    return _against(parameters, values, "parameters of the model", y)


def _against(xs: Mapping[str, np.ndarray], ys: Mapping[str, np.ndarray], x: str, y: str) -> Figure:
    figure, ((axes,),) = style.canvas(width=8.0, height=4.4)
    several = False
    for (name, values), colour, marker in _looks(ys):
        across = xs[name]
        if len(values) > 1:
            several = True
            axes.plot(across, values, marker, color=colour, markersize=5, alpha=0.5, mew=0)
        # The geometric mean, since the axis is logarithmic.
        middle, mean = np.exp(np.log(across).mean()), values.mean()
        look = {"color": colour, "markersize": 10, "markeredgecolor": "white", "linestyle": ""}
        axes.plot(middle, mean, marker=marker, label=label(name), **look)
        if len(values) > 1:  # apart from the marker, whose white edge is not for the caps
            axes.errorbar(middle, mean, values.std(ddof=1), fmt="none", ecolor=colour, capsize=7)
    everywhere = np.concatenate(list(xs.values()))
    low, high = everywhere.min(), everywhere.max()
    edge = max(3.0, high / low) ** 0.1 if low < high else 3.0
    axes.set_xlim(low / edge, high * edge)
    axes.set_xscale("log")
    axes.margins(y=0.1)
    _name_ticks(axes)
    axes.grid(alpha=0.3, linewidth=0.6)
    title = "Runs, and the mean of each group ±1 standard deviation" if several else "One run each"
    style.titled(axes, title, x, y)
    _legend(figure)
    return figure


def _name_ticks(axes: Axes) -> None:
    """Name at least two values of a logarithmic axis, in plain figures: within a decade, more."""
    low, high = axes.get_xlim()
    few, some, all_of_them = [1.0], [1.0, 2.0, 5.0], [float(digit) for digit in range(1, 10)]
    subs = few if high / low > 100 else some if high / low > 4 else all_of_them
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.9g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _looks(groups: Mapping[str, T]) -> list[tuple[tuple[str, T], str, str]]:
    """Return each group with its colour and its marker, the same in every picture.

    Groups without runs are left out, but keep their look to themselves.
    """
    looks = zip(groups.items(), cycle(style.SERIES), cycle(MARKERS), strict=False)
    return [look for look in looks if len(look[0][1])]


def label(name: str) -> str:
    """Return a group's name so that matplotlib shows it as it is, and short."""
    name = name or "(empty)"
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    plain = short.replace("$", r"\$").replace("\n", " ")
    return f" {plain}" if plain.startswith("_") else plain  # it would stand in no legend


def _legend(figure: Figure) -> None:
    """Name the groups beside the picture: some point is wherever a legend could stand in it."""
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)

"""Average ranks of groups on an axis, those that do not differ joined: critical differences."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from harness.figures import style
from harness.figures.letters import short

LINE = 0.34
"""Inches between the names of two groups."""


def critical_difference(
    ranks: Mapping[str, float], joined: Sequence[Sequence[str]], title: str
) -> Figure:
    """Draw average ranks, the best on the left (Demsar 2006, section 3.2.4).

    Args:
        ranks: average rank of each group by its name, from 1, the best; two or more groups.
        joined: sets of groups of which no two differ significantly, in the order of their ranks; a
            bar joins each set, with dots at its groups: others may lie between them.
        title: says over what the ranks are averaged.

    """
    names = sorted(ranks, key=lambda name: ranks[name])
    half = (len(names) + 1) // 2  # named on the left, the others on the right
    bars = 0.16 * (len(joined) + 1)
    depth = bars + LINE * half
    figure, ((axes,),) = style.canvas(width=8.0, height=depth + 1.3)
    low, high = 1.0, float(len(names))
    axes.set(xlim=(low, high), ylim=(depth, 0), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.spines["top"].set_visible(True)
    axes.xaxis.set_ticks_position("top")
    axes.xaxis.set_label_position("top")
    axes.set_xticks(np.arange(1, len(names) + 1))
    for place, name in enumerate(names):
        on_left = place < half
        y = bars + LINE * ((place if on_left else len(names) - 1 - place) + 0.5)
        edge = low if on_left else high
        look = {"color": style.BLACK, "lw": 1, "clip_on": False}
        axes.plot([ranks[name], ranks[name], edge], [0, y, y], **look)
        # In points, so that the names stand beside the axis however many ranks it has.
        axes.annotate(
            f"{short(name)}  {ranks[name]:.2f}" if on_left else f"{ranks[name]:.2f}  {short(name)}",
            (edge, y),
            xytext=(-6 if on_left else 6, 0),
            textcoords="offset points",
            ha="right" if on_left else "left",
            va="center",
        )
    for row, group in enumerate(joined, start=1):
        places, look = [ranks[name] for name in group], {"color": style.VERMILION, "lw": 3}
        axes.plot(places, [0.16 * row] * len(group), "o-", markersize=7, clip_on=False, **look)
    style.titled(axes, title, "average rank (1 is best)", "")
    return figure

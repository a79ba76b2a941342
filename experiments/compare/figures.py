"""Figures of the groups: their curves, and what they reach for their time and their size."""

import numpy as np
from matplotlib.figure import Figure

from experiments.compare.groups import Groups
from harness.figures import comparison


def draw(metric: str, groups: Groups) -> dict[str, Figure]:
    """Draw the figures that the groups have data for, by name.

    Args:
        metric: what the runs are ranked by.
        groups: each keeps its colour in all figures, also where it has no data for one of them.

    """
    y = metric.removeprefix("best/").replace("_", " ").replace("val ", "validation ")
    figures = {}
    curves = {
        name: [member.curve for member in members if len(member.curve)]
        for name, members in groups.items()
    }
    if any(curves.values()):
        figures["curves"] = comparison.curves(curves, y)
    for title, field, against in (
        ("accuracy_by_time", "seconds", comparison.against_time),
        ("accuracy_by_parameters", "parameters", comparison.against_parameters),
    ):
        xs = _values(groups, field, known=field)
        if any(map(len, xs.values())):
            figures[title] = against(xs, _values(groups, "value", known=field), y)
    return figures


def _values(groups: Groups, field: str, *, known: str) -> dict[str, np.ndarray]:
    """Return a value of the runs of each group, (runs,), if the one called `known` is positive."""
    return {
        name: np.array([getattr(m, field) for m in members if getattr(m, known) > 0])
        for name, members in groups.items()
    }

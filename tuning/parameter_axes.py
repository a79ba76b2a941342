"""Axes for the parameters of a study: any range, logarithmic or not, and choices."""

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

NOT_USED = -0.2
"""Where parallel coordinates put trials without the parameter; the axes themselves are [0, 1]."""

Trials = Sequence[FrozenTrial]


class Scale(NamedTuple):
    """The range that trials drew a parameter from, as an axis from 0 to 1."""

    name: str
    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()
    """Of a categorical parameter, whose axis has a lane of equal width for each."""

    @classmethod
    def of(cls, name: str, trials: Trials) -> "Scale":
        """Return the widest range that any trial drew a parameter from."""
        ranges: list[Any] = [t.distributions[name] for t in trials if name in t.distributions]
        if isinstance(ranges[-1], CategoricalDistribution):
            choices = tuple(str(choice) for choice in ranges[-1].choices)
            return cls(name, -0.5, len(choices) - 0.5, choices=choices)
        low, high = min(each.low for each in ranges), max(each.high for each in ranges)
        return cls(name, low, high, ranges[-1].log, isinstance(ranges[-1], IntDistribution))

    @classmethod
    def all_of(cls, trials: Trials) -> list["Scale"]:
        """Return the scale of every parameter of some trial, in the order of their first use."""
        names = dict.fromkeys(name for trial in trials for name in trial.params)
        return [cls.of(name, trials) for name in names]

    def at(self, value: float) -> float:
        """Return where in [0, 1] a number, or the index of a choice, stands on the axis."""
        if self.low == self.high:
            return 0.5
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)

    def position(self, trial: FrozenTrial) -> float:
        """Return where a trial stands on the axis; those of one choice stand beside each other."""
        if self.name not in trial.params:
            return NOT_USED
        value = trial.distributions[self.name].to_internal_repr(trial.params[self.name])
        beside = random.Random(f"{self.name} {trial.number}").uniform(-0.25, 0.25)
        return self.at(value + beside if self.choices else value)

    def label(self, axis: Axis, room: int) -> None:
        """Name some values on an axis along which there is room for so many characters."""
        values = list(range(len(self.choices))) if self.choices else self.round_values()
        values = values[:: math.ceil(len(values) / (12 if self.choices else 5))]
        names = [shorten(self.choices[int(v)], 14) if self.choices else number(v) for v in values]
        axis.set_ticks([self.at(value) for value in values], names)
        if self.choices and len(names) * (max(map(len, names)) + 2) > room:
            axis.set_tick_params(labelrotation=35, labelrotation_mode="xtick")

    def label_upright(self, axes: Axes, column: int) -> None:
        """Name the choices of a vertical axis, or the two ends of a numeric one."""
        box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5}
        names = {-0.045: number(self.low), 1.045: number(self.high)}
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": box}
        if count := len(self.choices):
            shown = list(enumerate(self.choices))[:: math.ceil(count / 12)]
            length = (66 if count > 4 else 34) // count
            names = {self.at(i): shorten(name, min(max(length, 4), 20)) for i, name in shown}
            look |= {"rotation": 90, "ha": "left"}
        for y, name in names.items():
            axes.text(column + (0.06 if count else 0), y, name, zorder=4, **look)

    def round_values(self) -> list[float]:
        """Return some numbers of the range."""
        factors = (1,) if self.log and self.high > 50 * self.low else (1, 2, 5)
        locator = LogLocator(subs=factors) if self.log else MaxNLocator(4, integer=self.integer)
        values = locator.tick_values(self.low, self.high)
        slack = 1e-9 * self.low if self.log else 0.0  # for powers of ten that are rounded
        inside = [float(v) for v in values if self.low - slack <= v <= self.high + slack]
        return inside if len(inside) > 1 else sorted({self.low, self.high})


def number(value: float) -> str:
    """Write a number in few characters."""
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a long text: names differ at their ends."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[length // 2 + 1 - length :]}"

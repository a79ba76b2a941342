"""What a study shows: trials in, matplotlib Figure out."""

import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from experiments.figures import style

WIDTH = 8.0
NOT_USED = -0.2
"""Where parallel coordinates put trials without the parameter; the axes themselves are [0, 1]."""
STATES = {
    "COMPLETE": ("complete", style.BLUE),
    "PRUNED": ("pruned", style.GREY),
    "FAIL": ("failed", style.VERMILION),
    "RUNNING": ("running", style.GREEN),
}
STAR: dict[str, Any] = {"marker": "*", "ls": "", "c": style.VERMILION, "mec": "white", "zorder": 6}
BEYOND = "triangles: values beyond the picture"
NONE_COMPLETE = "no complete trial yet"

Trials = Sequence[FrozenTrial]
Range = tuple[float, float]


class Objective(NamedTuple):
    """What the study optimises."""

    metric: str
    """Such as val/accuracy."""
    maximise: bool

    @property
    def sign(self) -> int:
        """What turns values into ones of which more is better."""
        return 1 if self.maximise else -1

    @property
    def colours(self) -> str:
        """Name of the colour map that is darkest where values are best."""
        return "cividis_r" if self.maximise else "cividis"

    def best(self, complete: Trials) -> FrozenTrial:
        """Return the best of some complete trials, the first of equal ones."""
        return max(complete, key=lambda trial: self.sign * trial.values[0])

    def label(self, trial: FrozenTrial) -> str:
        """Return what titles call a complete trial."""
        return f"trial {trial.number}, {self.metric} {_number(trial.values[0])}"

    def shown(self, values: np.ndarray) -> Range:
        """Return the range to show: from the best to twice as far as the worst quarter begins."""
        best, quartile, worst = np.quantile(self.sign * values, [1, 0.25, 0])
        if quartile < best:
            worst = max(worst, best - 2 * (best - quartile))
        low, high = sorted((float(self.sign * worst), float(self.sign * best)))
        pad = 0.0 if low < high else 0.01 * abs(high) or 0.01
        return low - pad, high + pad


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
        names = [_short(self.choices[int(v)], 14) if self.choices else _number(v) for v in values]
        axis.set_ticks([self.at(value) for value in values], names)
        if self.choices and len(names) * (max(map(len, names)) + 2) > room:
            axis.set_tick_params(labelrotation=35, labelrotation_mode="xtick")

    def round_values(self) -> list[float]:
        """Return some numbers of the range."""
        factors = (1,) if self.log and self.high > 50 * self.low else (1, 2, 5)
        locator = LogLocator(subs=factors) if self.log else MaxNLocator(4, integer=self.integer)
        values = locator.tick_values(self.low, self.high)
        slack = 1e-9 * self.low if self.log else 0.0  # for powers of ten that are rounded
        inside = [float(v) for v in values if self.low - slack <= v <= self.high + slack]
        return inside if len(inside) > 1 else sorted({self.low, self.high})


def history(trials: Trials, objective: Objective) -> Figure:
    """Draw the value of each trial in the order of their numbers, and the best so far."""
    complete, failed = _complete(trials), [t.number for t in trials if t.state == TrialState.FAIL]
    pruned = [t for t in trials if t.state == TrialState.PRUNED and _curve(t)[1]]
    numbers, values = _points(complete)
    last = np.array([(trial.number, _curve(trial)[1][-1]) for trial in pruned]).reshape(-1, 2).T
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.6)
    # Pruned trials end worse: they decide on the range only where few are complete.
    decisive = values if len(values) > 3 else np.append(values, last[1])
    shown = objective.shown(decisive) if len(decisive) else (0, 1)
    _scatter(axes, shown, numbers, values, style.BLUE, label=f"complete ({len(complete)})")
    label = f"pruned ({len(pruned)}), last value"
    _scatter(axes, shown, last[0], last[1], "none", edgecolors=style.GREY, label=label)
    bottom = {"y": [0.025] * len(failed), "transform": axes.get_xaxis_transform()}
    look = {"s": 20, "lw": 1.2, "label": f"failed ({len(failed)})"}
    axes.scatter(failed, marker="x", c="black", **look, **bottom)
    title = "The values of the trials"
    if complete:
        so_far = objective.sign * np.maximum.accumulate(objective.sign * values)
        steps = [*numbers, max(trial.number for trial in trials)], [*so_far, so_far[-1]]
        axes.plot(*steps, c=style.ORANGE, drawstyle="steps-post", zorder=0.9, label="best so far")
        best = objective.best(complete)
        axes.plot(best.number, best.values[0], label="best", ms=17, **STAR)
        title = f"The best: {objective.label(best)}"
    else:
        _note(axes)
    axes.set_xlim(-1, max([trial.number for trial in trials], default=0) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, title, f"trial number ({BEYOND})", objective.metric)


def importances(values: Mapping[str, float], objective: Objective) -> Figure:
    """Draw how much each parameter matters, the most important one on top."""
    title = f"What {objective.metric} depends on"
    if not values:
        return _nothing(title)
    names, widths = zip(*sorted(values.items(), key=lambda item: item[1]), strict=True)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=1.3 + 0.3 * len(names))
    bars = axes.barh(range(len(names)), widths, color=style.BLUE, height=0.7)
    axes.bar_label(bars, fmt="{:.2f}", padding=4)
    axes.set_yticks(range(len(names)), [_short(name, 32) for name in names])
    axes.set_xlim(0, 1.12 * max(*widths, 1e-9))
    style.titled(axes, title, "importance (share of the whole)", "")
    return figure


def slices(trials: Trials, objective: Objective, warnings: Collection[str] = ()) -> Figure:
    """Draw the value against each parameter; mark those in `warnings`, best near their edge."""
    complete = _complete(trials)
    scales = Scale.all_of(complete)
    if not scales:
        return _nothing(f"{objective.metric} against each parameter", complete)
    columns = min(3, len(scales))
    rows = math.ceil(len(scales) / columns)
    figure, places = style.canvas(rows, columns, width=WIDTH, height=1.2 + 1.85 * rows)
    shown, best = objective.shown(_points(complete)[1]), objective.best(complete)
    colours = ScalarMappable(Normalize(0, max(1, complete[-1].number)), "cividis")
    for axes, scale in zip(places.flat, scales, strict=False):
        used = [trial for trial in complete if scale.name in trial.params]
        (numbers, values), x = _points(used), np.array([scale.position(trial) for trial in used])
        _scatter(axes, shown, x, values, np.array(colours.to_rgba(numbers)), s=22)
        if scale.name in best.params:
            axes.plot(scale.position(best), best.values[0], ms=14, **STAR)
        axes.set_xlim(-0.06, 1.06)
        scale.label(axes.xaxis, room=36)
        axes.tick_params(labelsize=9, labelleft=axes in places[:, 0])
        title, colour = _short(scale.name, 30), "black"
        if scale.name in warnings:
            title, colour = f"{title}\nat the edge of its range", style.VERMILION
        axes.set_title(title, fontsize=10, color=colour)
    for axes in places.flat[len(scales) :]:
        axes.set_axis_off()
    figure.suptitle(f"Star: the best, {objective.label(best)}", fontsize=12)
    figure.supylabel(objective.metric, fontsize=11)
    bar = figure.colorbar(colours, ax=places, location="bottom", aspect=70)
    bar.set_label(f"trial number ({BEYOND})")
    bar.locator = MaxNLocator(integer=True)
    return figure


def parallel_coordinates(trials: Trials, objective: Objective) -> Figure:
    """Draw each complete trial as a line through an axis for each parameter and its value."""
    complete = _complete(trials)
    scales = Scale.all_of(complete)
    if not scales:
        return _nothing(f"All parameters and {objective.metric}", complete)
    # The best are drawn last, which is on top.
    ordered = sorted(complete, key=lambda trial: objective.sign * trial.values[0])
    values = _points(ordered)[1]
    shown = objective.shown(values)
    clipped = values.clip(*shown)
    value = Scale(objective.metric, *shown)
    rows = [[scale.position(trial) for scale in scales] for trial in ordered]
    heights = np.column_stack([rows, [value.at(v) for v in clipped]])
    many_names = any(len(scale.choices) > 4 for scale in scales)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=7.6 if many_names else 6.0)
    x = np.arange(len(scales) + 1)
    lines = [np.column_stack([x, row]) for row in heights]
    bundle = LineCollection(lines, linewidths=1, alpha=0.8, label="complete")
    bundle.set(array=clipped, norm=Normalize(*shown), cmap=objective.colours)
    axes.add_collection(bundle)
    axes.plot(x, heights[-1], color=style.VERMILION, label="best")
    axes.vlines(x, 0, 1, color="black", linewidth=1, zorder=3)
    for column, scale in enumerate(scales):
        _label_upright(axes, column, scale)
    for v in value.round_values():
        axes.text(x[-1] + 0.1, value.at(v), _number(v), va="center", fontsize=10)
    names = [_short(scale.name, 28) for scale in (*scales, value)]
    axes.set_xticks(x, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=10)
    missing = (heights == NOT_USED).any()
    axes.set_yticks([NOT_USED] if missing else [], ["not used"] if missing else [])
    axes.set(xlim=(-0.4, len(x) - 0.2), ylim=(NOT_USED - 0.05 if missing else -0.1, 1.1))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    best = objective.best(complete)
    axes.set_title(f"Thick: the best, {objective.label(best)}; the darker, the better")
    return figure


def contour(trials: Trials, objective: Objective, parameters: tuple[str, str]) -> Figure:
    """Draw complete trials over two parameters, with the mean around each place beneath them."""
    complete = [t for t in _complete(trials) if all(name in t.params for name in parameters)]
    if not complete:
        return _nothing(f"{objective.metric} over {' and '.join(parameters)}", _complete(trials))
    first, second = (Scale.of(name, complete) for name in parameters)
    points = np.array([(first.position(trial), second.position(trial)) for trial in complete])
    values, best = _points(complete)[1], objective.best(complete)
    shown, title = objective.shown(values), f"Star: the best of these, {objective.label(best)}"
    figure, ((axes,),) = style.canvas(width=WIDTH, height=5.4)
    look: dict[str, Any] = {"cmap": objective.colours, "norm": Normalize(*shown)}
    # A surface needs some points that do not lie on one line.
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if not (first.choices or second.choices) and len(points) >= 4 and spread[1] > 0.05:
        grid = np.linspace(0, 1, 201)
        surface = _mean_around(points, values.clip(*shown), grid).clip(*shown)
        axes.contourf(grid, grid, surface, np.linspace(*shown, 15), **look)
        title += "\ncolour: mean of the trials around"
    dots = axes.scatter(*points.T, c=values, s=44, edgecolors="white", linewidths=0.9, **look)
    axes.plot(first.position(best), second.position(best), ms=20, **STAR)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    first.label(axes.xaxis, room=66)
    second.label(axes.yaxis, room=1000)
    style.titled(axes, title, *parameters)
    end = "min" if objective.maximise else "max"
    figure.colorbar(dots, ax=axes, label=objective.metric, extend=end)
    return figure


def intermediate_values(trials: Trials, objective: Objective) -> Figure:
    """Draw what trials reported after each epoch, and where pruned ones ended."""
    title = f"{objective.metric} over the epochs"
    pruned = [t for t in trials if t.state == TrialState.PRUNED and _curve(t)[1]]
    complete = [trial for trial in _complete(trials) if _curve(trial)[1]]
    if not complete + pruned:
        return _nothing(title, _complete(trials))
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.8)
    shown = objective.shown(np.concatenate([_curve(trial)[1] for trial in complete + pruned]))
    for group, (name, colour) in ((complete, STATES["COMPLETE"]), (pruned, STATES["PRUNED"])):
        curves = [np.column_stack(_curve(trial)) for trial in group]
        look: dict[str, Any] = {"linewidths": 1, "alpha": 0.55, "label": f"{name} ({len(group)})"}
        axes.add_collection(LineCollection(curves, colors=colour, **look))
        ends = np.array([curve[-1] for curve in curves]).reshape(-1, 2).T
        _scatter(axes, shown, ends[0], ends[1], colour, zorder=3)
    if complete:
        best = objective.best(complete)
        title = f"Thick: the best, {objective.label(best)}"
        axes.plot(*_curve(best), ".-", color=style.VERMILION, lw=3, zorder=4, label="best")
    else:
        _note(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, title, f"epoch (dots: the last one; {BEYOND})", objective.metric)


def timeline(trials: Trials) -> Figure:
    """Draw when each worker ran which trial, and how the trial ended."""
    title = "When each worker ran which trial"
    begun = [trial for trial in trials if trial.datetime_start]
    if not begun:
        return _nothing(title)
    times = [time for t in begun for time in (t.datetime_start, t.datetime_complete) if time]
    start, now = min(times), max(times)
    # One that still runs has lasted until the last thing that is known.
    spans = [(t.datetime_start or start, t.datetime_complete or now) for t in begun]
    left, right = np.array([[(time - start).total_seconds() for time in s] for s in spans]).T
    total = right.max() or 1.0
    unit, unit_name = (60, "minutes") if total > 180 else (1, "seconds")
    workers, lanes = np.unique([t.user_attrs.get("worker", 0) for t in begun], return_inverse=True)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=1.7 + 0.42 * len(workers))
    for state in sorted({trial.state.name for trial in begun}):
        name, colour = STATES[state]
        chosen = [row for row, trial in enumerate(begun) if trial.state.name == state]
        width, numbers = (right - left)[chosen], [str(begun[row].number) for row in chosen]
        look = {"color": colour, "ec": "white", "lw": 0.5, "label": f"{name} ({len(chosen)})"}
        bars = axes.barh(lanes[chosen], width / unit, 0.75, left[chosen] / unit, **look)
        room = width / total - 0.005
        names = [n if 0.012 * len(n) < r else "" for n, r in zip(numbers, room, strict=True)]
        axes.bar_label(bars, names, label_type="center", color="white", fontsize=9)
    if not _complete(trials):
        _note(axes)
    axes.set_yticks(range(len(workers)), [f"worker {worker}" for worker in workers])
    axes.set(xlim=(0, total / unit), ylim=(len(workers) - 0.45, -0.55))
    return _finish(figure, title, f"{unit_name} since the study began", "")


def finalists(results: Mapping[str, Mapping[int, float]], objective: Objective) -> Figure:
    """Draw the values by seed of each finalist and their mean, the best mean on top."""
    finite = {k: [v for v in seeds.values() if math.isfinite(v)] for k, seeds in results.items()}
    by_label = {label: np.array(values) for label, values in finite.items() if values}
    if not by_label:
        return _nothing("The finalists")
    ordered = sorted(by_label, key=lambda label: -objective.sign * by_label[label].mean())
    figure, ((axes,),) = style.canvas(width=WIDTH, height=1.8 + 0.55 * len(ordered))
    axes.plot([], [], "o", color=style.GREY, label="one seed")
    axes.errorbar([], [], xerr=[], fmt="D", color=style.GREY, label="mean ± standard deviation")
    for row, label in enumerate(ordered):
        values, colour = by_label[label], style.VERMILION if row == 0 else style.BLUE
        mean, deviation = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
        axes.scatter(values, [row - 0.16] * len(values), c=colour, s=34, alpha=0.7, linewidths=0)
        axes.errorbar(mean, row + 0.16, xerr=deviation, fmt="D", color=colour, ms=9, capsize=4)
        text = _number(mean) + (f" ± {deviation:.2g}" if len(values) > 1 else "")
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.set_yticks(range(len(ordered)), [_short(label, 26) for label in ordered])
    axes.get_yticklabels()[0].set(color=style.VERMILION, fontweight="bold")
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    winner = by_label[ordered[0]]
    title = f"The winner: {_short(ordered[0], 40)}\nmean over seeds ({len(winner)}): "
    return _finish(figure, title + _number(winner.mean()), objective.metric, "")


def _complete(trials: Trials) -> list[FrozenTrial]:
    """Return the complete trials whose value can be drawn, by number."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and math.isfinite(t.values[0])]
    return sorted(complete, key=lambda trial: trial.number)


def _points(trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of some trials, and their values."""
    return np.array([t.number for t in trials]), np.array([t.values[0] for t in trials])


def _curve(trial: FrozenTrial) -> tuple[list[int], list[float]]:
    """Return the epochs and the values that a trial reported, without what cannot be drawn."""
    finite = {e: v for e, v in sorted(trial.intermediate_values.items()) if math.isfinite(v)}
    return list(finite), list(finite.values())


def _mean_around(points: np.ndarray, values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the mean of values around each place of a grid, NaN where no trial is near.

    What varies besides the two parameters makes values noisy, and a surface through all of them
    would show the noise. So trials count by a Gaussian in their distance (Nadaraya-Watson).
    """
    width = 0.25 * len(points) ** (-1 / 6)  # narrower the more there are, as in Scott's rule
    x, y = (np.exp(-0.5 * ((grid[:, None] - along) / width) ** 2) for along in points.T)
    weight = y @ x.T
    mean = (y * values) @ x.T / np.maximum(weight, 1e-12)
    return np.where(weight < math.exp(-0.5 * 1.5**2), np.nan, mean)


def _label_upright(axes: Axes, column: int, scale: Scale) -> None:
    """Name the choices of a vertical axis, or the two ends of a numeric one."""
    box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.5}
    names = {-0.045: _number(scale.low), 1.045: _number(scale.high)}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "bbox": box}
    if number := len(scale.choices):
        shown = list(enumerate(scale.choices))[:: math.ceil(number / 12)]
        length = (66 if number > 4 else 34) // number
        names = {scale.at(i): _short(name, min(max(length, 4), 20)) for i, name in shown}
        look |= {"rotation": 90, "ha": "left"}
    for y, name in names.items():
        axes.text(column + (0.06 if number else 0), y, name, zorder=4, **look)


def _scatter(axes: Axes, shown: Range, x: np.ndarray, y: np.ndarray, c: Any, **look: Any) -> None:
    """Draw dots of one colour or (N, 4) ones, and at the border triangles for those beyond."""
    (low, high), pad = shown, 0.08 * (shown[1] - shown[0])
    axes.set_ylim(low - pad, high + pad)
    look = {"s": 30, "edgecolors": "white", "linewidths": 0.8, **look}
    for marker, chosen in (("o", (low <= y) & (y <= high)), ("v", y < low), ("^", y > high)):
        colour = c[chosen] if isinstance(c, np.ndarray) else c
        axes.scatter(x[chosen], y[chosen].clip(low, high), c=colour, marker=marker, **look)
        look["label"] = None


def _number(value: float) -> str:
    """Write a number in few characters."""
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def _short(text: str, length: int) -> str:
    """Cut the middle out of a long text: names differ at their ends."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[length // 2 + 1 - length :]}"


def _finish(figure: Figure, title: str, x: str, y: str) -> Figure:
    """Name the axes of a figure, and add a legend below them, for which the layout makes room."""
    style.titled(figure.axes[0], title, x, y)
    options: dict[str, Any] = {"frameon": False, "fontsize": 10, "columnspacing": 1.3}
    figure.legend(loc="outside lower center", ncols=5, **options)
    return figure


def _note(axes: Axes, text: str = NONE_COMPLETE) -> None:
    """Say in the middle of a picture what it lacks."""
    box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0}
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": "#505050", "bbox": box}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, zorder=7, **look)


def _nothing(title: str, complete: Trials = ()) -> Figure:
    """Return a picture that says why there is none; some trials may be complete."""
    figure, ((axes,),) = style.canvas(width=WIDTH, height=2.0)
    axes.set_axis_off()
    axes.set_title(title)
    _note(axes, "no complete trial has what this shows" if complete else NONE_COMPLETE)
    return figure

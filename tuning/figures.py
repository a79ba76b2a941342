"""What a study shows: trials in, matplotlib Figure out.

Importances and timeline are Optuna's own (`optuna.visualization.matplotlib`). The others are drawn
here: of the same study, Optuna's history leaves out pruned and failed trials and its intermediate
values name 40 trials in a legend beside the picture, neither marking the best; its slices and
parallel coordinates of a dozen parameters are 13 panels in one row and axis labels that overlap;
its contour passes through every value, noise included, and covers places that no trial was near.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_param_importances, plot_timeline

from harness.figures import style
from tuning.parameter_axes import NOT_USED, Scale, Trials, number, shorten

WIDTH = 8.0
STAR: dict[str, Any] = {"marker": "*", "ls": "", "c": style.VERMILION, "mec": "white", "zorder": 6}
BEYOND = "triangles: values beyond the picture"
NONE_COMPLETE = "no complete trial yet"

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
        return f"trial {trial.number}, {self.metric} {number(trial.values[0])}"

    def shown(self, values: np.ndarray) -> Range:
        """Return the range to show: from the best to twice as far as the worst quarter begins."""
        best, quartile, worst = np.quantile(self.sign * values, [1, 0.25, 0])
        if quartile < best:
            worst = max(worst, best - 2 * (best - quartile))
        low, high = sorted((float(self.sign * worst), float(self.sign * best)))
        pad = 0.0 if low < high else 0.01 * abs(high) or 0.01
        return low - pad, high + pad


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


def importances(study: optuna.Study, objective: Objective) -> Figure:
    """Draw how much each parameter matters, the most important one on top."""
    return _by_optuna(partial(plot_param_importances, target_name=objective.metric), study)


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
        title, colour = shorten(scale.name, 30), "black"
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
        scale.label_upright(axes, column)
    for v in value.round_values():
        axes.text(x[-1] + 0.1, value.at(v), number(v), va="center", fontsize=10)
    names = [shorten(scale.name, 28) for scale in (*scales, value)]
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
    singular = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if not (first.choices or second.choices) and len(points) >= 4 and singular[1] > 0.05:
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
    for name, group, colour in (("complete", complete, style.BLUE), ("pruned", pruned, style.GREY)):
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


def timeline(study: optuna.Study) -> Figure:
    """Draw when each trial ran, and how it ended."""
    return _by_optuna(plot_timeline, study)


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
        text = number(mean) + (f" ± {deviation:.2g}" if len(values) > 1 else "")
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.set_yticks(range(len(ordered)), [shorten(label, 26) for label in ordered])
    axes.get_yticklabels()[0].set(color=style.VERMILION, fontweight="bold")
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    winner = by_label[ordered[0]]
    title = f"The winner: {shorten(ordered[0], 40)}\nmean over seeds ({len(winner)}): "
    return _finish(figure, title + number(winner.mean()), objective.metric, "")


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


def _scatter(axes: Axes, shown: Range, x: np.ndarray, y: np.ndarray, c: Any, **look: Any) -> None:
    """Draw dots of one colour or (N, 4) ones, and at the border triangles for those beyond."""
    (low, high), pad = shown, 0.08 * (shown[1] - shown[0])
    axes.set_ylim(low - pad, high + pad)
    look = {"s": 30, "edgecolors": "white", "linewidths": 0.8, **look}
    for marker, chosen in (("o", (low <= y) & (y <= high)), ("v", y < low), ("^", y > high)):
        colour = c[chosen] if isinstance(c, np.ndarray) else c
        axes.scatter(x[chosen], y[chosen].clip(low, high), c=colour, marker=marker, **look)
        look["label"] = None


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


def _by_optuna(plot: Callable[[optuna.Study], Axes], study: optuna.Study) -> Figure:
    """Return a picture that Optuna draws, and leave pyplot as it was before."""
    with plt.rc_context(), quiet():
        figure = plot(study).get_figure(root=True)
    assert figure is not None
    plt.close(figure)
    figure.set_layout_engine("constrained")
    figure.set_size_inches(WIDTH, 5.0)
    return figure


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignore what Optuna warns of by design."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # The importance of a parameter that few trials had is a rough estimate.
        warnings.filterwarnings("ignore", "Some regimes", UserWarning)
        yield

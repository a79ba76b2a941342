"""What a study shows: Optuna's own pictures with the best trial marked, and the finalists.

Intermediate values are drawn here: Optuna names every trial, in a legend that outgrows the picture.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as visualization

from harness.evaluation import pooled_standard_error, sample_std
from harness.figures import style
from harness.figures.comparison import label_ticks

WIDTH = 8.0
STAR: dict[str, Any] = {"marker": "*", "ls": "", "c": style.VERMILION, "mec": "white", "ms": 17}
BEYOND = "dots on the frame: values beyond"


def history(study: optuna.Study, metric: str) -> Figure:
    """Draw the value of each complete trial, the last one of each pruned trial, and the best."""
    figure = _by_optuna(visualization.plot_optimization_history, study, 4.8, target_name=metric)
    (axes,) = figure.axes
    axes.lines[0].set(drawstyle="steps-post", alpha=1, color=style.ORANGE, label="best so far")
    axes.collections[0].set_label("complete")
    pruned = [t for t in _trials(study, TrialState.PRUNED) if t.intermediate_values]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    look: dict[str, Any] = {"c": "none", "edgecolors": style.GREY}
    axes.scatter([trial.number for trial in pruned], last, label="pruned, last value", **look)
    axes.plot(study.best_trial.number, study.best_value, label="best", zorder=6, **STAR)
    _limit(axes, study)
    axes.set(title=_title("Star", study, metric), xlabel=f"trial number ({BEYOND})")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=4, frameon=False)
    return figure


def importances(shares: Mapping[str, float], chance: float, metric: str) -> Figure:
    """Draw how much each parameter matters, the most important one on top.

    Args:
        shares: by parameter, the largest first; see `tuning.importance`.
        chance: the share that one of them may well have though none matters.
        metric: what the trials were compared by.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=1.6 + 0.3 * len(shares))
    above = [share > chance for share in shares.values()]
    colours = [style.BLUE if each else style.GREY for each in above]
    bars = axes.barh(list(shares), list(shares.values()), color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.axvline(
        chance, color=style.VERMILION, ls="--", label="what chance may give: 1 study in 20"
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(chance, *shares.values()))
    result = "blue is above chance" if any(above) else "no parameter is above chance"
    title = f"Importance for {metric}: {result}"
    style.titled(axes, title, "share of the importance (PED-ANOVA)", "")
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def slices(study: optuna.Study, metric: str, at_edge: Collection[str] = ()) -> Figure:
    """Draw the value against each parameter; mark those whose best is at the edge of its range."""
    figure = _by_optuna(visualization.plot_slice, study, 5.0, target_name=metric)
    *panels, bar = figure.axes
    columns = 3 if len(panels) <= 6 else 4
    rows = math.ceil(len(panels) / columns)
    figure.set_size_inches(WIDTH, 1.0 + (1.9 if rows < 3 else 1.5) * rows)
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[*[10] * columns, 0.5])
    for index, axes in enumerate(panels):  # which Optuna draws in one row
        axes.set_subplotspec(grid[index // columns, index % columns])
        axes.tick_params(labelsize=8, labelleft=index % columns == 0)
        axes.set(title="", ylabel="")
        axes.xaxis.label.set_fontsize(8)
        if axes.xaxis.have_units():  # names of choices
            axes.tick_params("x", labelrotation=25, labelrotation_mode="xtick")
        elif axes.get_xscale() == "log":
            label_ticks(axes, sparse=columns > 3)
        if (name := axes.get_xlabel()) in at_edge:
            axes.set_xlabel(f"{name}\nat the edge\nof its range", color=style.VERMILION)
        dots: Any = axes.collections[0]
        size = thinned(len(dots.get_offsets()))
        dots.set(cmap="cividis", sizes=[36 * size], linewidths=size)
        best = np.asarray(dots.get_offsets())[dots.get_array() == study.best_trial.number]
        axes.plot(*best.T, zorder=6, **STAR)
        _limit(axes, study)
    bar.set_subplotspec(grid[:, columns])
    bar.set_box_aspect(None)
    bar.set_ylabel("trial number")
    figure.supylabel(metric)
    figure.suptitle(f"{_title('Star', study, metric)}\n{BEYOND}", fontsize=12)
    return figure


def parallel_coordinates(study: optuna.Study, metric: str, parameters: Sequence[str]) -> Figure:
    """Draw each complete trial as a line through axes for its value and some parameters."""
    options: dict[str, Any] = {"params": list(parameters), "target_name": metric}
    figure = _by_optuna(visualization.plot_parallel_coordinate, study, 5.4, **options)
    axes, bar, *_ = figure.axes
    bar.remove()  # the first axis is of the value, too
    (lines,) = axes.collections
    widths = np.where(lines.get_array() == study.best_value, 4, 1)
    lines.set(cmap=_colours(study), clim=shown(study), linewidths=widths)
    lines.set_alpha(np.where(widths > 1, 1, thinned(len(widths))).tolist())
    for name in axes.get_xticklabels():
        name.set(rotation=-20, ha="left")
    whole = figure.add_gridspec(1, 1)[0]
    for each in figure.axes:
        each.set_subplotspec(whole)
        each.tick_params(labelsize=8)
        for label in each.get_yticklabels():  # lines run behind them
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})
    axes.set_title(f"{_title('Thick', study, metric)}\nthe darker, the better", y=1.03)
    return figure


def contour(study: optuna.Study, metric: str, parameters: Sequence[str]) -> Figure:
    """Draw the values of complete trials over two parameters, and a surface between them."""
    limits = shown(study)
    options: dict[str, Any] = {"params": list(parameters), "target_name": metric}
    options["target"] = lambda trial: np.clip(trial.value, *limits)
    figure = _by_optuna(visualization.plot_contour, study, 5.4, **options)
    axes = figure.axes[0]
    used = [t for t in _trials(study, TrialState.COMPLETE) if set(parameters) <= set(t.params)]
    if not axes.collections:
        axes.set_title(f"No surface: too few trials differ in {' and '.join(parameters)}")
        return figure
    _, surface, dots, _ = axes.collections
    surface.set_cmap(_colours(study))
    best = np.array([trial.number == study.best_trial.number for trial in used])
    axes.plot(*np.asarray(dots.get_offsets())[best].T, zorder=6, **STAR)
    mark = "Star" if best.any() else "Not shown, as it lacks one of them"
    axes.set_title(_title(mark, study, metric))
    return figure


def intermediate_values(study: optuna.Study, metric: str) -> Figure:
    """Draw what trials reported after each epoch: complete ones, pruned ones, and the best."""
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.8)
    complete, pruned = _trials(study, TrialState.COMPLETE), _trials(study, TrialState.PRUNED)
    for name, trials, colour, width in (
        (f"pruned ({len(pruned)})", pruned, style.GREY, 1),
        (f"complete ({len(complete)})", complete, style.BLUE, 1),
        ("best", [study.best_trial], style.VERMILION, 3),
    ):
        look: dict[str, Any] = {"color": colour, "lw": width, "alpha": thinned(len(trials))}
        axes.plot([], [], color=colour, lw=width, label=name)
        for trial in trials:
            epochs = sorted(trial.intermediate_values)
            values = [trial.intermediate_values[epoch] for epoch in epochs]
            axes.plot(epochs, values, ".-", ms=8, markevery=[-1], **look)
    reported = [v for t in complete + pruned for v in t.intermediate_values.values()]
    axes.set_ylim(*shown(study, reported))
    style.count(axes)
    style.titled(axes, _title("Thick", study, metric), "epoch (dots: the last one)", metric)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def timeline(study: optuna.Study) -> Figure:
    """Draw when each trial ran, and how it ended."""
    figure = _by_optuna(visualization.plot_timeline, study, 5.0)
    num_trials = len(study.get_trials(deepcopy=False))
    bars: Any = figure.axes[0].patches
    for bar in bars:  # of many trials, each is to be seen at all
        centre = bar.get_y() + bar.get_height() / 2
        bar.set_height(max(bar.get_height(), num_trials / 80))
        bar.set_y(centre - bar.get_height() / 2)
    style.titled(figure.axes[0], "When each trial ran, and how it ended", "time", "trial number")
    return figure


def finalists(results: Mapping[str, Mapping[int, float]], metric: str, maximise: bool) -> Figure:
    """Draw the values by seed of each finalist and their mean, the best mean on top."""
    values = {name: np.array(list(by_seed.values())) for name, by_seed in results.items()}
    ordered = sorted(values, key=lambda name: values[name].mean(), reverse=maximise)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=1.8 + 0.55 * len(ordered))
    axes.plot([], [], "o", color=style.GREY, label="one seed")
    axes.errorbar([], [], xerr=[], fmt="D", color=style.GREY, label="mean ± standard deviation")
    for row, name in enumerate(ordered):
        each, colour = values[name], style.BLUE if row else style.VERMILION
        mean, deviation = each.mean(), each.std(ddof=1) if len(each) > 1 else 0.0
        axes.scatter(each, [row - 0.16] * len(each), c=colour, s=34, alpha=0.7, linewidths=0)
        axes.errorbar(mean, row + 0.16, xerr=deviation, fmt="D", color=colour, ms=9, capsize=4)
        text = f"{mean:.4g}" + (f" ± {deviation:.2g}" if len(each) > 1 else "")
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.get_yticklabels()[0].set(color=style.VERMILION, fontweight="bold")
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    winner = values[ordered[0]]
    reached = f"mean over seeds ({len(winner)}): {winner.mean():.4g}"
    if len(ordered) > 1 and len(winner) > 1:
        second = values[ordered[1]]
        gap = abs(winner.mean() - second.mean())
        std_1, std_2 = sample_std(winner.tolist()), sample_std(second.tolist())
        error = pooled_standard_error(std_1, len(winner), std_2, len(second))
        reached += f", {gap:.2g} ahead of {ordered[1]} (standard error {error:.2g})"
    style.titled(axes, f"The winner: {ordered[0]}\n{reached}", metric, "")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def thinned(count: int) -> float:
    """Return how opaque, or how large, each of so many marks is: 1 up to fifty, then less."""
    return max(0.15, min(1.0, 50 / max(count, 1)))


def shown(study: optuna.Study, values: Iterable[float] = ()) -> tuple[float, float]:
    """Return the range to show of some values, or of those of the complete trials.

    It goes from the best to twice as far as the worst quarter begins.
    """
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    finite = [value for value in values if math.isfinite(value)]
    finite = finite or [trial.values[0] for trial in _trials(study, TrialState.COMPLETE)]
    best, quartile, worst = np.quantile([sign * value for value in finite], [1, 0.25, 0])
    if quartile < best:
        worst = max(worst, best - 2 * (best - quartile))
    pad = 0.05 * (best - worst) or 0.01 * abs(best) or 0.01
    low, high = sorted((sign * float(worst - pad), sign * float(best + pad)))
    return low, high


def _trials(study: optuna.Study, state: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(state,))


def _title(mark: str, study: optuna.Study, metric: str) -> str:
    return f"{mark}: the best, {best_trial_name(study)}, {metric} {study.best_value:.4g}"


def best_trial_name(study: optuna.Study) -> str:
    """Return the best trial as people call it, and how many others are as good."""
    values = [trial.value for trial in _trials(study, TrialState.COMPLETE)]
    others = values.count(study.best_value) - 1
    return f"trial {study.best_trial.number}" + (f" (and {others} as good)" if others else "")


def _colours(study: optuna.Study) -> str:
    """Return the colour map that is darkest where values are best."""
    return "cividis_r" if study.direction == StudyDirection.MAXIMIZE else "cividis"


def _limit(axes: Axes, study: optuna.Study) -> None:
    """Show the values that matter; dots of those beyond stand on the frame."""
    low, high = shown(study)
    for dots in axes.collections:
        dots.set_offsets(np.clip(dots.get_offsets(), (-np.inf, low), (np.inf, high)))
        dots.set_clip_on(False)
    axes.set_ylim(low, high)


def _by_optuna(
    plot: Callable[..., Any], study: optuna.Study, height: float, **options: Any
) -> Figure:
    """Return a picture that Optuna draws, and leave pyplot as it was before."""
    with plt.rc_context(), quiet():
        figure: Figure = np.ravel(plot(study, **options))[0].get_figure(root=True)
    plt.close(figure)
    figure.set_layout_engine("tight")
    figure.set_size_inches(WIDTH, height)
    return figure


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignore what Optuna warns of by design."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Of a parameter that a few of the trials lack, and of permuted values: both are meant.
        warnings.filterwarnings("ignore", "Some regimes|PedAnova|Target and region", UserWarning)
        # Of a parameter that has had one value, matplotlib widens the axis.
        warnings.filterwarnings("ignore", "Attempting to set identical", UserWarning)
        yield

"""Pictures of a sequence classifier: its predictions, and its features from step to step."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures import style
from harness.figures.letters import literal, short
from harness.figures.units import alike, draw_units
from harness.wording import plural

WIDTH = 7.4  # inches
MAX_LABELLED_STEPS = 40
"""Longest sequence of which every symbol is a tick label; of longer ones only rare symbols are."""
COLOURS = style.SERIES


class Inspection(NamedTuple):
    """What a network computes while it reads one sequence."""

    title: str
    """Its target, such as `class XY`."""
    text: Sequence[str]
    """Its T symbols; empty for real channels."""
    features: np.ndarray
    """(T, F): features of the encoder at each step; of an LSTM, hidden states."""
    cells: np.ndarray | None
    """(T, F): cell states of an LSTM, None for other encoders."""
    steps: np.ndarray
    """(M,) int: lengths of the prefixes for which predictions were computed, up to T."""
    predictions: np.ndarray
    """(M, K): class probabilities, or (M, 1) the predicted number, of each prefix."""
    contributions: np.ndarray
    """(T,): gradient times input, the contribution of each step to the output."""
    attention: np.ndarray | None
    """(T,): weights of attention pooling, None for other poolings."""
    series: np.ndarray | None = None
    """(T, C): channels, standardized over training; None for symbols."""


def accuracy_by_length(lengths: np.ndarray, correct: np.ndarray, bins: int = 8) -> Figure:
    """Draw how accuracy depends on the length of a sequence.

    Args:
        lengths: (N,) int.
        correct: (N,) bool.
        bins: largest number of groups of lengths.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, bins + 1)).round().astype(int))
    group_of = np.searchsorted(edges[1:-1], lengths, side="left")
    groups = [group_of == group for group in np.unique(group_of)]
    bars = axes.bar(range(len(groups)), [correct[g].mean() for g in groups], color=style.BLUE)
    labels = [f"{correct[group].mean():.3f}\nof {group.sum():,}" for group in groups]
    axes.bar_label(bars, labels, fontsize=9)
    ends = [sorted({lengths[group].min(), lengths[group].max()}) for group in groups]
    axes.set_xticks(range(len(groups)), ["-".join(f"{end:,}" for end in pair) for pair in ends])
    axes.set(ylim=(0, 1.2), yticks=np.linspace(0, 1, 6))
    title = f"Accuracy {correct.mean():.4f} on {plural(len(correct), 'test sequence')}"
    style.titled(axes, title, "length of the sequence (steps)", "accuracy")
    return figure


def predictions(targets: np.ndarray, predicted: np.ndarray, *, tolerance: float) -> Figure:
    """Draw predicted numbers against targets, (N,) each."""
    figure, ((axes,),) = style.canvas(width=5.8, height=5.8)
    ends = np.array([targets.min(), targets.max()])
    band: dict[str, Any] = {"color": style.GREY, "alpha": 0.3, "linewidth": 0}
    label = f"correct: within {tolerance:g}"
    axes.fill_between(ends, ends - tolerance, ends + tolerance, label=label, **band)
    look: dict[str, Any] = {"s": 10, "color": style.BLUE, "alpha": 0.6, "linewidths": 0}
    axes.scatter(targets, predicted, label="test sequences", **look)
    error = np.square(targets - predicted).mean()
    style.titled(axes, f"Mean squared error {error:.5f}", "target", "prediction")
    style.legend(axes)
    return figure


def sequences_to_solve(counts: Mapping[str, np.ndarray], total: int) -> Figure:
    """Draw after how many of `total` training sequences each encoder solved the task.

    `counts` are (seeds,) by encoder, infinite where it was not solved.
    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.0)
    for row, values in enumerate(counts.values()):
        solved = values[np.isfinite(values)]
        axes.scatter(solved, np.full(len(solved), row), color=style.BLUE, s=45, zorder=2)
        label = f"{len(solved)} of {len(values)} solved"
        if len(solved) == len(values):
            axes.plot([solved.mean()] * 2, [row - 0.25, row + 0.25], color=style.VERMILION)
            label = f"mean {solved.mean():,.0f}"
        axes.text(1.02, row, label, va="center", transform=axes.get_yaxis_transform(), fontsize=10)
        axes.axhline(row, color=style.GREY, linewidth=0.5, zorder=1)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.03 * total)
    x = "training sequences until validation accuracy was 1; one dot per seed"
    style.titled(axes, "Training sequences needed to solve the task", x, "")
    return figure


def time_by_length(lengths: Sequence[int], milliseconds: Mapping[str, np.ndarray]) -> Figure:
    """Draw the milliseconds (M,) that each encoder needs for a sequence of M lengths in steps."""
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.6)
    for index, (encoder, values) in enumerate(milliseconds.items()):
        axes.plot(lengths, values, marker="o", label=encoder, **style.series_look(index))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    x, y = "length of the sequence (steps)", "time per sequence (ms)"
    style.titled(axes, "Time of prediction by sequence length", x, y)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)  # inside, it hides lines
    return figure


def states(inspections: Sequence[Inspection]) -> Figure:
    """Draw the features of the encoder over the steps; of an LSTM, of up to four sequences."""
    panels = 1 if inspections[0].cells is None else 2  # of each sequence
    inspections = inspections[: 8 // panels]
    columns = panels if len(inspections) <= 4 else 2
    figure, axes = _grid(panels * len(inspections), columns)
    order = alike(np.concatenate([each.features for each in inspections]))
    kinds = {"features": [each.features for each in inspections]}
    if cells := [each.cells for each in inspections if each.cells is not None]:
        kinds = {"hidden state": kinds["features"], "cell state": cells}
    for places, (name, states) in zip(axes.reshape(-1, panels).T, kinds.items(), strict=True):
        limit = max(np.abs(values).max() for values in states)  # one scale: panels can be compared
        for place, each, values in zip(places, inspections, states, strict=False):
            image = draw_units(place, values, order, limit)
            _label(place, each, f"{short(each.title, 20 if panels == 2 else 28)}: {name}")
        figure.colorbar(image, ax=list(places), pad=0.02)
    num_features = inspections[0].features.shape[1]
    title = f"The {num_features} features of the encoder at each step (colour: activation)"
    figure.suptitle(title, fontsize=12)
    figure.supylabel("features, similar ones together", fontsize=10)
    return figure


def prediction_by_step(
    inspections: Sequence[Inspection], classes: Sequence[str], kind: str = "actual"
) -> Figure:
    """Draw the prediction for each prefix of the sequences; `classes` are empty in regression.

    `kind` says what their titles are: targets, which are `actual`, or what was predicted.
    """
    names = [short(name) for name in classes]
    columns = max(1, min(len(names), 90 // (6 + max(map(len, names), default=0))))
    legend = 0.2 * len(names) / columns
    figure, axes = _grid(len(inspections), min(2, len(inspections)), legend)
    for place, each in zip(axes.flat, inspections, strict=False):
        for k, name in enumerate(names or [""]):
            around, index = divmod(k, len(COLOURS))
            dashes = style.DASHES[(index + around) % len(style.DASHES)]
            look: dict[str, Any] = {"color": COLOURS[index], "linestyle": dashes, "linewidth": 1.6}
            look["marker"] = "o" if len(each.steps) == 1 else None  # a line of one point is none
            place.plot(each.steps - 1, each.predictions[:, k], label=name, **look)
        if classes:
            place.set(ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        _label(place, each, f"{kind} {short(each.title)}")
    if classes:
        where: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
        figure.legend(axes[0, 0].lines, names, frameon=False, fontsize=9, **where)
    shown = "Probability of each class" if classes else "Prediction"
    figure.suptitle(f"{shown} if the sequence ended at that step", fontsize=12)
    figure.supylabel("probability" if classes else "prediction", fontsize=10)
    return figure


def importance(inspections: Sequence[Inspection]) -> Figure:
    """Draw how much each step contributes to the output for the actual class."""
    figure, axes = _grid(len(inspections), 1 if len(inspections) <= 4 else 2)
    largest = max(np.abs(each.contributions).max() for each in inspections)
    for place, each in zip(axes.flat, inspections, strict=False):
        steps = np.arange(len(each.contributions))
        place.set_ylim(-1.1 * largest, 1.1 * largest)  # one scale: panels can be compared
        place.bar(steps, each.contributions, width=1.0, color=style.BLUE)
        place.axhline(0, color=style.GREY, linewidth=0.8)
        if each.attention is not None:
            twin = place.twinx()
            twin.plot(steps, each.attention, color=style.VERMILION, linewidth=1.4)
            twin.set_ylim(0, None)
            twin.tick_params(axis="y", colors=style.VERMILION, labelsize=9)
        place.set_xlim(-0.5, len(steps) - 0.5)
        _label(place, each, short(each.title))
    shown = "bars: gradient times input"
    if inspections[0].attention is not None:
        shown += "; line: attention weight"
    is_class = inspections[0].predictions.shape[1] > 1
    name = "logit of its class" if is_class else "output"
    figure.suptitle(f"Contribution of each step to the {name}\n({shown})", fontsize=12)
    figure.supylabel("gradient times input", fontsize=10)
    return figure


def importance_on_series(inspections: Sequence[Inspection]) -> Figure:
    """Draw series of numbers on colours that say what each step contributes to the output.

    Every channel is a line. The few largest contributions have the colour of the next largest.
    """
    figure, axes = _grid(len(inspections), 1 if len(inspections) <= 4 else 2)
    sizes = np.abs(np.concatenate([each.contributions for each in inspections]))
    limit = float(np.quantile(sizes, 0.98)) or 1.0
    for place, each in zip(axes.flat, inspections, strict=False):
        assert each.series is not None
        place.plot(
            each.series, color=style.BLACK, linewidth=1.0 if each.series.shape[1] == 1 else 0.7
        )
        low, high = place.get_ylim()
        look: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
        extent = (-0.5, len(each.series) - 0.5, low, high)
        image = place.imshow(
            each.contributions[np.newaxis], "RdBu_r", vmin=-limit, vmax=limit, extent=extent, **look
        )
        _label(place, each, short(each.title))
    figure.colorbar(image, ax=list(axes.flat), pad=0.02, extend="both").set_label(
        "gradient times input", fontsize=10
    )
    is_class = inspections[0].predictions.shape[1] > 1
    name = "logit of its class" if is_class else "output"
    figure.suptitle(f"Contribution of each step to the {name}, behind the series", fontsize=12)
    figure.supylabel("standard deviations from the mean", fontsize=10)
    return figure


def _grid(count: int, columns: int, legend: float = 0.0) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns) with `count` panels; a legend in inches."""
    rows = math.ceil(count / columns)
    height = (5.6 if rows > 2 else 1.2 + 1.6 * rows) + legend
    figure, axes = style.canvas(rows, columns, width=WIDTH, height=height)
    for place in axes.flat:
        place.tick_params(labelsize=9)
    for place in axes.flat[count:]:
        place.set_axis_off()
    return figure, axes


def _label(axes: Axes, inspection: Inspection, title: str) -> None:
    """Write symbols below their steps: all of a short sequence, the rare ones of a long one."""
    axes.set_title(title, fontsize=10)
    text = inspection.text
    place = axes.get_subplotspec()
    if place is not None and place.is_last_row():
        axes.set_xlabel("symbol at each step" if text else "step", fontsize=10)
    if not text:
        style.count(axes)
        return
    counts = Counter(text)
    is_short, rare = len(text) <= MAX_LABELLED_STEPS, 0.05 * len(text)
    shown: dict[int, str] = {}
    for step, symbol in enumerate(text):
        if not (is_short or counts[symbol] <= rare):
            continue
        last = max(shown, default=-len(text))
        if step - last < len(text) / MAX_LABELLED_STEPS and not is_short:
            shown[last] += symbol  # neighbours share a label
        else:
            shown[step] = symbol
    axes.set_xticks(list(shown), [*map(literal, shown.values())], fontsize=9)
    axes.tick_params(axis="x", length=2)

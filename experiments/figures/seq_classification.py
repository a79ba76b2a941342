"""Pictures of a sequence classifier: what it holds while it reads, what it says, what mattered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style
from experiments.figures.units import alike, draw_units

WIDTH = 7.4  # inches
MOST_NAMED = 40
"""Steps of a sequence whose symbols are all written; of longer ones the rare symbols are."""
COLOURS = (*style.SERIES[:4], style.ORANGE, style.SKY, style.YELLOW, style.BLACK)


class Look(NamedTuple):
    """What one sequence does to a network, step by step."""

    title: str
    """Its class, or the number that is wanted."""
    text: str
    """Its T symbols; empty where there are none."""
    features: np.ndarray
    """(T, F): what the encoder knows at each step; of LSTM, hidden states."""
    cells: np.ndarray | None
    """(T, F): cell states of LSTM, None elsewhere."""
    steps: np.ndarray
    """(M,) int: numbers of steps after which an answer was asked for."""
    said: np.ndarray
    """(M, K): probabilities of the classes, or the number, if the sequence ended there."""
    mattered: np.ndarray
    """(T,): what each step adds to the answer, to first order."""
    attention: np.ndarray | None
    """(T,): weights of attention pooling, None elsewhere."""


def accuracy_by_length(lengths: np.ndarray, right: np.ndarray, bins: int = 8) -> Figure:
    """Draw how accuracy depends on the length of a sequence.

    Args:
        lengths: (N,) int.
        right: (N,) bool.
        bins: groups of lengths.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, bins + 1)).round().astype(int))
    groups = np.searchsorted(edges[1:-1], lengths, side="left") if len(edges) > 2 else 0 * lengths
    numbers = np.unique(groups)
    shares = [right[groups == group].mean() for group in numbers]
    bars = axes.bar(range(len(numbers)), shares, color=style.BLUE)
    counts = [f"{(groups == group).sum():,}" for group in numbers]
    axes.bar_label(
        bars, [f"{s:.3f}\nof {n}" for s, n in zip(shares, counts, strict=True)], fontsize=9
    )
    names = [_span(lengths[groups == group]) for group in numbers]
    axes.set_xticks(range(len(numbers)), names)
    axes.set_ylim(0, 1.2)
    axes.set_yticks(np.linspace(0, 1, 6))
    title = f"Accuracy {right.mean():.4f} on {len(right):,} test sequences"
    style.titled(axes, title, "length of the sequence (steps)", "accuracy")
    return figure


def _span(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def answers(wanted: np.ndarray, said: np.ndarray, *, tolerance: float) -> Figure:
    """Draw numbers that were said against those that were wanted, (N,) each."""
    figure, ((axes,),) = style.canvas(width=5.8, height=5.8)
    ends = np.array([wanted.min(), wanted.max()])
    axes.fill_between(
        ends,
        ends - tolerance,
        ends + tolerance,
        color=style.GREY,
        alpha=0.3,
        linewidth=0,
        label=f"right: within {tolerance:g}",
    )
    axes.scatter(wanted, said, s=10, color=style.BLUE, alpha=0.6, linewidths=0, label="answers")
    error = np.square(wanted - said).mean()
    style.titled(axes, f"Mean squared error {error:.5f}", "wanted", "said")
    style.legend(axes)
    return figure


def sequences_to_solve(counts: Mapping[str, np.ndarray], most: int) -> Figure:
    """Draw after how many training sequences each encoder had solved the task.

    Args:
        counts: (seeds,), by encoder; infinite where it was not solved.
        most: sequences that each saw.

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
    axes.set_xlim(0, 1.03 * most)
    style.titled(
        axes,
        "How many sequences it takes to solve the task",
        "training sequences until validation was right to the last one; a dot for each seed",
        "",
    )
    return figure


def time_by_length(lengths: Sequence[int], milliseconds: Mapping[str, np.ndarray]) -> Figure:
    """Draw what reading a sequence costs each encoder.

    Args:
        lengths: (M,), steps.
        milliseconds: (M,) for each sequence, by encoder.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.6)
    for (encoder, values), colour in zip(milliseconds.items(), style.SERIES, strict=False):
        axes.plot(lengths, values, "o-", color=colour, label=encoder)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    style.titled(
        axes, "What reading costs", "length of the sequence (steps)", "time per sequence (ms)"
    )
    style.legend(axes)
    return figure


def states(looks: Sequence[Look]) -> Figure:
    """Draw what the encoder holds while it reads, one sequence below the other."""
    columns = 2 if looks[0].cells is not None else 1
    figure, axes = style.canvas(
        len(looks), columns, width=WIDTH, height=0.8 + 1.35 * max(len(looks), 2)
    )
    order = alike(np.concatenate([look.features for look in looks]))
    for row, look in zip(axes, looks, strict=True):
        kinds = [("hidden state" if look.cells is not None else "features", look.features)]
        if look.cells is not None:
            kinds.append(("cell state", look.cells))
        for place, (name, values) in zip(row, kinds, strict=True):
            image = draw_units(place, values, order)
            figure.colorbar(image, ax=place, pad=0.02)
            place.set_title(f"{look.title}: {name}", fontsize=10)
            _name_steps(place, look)
    figure.suptitle(
        f"What is held in memory: {looks[0].features.shape[1]} features, step by step", fontsize=12
    )
    return figure


def while_reading(looks: Sequence[Look], classes: Sequence[str]) -> Figure:
    """Draw what would be said if the sequence ended after each step."""
    rows = -(-len(looks) // 2)
    figure, axes = style.canvas(rows, 2, width=WIDTH, height=1.4 + 1.7 * rows)
    for place, look in zip(axes.flat, looks, strict=False):
        for label, name in enumerate(classes):
            colour, dashes = COLOURS[label % len(COLOURS)], "-" if label < len(COLOURS) else "--"
            place.plot(
                look.steps - 1, look.said[:, label], dashes, color=colour, linewidth=1.6, label=name
            )
        place.set_ylim(-0.03, 1.03)
        place.set_title(f"actual class: {look.title}", fontsize=10)
        _name_steps(place, look)
    for place in axes.flat[len(looks) :]:
        place.set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
    figure.suptitle("Probability of each class while the sequence is read", fontsize=12)
    return figure


def importance(looks: Sequence[Look]) -> Figure:
    """Draw which steps the answer comes from."""
    figure, axes = style.canvas(len(looks), 1, width=WIDTH, height=1.2 + 1.15 * max(len(looks), 2))
    for place, look in zip(axes[:, 0], looks, strict=True):
        steps = np.arange(len(look.mattered))
        place.bar(steps, look.mattered, width=1.0, color=style.BLUE, label="gradient x input")
        place.axhline(0, color=style.GREY, linewidth=0.8)
        if look.attention is not None:
            twin = place.twinx()
            twin.plot(
                steps, look.attention, color=style.VERMILION, linewidth=1.4, label="attention"
            )
            twin.set_ylim(0, None)
        place.set_xlim(-0.5, len(steps) - 0.5)
        place.set_title(look.title, fontsize=10)
        _name_steps(place, look)
    attention = ", line: attention" if looks[0].attention is not None else ""
    figure.suptitle(
        f"Which steps the answer comes from (bars: gradient times input{attention})", fontsize=12
    )
    return figure


def _name_steps(axes: Axes, look: Look) -> None:
    """Write symbols below their steps: all of a short sequence, the rare ones of a long one."""
    if not look.text:
        return
    counts = Counter(look.text)
    rare = 0.05 * len(look.text)
    short = len(look.text) <= MOST_NAMED
    places = [p for p, symbol in enumerate(look.text) if short or counts[symbol] <= rare]
    axes.set_xticks(places, [look.text[place] for place in places], fontsize=9)
    axes.tick_params(axis="x", length=2)

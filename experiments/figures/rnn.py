"""Pictures of recurrent networks: what they remember, for how long, and what they say."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.figures import style
from experiments.figures.units import alike, draw_units

BLANK = "\N{MIDDLE DOT}"
"""What stands for the blank, which would not be seen."""
WIDTH = 7.4  # inches


def accuracy_by_length(
    lengths: np.ndarray, accuracies: Mapping[str, np.ndarray], unit: str
) -> Figure:
    """Draw how accuracy holds where sequences are longer than in training.

    Args:
        lengths: (M,) int, that of training first.
        accuracies: (M,) each, by what is counted.
        unit: what lengths are numbers of.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.2)
    for (name, values), marker in zip(accuracies.items(), "os", strict=False):
        colour = style.SERIES["os".index(marker)]
        axes.plot(lengths, values, marker=marker, color=colour, label=name, clip_on=False)
    axes.axvline(lengths[0], color=style.GREY, linestyle=":", linewidth=1.2, label="as in training")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    _from_zero_to_one(axes)
    style.titled(axes, "Longer than in training", f"length of the sequence ({unit})", "accuracy")
    style.legend(axes)
    return figure


def accuracy_by_position(right: np.ndarray, counted: np.ndarray) -> Figure:
    """Draw how much is right at each position.

    Args:
        right: (T,) int, how many symbols were right.
        counted: (T,) int, of how many that count.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    places = np.flatnonzero(counted)
    axes.plot(places + 1, right[places] / counted[places], "o-", color=style.BLUE, clip_on=False)
    axes.set_xlim(0.5, len(right) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _from_zero_to_one(axes)
    title = f"Accuracy by position: {right.sum():,} of {counted.sum():,} symbols right"
    style.titled(
        axes, title, "step of the sequence (where nothing counts, there is no point)", "accuracy"
    )
    return figure


def accuracy_by_delay(right: np.ndarray, counted: np.ndarray) -> Figure:
    """Draw how much is right after each delay.

    Args:
        right: (D,) int, how many symbols were right where the delay was 0, 1, ...
        counted: (D,) int, of how many that count.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    delays = np.flatnonzero(counted)
    shares = right[delays] / counted[delays]
    bars = axes.bar(delays, shares, color=style.BLUE)
    axes.bar_label(bars, [f"{share:.4f}" for share in shares], padding=2, fontsize=9)
    axes.set_xticks(delays)
    _from_zero_to_one(axes)
    style.titled(axes, "Accuracy by delay", "delay (steps)", "accuracy")
    return figure


def reach(curves: Mapping[str, np.ndarray], delay: int | None = None) -> Figure:
    """Draw how far back learning reaches.

    Args:
        curves: (T,) norm of the gradient at the input so many steps before the loss, by network.
        delay: where the echo asks for it; None: nowhere in particular.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.2)
    colours = {"untrained": style.GREY, "trained": style.BLUE}
    for name, norms in curves.items():
        lags = np.arange(len(norms))
        positive = np.where(norms > 0, norms, np.nan)  # what has vanished has no logarithm
        axes.plot(lags, positive, color=colours.get(name, style.GREEN), label=name)
    if delay is not None:
        axes.axvline(
            delay, color=style.VERMILION, linestyle=":", label=f"the echo's delay, {delay}"
        )
    axes.set_yscale("log")
    style.titled(
        axes,
        "How far back learning reaches",
        "lag (steps before the one that is judged)",
        "norm of the gradient at the input",
    )
    style.legend(axes)
    return figure


def memory(hidden: np.ndarray, inputs: str, said: str) -> Figure:
    """Draw the hidden units over time, beside what is read and said.

    Args:
        hidden: (T, H) float.
        inputs: T characters.
        said: T characters.

    """
    steps, units = hidden.shape
    figure, ((axes,),) = style.canvas(width=WIDTH, height=5.6)
    image = draw_units(axes, hidden, alike(hidden))
    figure.colorbar(image, label="activation", pad=0.02)
    if steps <= 60:
        pairs = zip(inputs, said, strict=True)
        axes.set_xticks(range(steps), [f"{read}\n{answer}" for read, answer in pairs])
        axes.tick_params(axis="x", length=0)
        style.titled(
            axes, "What is held in memory", "read (above) and said (below), step by step", ""
        )
    else:
        style.titled(axes, "What is held in memory", "step", "")
    axes.set_ylabel(f"{units} hidden units, those alike together")
    return figure


def strips(rows: Sequence[tuple[str, str, str]]) -> Figure:
    """Draw sequences, what was to be said and what was said, step under step; errors are marked.

    Args:
        rows: input, target and prediction of each sequence, as texts of equal length.

    """
    # Long waits are left out: what is shown are the steps at which something is read or asked for.
    keep = [_eventful(row) for row in rows]
    longest = max(len(places) for places in keep)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=0.9 + 0.78 * len(rows))
    size = min(11, 330 / max(longest, 1))
    for number, (row, places) in enumerate(zip(rows, keep, strict=True)):
        for line, (name, text) in enumerate(zip(("input", "target", "said"), row, strict=True)):
            y = 4 * number + line
            axes.text(-1, y, name, ha="right", va="center", fontsize=9, color=style.GREY)
            for x, place in enumerate(places):
                wrong = line == 2 and row[1][place] != row[2][place]
                axes.text(
                    x,
                    y,
                    text[place],
                    ha="center",
                    va="center",
                    family="monospace",
                    fontsize=size,
                    color="white" if wrong else "black",
                    backgroundcolor=style.VERMILION if wrong else "none",
                )
    axes.set_xlim(-1, longest)
    axes.set_ylim(4 * len(rows) - 1, -1)
    axes.set_axis_off()
    errors = sum(a != b for _, target, said in rows for a, b in zip(target, said, strict=True))
    cut = (
        ", waits left out"
        if any(len(p) < len(r[0]) for p, r in zip(keep, rows, strict=True))
        else ""
    )
    figure.suptitle(f"Answers: {errors} errors, marked in red{cut}", fontsize=12)
    return figure


def _eventful(row: tuple[str, str, str]) -> list[int]:
    """Return the steps to show: all of a short sequence, those of a long one where there is any."""
    places = range(len(row[0]))
    if len(places) <= 60:
        return list(places)
    return [place for place in places if any(text[place] != BLANK for text in row)][:60]


def bits(
    curves: Mapping[str, np.ndarray],
    steps_per_epoch: int,
    lines: Mapping[str, float],
    best_epoch: int,
    tested: Mapping[str, float],
) -> Figure:
    """Draw bits per character while a network learns, beside what compressors need.

    Args:
        curves: (epochs,) by split.
        steps_per_epoch: optimiser steps.
        lines: bits per character of each compressor on the test third.
        best_epoch: whose weights were kept.
        tested: bits per character of those on the test third, by how it was read.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.8)
    for (name, values), colour in zip(curves.items(), (style.SKY, style.BLUE), strict=True):
        steps = steps_per_epoch * np.arange(1, len(values) + 1)
        dashes = "--" if name == "training" else "-"
        axes.plot(steps, values, dashes, color=colour, label=name)
    kept = steps_per_epoch * best_epoch
    for (name, value), marker in zip(tested.items(), "*D", strict=False):
        axes.plot(
            kept, value, marker, color=style.BLACK, markersize=10, label=f"{name} {value:.3f}"
        )
    colours = (style.VERMILION, style.ORANGE, style.GREEN, style.PURPLE)
    looks = zip(lines.items(), colours, strict=False)
    for (name, value), colour in looks:
        axes.axhline(
            value, color=colour, linestyle="-.", linewidth=1.4, label=f"{name} {value:.3f}"
        )
    shown = [*tested.values(), *lines.values(), *np.concatenate(list(curves.values()))]
    axes.set_ylim(min(shown) - 0.1, min(max(shown), 2.2 * min(lines.values(), default=2.0)) + 0.1)
    style.titled(
        axes,
        "Bits per character (lines: on the test third)",
        "optimiser steps",
        "bits per character",
    )
    axes.legend(frameon=False, fontsize=10, ncols=2)
    return figure


def letters(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw which characters are taken for which.

    Args:
        counts: (S, S) int, actual characters in rows, predicted ones in columns.
        names: S characters.

    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, ((axes,),) = style.canvas(width=6.8, height=6.6)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, family="monospace")
    axes.set_yticks(range(len(names)), names, family="monospace")
    axes.tick_params(length=0)
    for place in ("top", "right"):
        axes.spines[place].set_visible(True)
    bar = figure.colorbar(image, shrink=0.7, label="part of the actual character's occurrences")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    style.titled(axes, f"Most probable next character: {accuracy:.3f} right", "predicted", "actual")
    return figure


def written(texts: Mapping[float, str]) -> Figure:
    """Draw what a network writes at several temperatures."""
    wrapped = {t: textwrap.fill(text, 84) for t, text in texts.items()}
    lines = sum(text.count("\n") + 3 for text in wrapped.values())
    figure, ((axes,),) = style.canvas(width=WIDTH, height=0.6 + 0.19 * lines)
    figure.suptitle("What the network writes", fontsize=12)
    axes.set_axis_off()
    axes.set_ylim(lines, 0)
    y = 0
    for temperature, text in wrapped.items():
        axes.text(0, y, f"temperature {temperature:g}", va="top", fontsize=10, color=style.BLUE)
        axes.text(0, y + 1.2, text, va="top", family="monospace", fontsize=9, linespacing=1.2)
        y += text.count("\n") + 3
    return figure


def _from_zero_to_one(axes: Axes) -> None:
    axes.set_ylim(0, 1.06)
    axes.set_yticks(np.linspace(0, 1, 6))

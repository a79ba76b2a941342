"""Pictures of a network that predicts text: bits per character, confusions, generated text."""

import itertools
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from datasets.characters import ByteVocabulary, Vocabulary
from experiments.rnn.figures import BLANK
from harness.evaluation import confusion_matrix
from harness.figures import style
from harness.figures.letters import literal, short
from models.context_mixture import ORDERS, PREDICTORS

WIDTH = 7.4  # inches
MAX_SYMBOLS = 30
"""Symbols of which a confusion matrix is drawn."""
BASELINE_DASHES: tuple[Any, ...] = ("-.", ":", (0, (9, 3)), (0, (6, 2, 1, 2, 1, 2)))
VISIBLE = {
    " ": BLANK,
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW}",
}
"""What stands for white space, which would not be seen."""


def bits(
    curves: Mapping[str, np.ndarray],
    steps_per_epoch: int,
    baselines: Mapping[str, float],
    best_epoch: int,
    tested: Mapping[str, float],
    unit: str,
    scope: str,
) -> Figure:
    """Draw bits per character or byte during training, beside those of compressors.

    Args:
        curves: (epochs,) of training and validation.
        steps_per_epoch: optimiser steps.
        baselines: of each compressor on the test third.
        best_epoch: whose weights were kept.
        tested: of those weights on the test third, by the kind of evaluation.
        unit: character or byte.
        scope: what of the text is predicted and compressed.

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=5.4)
    for (name, values), colour in zip(curves.items(), (style.SKY, style.BLUE), strict=True):
        steps = steps_per_epoch * np.arange(1, len(values) + 1)
        dashes = "--" if name == "training" else "-"
        axes.plot(steps, values, dashes, color=colour, label=name)
    kept = steps_per_epoch * best_epoch
    for (name, value), marker in zip(tested.items(), "*DP", strict=False):
        label = f"{name} {value:.3f}"
        axes.plot(kept, value, marker, color=style.BLACK, markersize=10, label=label)
    colours = (style.VERMILION, style.ORANGE, style.GREEN, style.PURPLE, style.GREY, style.BLACK)
    looks = zip(colours, itertools.cycle(BASELINE_DASHES), strict=False)
    for (name, value), (colour, dashes) in zip(baselines.items(), looks, strict=False):
        label = f"{name} {value:.3f}"
        axes.axhline(value, color=colour, linestyle=dashes, linewidth=1.6, label=label)
    reached = [*tested.values(), *baselines.values()]
    shown = [*reached, *np.concatenate(list(curves.values()))]
    # The first epochs may lie above; what was reached, and the baselines, never do.
    highest = min(max(shown), max(1.1 * max(reached), 2.2 * min(baselines.values())))
    axes.set_ylim(min(shown) - 0.1, highest + 0.1)
    title = f"Bits per {unit} of {scope} (horizontal lines: on the test third)"
    style.titled(axes, title, "optimiser steps", f"bits per {unit}")
    style.count(axes)
    # Below the axes: inside, it could hide a line.
    figure.legend(loc="outside lower center", frameon=False, fontsize=10, ncols=3)
    return figure


GROUPS = {
    "network": ["network"],
    "repetition": ["repetition"],
    "orders 10 to 32": [f"order {n}" for n in ORDERS if n >= 10],
    "orders 5 to 9": [f"order {n}" for n in ORDERS if 5 <= n <= 9],
    "orders 0 to 4": [f"order {n}" for n in ORDERS if n <= 4],
}
"""Predictors that are drawn together; all others are words."""


def trust(shares: np.ndarray, num_symbols: int, unit: str) -> Figure:
    """Draw which predictors move the mixture's logit, over a text.

    Args:
        shares: (W, P) of all predictors in each window, in the order of `PREDICTORS`.
        num_symbols: length of the text.
        unit: character or byte.

    """
    grouped = {
        name: shares[:, [PREDICTORS.index(each) for each in members]].sum(1)
        for name, members in GROUPS.items()
    }
    grouped["words, and skipping"] = shares.sum(1) - sum(grouped.values())
    grouped = {name: share for name, share in grouped.items() if share.any()}
    width = min(9, len(shares))
    kernel = np.ones(width)
    weight = np.convolve(np.ones(len(shares)), kernel, "same")
    smooth = [np.convolve(share, kernel, "same") / weight for share in grouped.values()]
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.6)
    places = (np.arange(len(shares)) + 0.5) * num_symbols / len(shares)
    colours = (style.GREY, style.VERMILION, style.BLUE, style.SKY, style.YELLOW, style.GREEN)
    axes.stackplot(places, smooth, labels=list(grouped), colors=colours[-len(grouped) :])
    axes.set(xlim=(0, num_symbols), ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.titled(axes, "Which predictor the mixture trusts", f"{unit}s read", "share of the logits")
    style.count(axes)
    figure.legend(loc="outside lower center", frameon=False, fontsize=10, ncols=3)
    return figure


def letters(actual: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the confusion matrix of actual (rows) and most probable next symbols, each (N,) int.

    Of many symbols, the most frequent are shown, and all others together.
    """
    counts = np.bincount(actual, minlength=len(names))
    shown = np.sort(np.argsort(-counts, kind="stable")[:MAX_SYMBOLS])
    place = np.full(len(names), len(shown))
    place[shown] = np.arange(len(shown))
    labels = [names[index] for index in shown] + ["\N{HORIZONTAL ELLIPSIS}"] * (
        len(shown) < len(names)
    )
    matrix = confusion_matrix(place[actual], place[predicted], len(labels))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, ((axes,),) = style.canvas(width=6.6, height=5.4)
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(len(labels)), [*map(short, labels)], family="monospace")
    if any(len(literal(label)) > 1 for label in labels):
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(True)
    bar = figure.colorbar(image, shrink=0.7, label="share of the actual symbol")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    accuracy = np.mean(actual == predicted)
    title = f"Most probable next symbol: accuracy {accuracy:.3f}"
    others = f" ({labels[-1]} stands for all others)" if len(shown) < len(names) else ""
    style.titled(axes, title, f"predicted{others}", "actual")
    return figure


def names_of(vocabulary: Vocabulary) -> list[str]:
    """Return symbols as figures show them; bytes that are no ASCII as hexadecimal numbers."""
    names = [VISIBLE.get(symbol, symbol) for symbol in vocabulary.symbols]
    if isinstance(vocabulary, ByteVocabulary):
        return [
            name if symbol.isascii() and name.isprintable() else f"{ord(symbol):02x}"
            for symbol, name in zip(vocabulary.symbols, names, strict=True)
        ]
    return names


def generated_text(texts: Mapping[float, str]) -> Figure:
    """Draw what a network generates at several temperatures."""
    shown = {temperature: literal(text) for temperature, text in texts.items()}
    wrapped = {t: textwrap.fill(text, _line_length(text)) for t, text in shown.items()}
    lines = sum(text.count("\n") + 3 for text in wrapped.values())
    figure, ((axes,),) = style.canvas(width=WIDTH, height=0.6 + 0.19 * lines)
    figure.suptitle("Generated text", fontsize=12)
    axes.set_axis_off()
    axes.set_ylim(lines, 0)
    y = 0
    for temperature, text in wrapped.items():
        axes.text(0, y, f"temperature {temperature:g}", va="top", fontsize=10, color=style.BLUE)
        axes.text(0, y + 1.2, text, va="top", family="monospace", fontsize=9, linespacing=1.2)
        y += text.count("\n") + 3
    return figure


def _line_length(text: str) -> int:
    """Return how many letters find room in a line: half as many of scripts with wide ones."""
    return 42 if any(unicodedata.east_asian_width(letter) in "WF" for letter in text) else 84


def next_symbol(
    probabilities: np.ndarray, names: Sequence[str], taken: int | None = None, count: int = 12
) -> Figure:
    """Draw the `count` most probable next symbols of all, (S,) float; one may be `taken`."""
    shown = np.argsort(-probabilities, kind="stable")[:count]
    if taken is not None and taken not in shown:
        shown = np.append(shown[:-1], taken)
    figure, ((axes,),) = style.canvas(width=4.2, height=4.4)
    colours = [style.VERMILION if index == taken else style.BLUE for index in shown]
    bars = axes.barh(range(len(shown)), probabilities[shown], color=colours)
    axes.bar_label(bars, [f"{probabilities[index]:.3f}" for index in shown], padding=3, fontsize=9)
    labels = [literal(names[index]) for index in shown]
    axes.set_yticks(range(len(shown)), labels, family="monospace", fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.15), ylim=(len(shown) - 0.5, -0.5), xticks=np.linspace(0, 1, 6))
    style.titled(axes, "Probability of the next character", "probability", "")
    return figure

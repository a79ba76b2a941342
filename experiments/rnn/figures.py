"""Pictures of recurrent networks: what they remember, for how long, and from how far back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harness.figures import style
from harness.figures.letters import literal
from harness.figures.training import share_legend
from harness.figures.units import alike, draw_units
from harness.wording import plural

BLANK = "\N{MIDDLE DOT}"
"""Stands for blanks, which would not be seen."""
WIDTH = 7.4  # inches
FRACTIONS: dict[str, Any] = {"ylim": (0, 1.06), "yticks": np.linspace(0, 1, 6)}
"""The axis of an accuracy."""
CHANCE: dict[str, Any] = {"color": style.GREY, "linestyle": "--", "label": "without memory"}
"""The line of the best predictor that knows the present symbol only."""
MAX_STEPS = 60
"""Steps whose characters find room beside each other."""


def accuracy_by_length(
    lengths: np.ndarray,
    symbols: np.ndarray,
    sequences: np.ndarray,
    chance: np.ndarray,
    *,
    unit: str,
) -> Figure:
    """Draw accuracies at lengths, that of training first, in numbers of `unit`; each is (M,).

    They are those of symbols and of whole sequences, and that of symbols without memory.
    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.2)
    curves = ("symbols", symbols, "o"), ("whole sequences", sequences, "s")
    for (name, values, marker), colour in zip(curves, style.SERIES, strict=False):
        axes.plot(lengths, values, marker=marker, color=colour, label=name, clip_on=False)
    axes.plot(lengths, chance, **CHANCE)
    axes.axvline(lengths[0], color=style.GREY, linestyle=":", linewidth=1.2, label="as in training")
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    axes.set(**FRACTIONS)
    title = "Accuracy on sequences longer than in training"
    style.titled(axes, title, f"length of the sequence ({unit})", "accuracy")
    style.legend(axes)
    return figure


def accuracy_by_position(
    correct: np.ndarray, scored: np.ndarray, *, chance: float, epoch: int = 0
) -> Figure:
    """Draw the accuracy at each step: `correct` (T,) of `scored` (T,) symbols, int.

    Without memory, it is `chance` on average. The counts may be those of the validation split after
    an epoch (0: not said).
    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    steps = np.flatnonzero(scored)
    axes.plot(steps + 1, correct[steps] / scored[steps], "o-", color=style.BLUE, clip_on=False)
    axes.axhline(chance, **CHANCE)
    axes.set(**FRACTIONS)
    style.count(axes)
    style.legend(axes)
    title = f"Accuracy by position: {correct.sum():,} of {plural(scored.sum(), 'symbol')} correct"
    title = f"Validation after epoch {epoch}. {title}" if epoch else title
    style.titled(axes, title, "step (only those at which symbols are scored)", "accuracy")
    return figure


def accuracy_by_delay(
    correct: np.ndarray, scored: np.ndarray, chance: np.ndarray, marked: int | None = None
) -> Figure:
    """Draw the accuracy for each delay from 0 on: `correct` (D,) of `scored` (D,) symbols, int.

    Without memory, it is `chance` (D,). One of the delays may be `marked`.
    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    delays = np.flatnonzero(scored)
    colours = [style.VERMILION if delay == marked else style.BLUE for delay in delays]
    bars = axes.bar(delays, correct[delays] / scored[delays], color=colours)
    digits = 4 if len(delays) <= 10 else 2  # of more bars, longer labels would touch
    axes.bar_label(bars, fmt=f"{{:.{digits}f}}", padding=2, fontsize=9)
    axes.hlines(chance[delays], delays - 0.48, delays + 0.48, **CHANCE)
    share_legend(figure, axes)
    axes.set(xticks=delays, **FRACTIONS)
    style.titled(axes, "Accuracy by delay", "delay (steps)", "accuracy")
    return figure


def reach(norms: Mapping[str, np.ndarray], delay: int | None = None) -> Figure:
    """Draw how strongly the loss of a step depends on earlier inputs.

    Args:
        norms: (T,) norm of the gradient at the input, by the lag from 0 on, for each network.
        delay: of the echo (None: there is none, or it varies).

    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=4.2)
    for (name, values), colour in zip(norms.items(), (style.GREY, style.BLUE), strict=False):
        positive = np.where(values > 0, values, np.nan)  # what has vanished has no logarithm
        axes.plot(np.arange(len(values)), positive, color=colour, label=name)
    if delay is not None:
        label = f"delay of the echo, {delay}"
        axes.axvline(delay, color=style.VERMILION, linestyle=":", label=label)
    axes.set_yscale("log")
    title = "Gradient of the loss at earlier inputs"
    style.titled(axes, title, "lag (steps before that of the loss)", "norm of the gradient")
    style.legend(axes)
    return figure


def memory(
    hidden: np.ndarray,
    inputs: Sequence[str],
    predicted: Sequence[str],
    scored: Sequence[bool] | None = None,
) -> Figure:
    """Draw the hidden units (T, H) over time, beside T input and T predicted characters.

    A prediction that is not `scored` means nothing: a dot stands for it.
    """
    steps, units = hidden.shape
    figure, ((axes,),) = style.canvas(width=WIDTH, height=5.4)
    image = draw_units(axes, hidden, alike(hidden))
    figure.colorbar(image, label="activation", pad=0.02)
    x, y = "step", f"{plural(units, 'hidden unit')}, similar ones together"
    note = ""
    if scored is not None:
        predicted = [a if counts else BLANK for a, counts in zip(predicted, scored, strict=True)]
        note = f"; {BLANK} where it is not scored"
    if steps <= MAX_STEPS:
        pairs = [(literal(a), literal(b)) for a, b in zip(inputs, predicted, strict=True)]
        if all(len(name) == 1 for pair in pairs for name in pair):
            x = f"input (above) and prediction (below{note})"
            axes.set_xticks(range(steps), ["\n".join(pair) for pair in pairs])
        else:  # such as bytes
            x = "input and, after the arrow, prediction at each step"
            labels = [f"{a} \N{RIGHTWARDS ARROW} {b}" for a, b in pairs]
            axes.set_xticks(range(steps), labels, rotation=90, fontsize=7)
        axes.tick_params(axis="x", length=0)
    style.titled(axes, "Hidden units over time", x, y)
    return figure


def writing(hidden: np.ndarray, to_remember: np.ndarray, scored: np.ndarray) -> Figure:
    """Draw how much each step of one sequence changes the hidden units (T, H).

    The steps `to_remember` (T,) bool, and those that are `scored` (T,) bool, are told apart.
    """
    figure, ((axes,),) = style.canvas(width=WIDTH, height=3.8)
    changes = np.linalg.norm(np.diff(hidden, axis=0, prepend=0), axis=1)
    kinds = {  # those at which much should change are drawn on top
        "other steps": (~(to_remember | scored), style.GREY),
        "scored": (scored & ~to_remember, style.VERMILION),
        "to be remembered": (to_remember, style.BLUE),
    }
    for name, (belongs, colour) in kinds.items():
        steps = np.flatnonzero(belongs)
        if len(steps):
            label = f"{name} ({changes[steps].mean():.2f})"
            axes.vlines(steps + 1, 0, changes[steps], color=colour, linewidth=2, label=label)
    axes.set_ylim(bottom=0)
    share_legend(figure, axes)
    style.titled(
        axes, "What is written when (above: means)", "step", "change of the hidden units (norm)"
    )
    return figure


def predictions(rows: Sequence[tuple[str, str, str]]) -> Figure:
    """Draw sequences one below the other, each as input, target and prediction of equal length.

    Errors are marked. Of a long sequence, the last of the steps that are not all blank are shown.
    """
    eventful = [_eventful_steps(row) for row in rows]
    shown = [steps[-MAX_STEPS:] for steps in eventful]
    longest = max(len(steps) for steps in shown)
    figure, ((axes,),) = style.canvas(width=WIDTH, height=0.6 + 0.62 * len(rows))
    look: dict[str, Any] = {"ha": "center", "va": "center", "family": "monospace"}
    look["fontsize"] = min(11, 330 / max(longest, 1))
    box = {"facecolor": style.VERMILION, "edgecolor": "none", "pad": 1.5}
    marked: dict[str, Any] = {"color": "white", "bbox": box}
    for number, (row, steps) in enumerate(zip(rows, shown, strict=True)):
        for line, name in enumerate(("input", "target", "predicted")):
            y = 4 * number + (0, 1.1, 2.35)[line]  # marks leave the letters above them free
            axes.text(-1, y, name, ha="right", va="center", fontsize=9, color=style.GREY)
            for x, step in enumerate(steps):
                is_error = line == 2 and row[1][step] != row[2][step]
                axes.text(x, y, literal(row[line][step]), **look, **(marked if is_error else {}))
    axes.set(xlim=(-1, longest), ylim=(4 * len(rows) - 1, -1))
    axes.set_axis_off()
    pairs = zip(rows, shown, strict=True)
    errors = sum(row[1][step] != row[2][step] for row, steps in pairs for step in steps)
    notes = [f"{plural(errors, 'error')}, marked in red" if errors else "no errors"]
    if any(len(steps) < len(row[0]) for row, steps in zip(rows, eventful, strict=True)):
        notes.append("blanks left out")
    if any(len(steps) > MAX_STEPS for steps in eventful):
        notes.append(f"the last {MAX_STEPS} steps")
    figure.suptitle(f"Predictions: {', '.join(notes)}", fontsize=12)
    return figure


def _eventful_steps(row: tuple[str, str, str]) -> Sequence[int]:
    """Return all steps of a short sequence, and those of a long one that are not all blank."""
    steps = range(len(row[0]))
    if len(steps) <= MAX_STEPS:
        return steps
    return [step for step in steps if any(text[step] != BLANK for text in row)]

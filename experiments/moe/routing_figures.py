"""Pictures of the routing: which experts the classes go to, and how it came about."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.moe.figures import WIDE, Scene
from harness.figures import style
from harness.figures.letters import short

MAX_IMAGES = 18
"""Experts whose mean images find room in a picture."""


def expert_colours(count: int) -> list[str]:
    """Return the colours of the experts."""
    return [style.EXPERTS[k % len(style.EXPERTS)] for k in range(count)]


def class_to_expert(
    assigned: np.ndarray, labels: np.ndarray, classes: Sequence[str], num_experts: int, bits: float
) -> Figure:
    """Draw the flow of the test points from their classes to the experts they are assigned to.

    `assigned` and `labels` are (N,) int; `bits` is the mutual information of the two.
    """
    counts = np.zeros((len(classes), num_experts), int)
    np.add.at(counts, (labels, assigned), 1)
    gap = 0.02 * len(labels)
    figure, ((axes,),) = style.canvas(width=WIDE, height=5.4)
    # Lower ends of the bands: on the left by class, on the right by expert, the first on top.
    lefts = _bottoms(counts, gap)
    rights = _bottoms(counts.T, gap).T
    steps = np.linspace(0, 1, 60)
    curve = steps**2 * (3 - 2 * steps)  # leaves and arrives horizontally
    colours = expert_colours(num_experts)
    for (label, expert), count in np.ndenumerate(counts):
        low = lefts[label, expert] * (1 - curve) + rights[label, expert] * curve
        look = {"color": colours[expert], "alpha": 0.55, "linewidth": 0}
        axes.fill_between(steps, low, low + count, **look)
    size = 11 if max(counts.shape) <= 12 else 8
    for label, name in enumerate(classes):
        middle = lefts[label, -1] + counts[label].sum() / 2
        text = f"{short(name)} ({counts[label].sum():,})"
        axes.text(-0.02, middle, text, ha="right", va="center", fontsize=size)
    for expert, of_expert in enumerate(counts.T):
        middle = rights[-1, expert] + of_expert.sum() / 2
        text = f"expert {expert + 1} ({of_expert.sum():,})"
        axes.text(1.02, middle, text, ha="left", va="center", fontsize=size)
    axes.set(xlim=(-0.35, 1.35))
    axes.set_axis_off()
    axes.set_title(
        "From the actual class of the test points (left) to the assigned expert (right)\n"
        f"mutual information {bits:.2f} of {_entropy(counts.sum(1)):.2f} bits of the class"
    )
    return figure


def _bottoms(counts: np.ndarray, gap: float) -> np.ndarray:
    """Return the lower ends of bands that are stacked downwards, row by row, (rows, columns)."""
    ends = counts.cumsum().reshape(counts.shape) + gap * np.arange(len(counts))[:, None]
    total = counts.sum() + gap * (len(counts) - 1)
    return np.asarray(total / 2 - ends)  # both sides are centred on zero


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def mean_images(
    images: np.ndarray, assigned: np.ndarray, labels: np.ndarray, num_experts: int
) -> Figure:
    """Draw the mean of the test images (N, rows, columns) that each expert is assigned.

    `assigned` and `labels` are (N,) int.
    """
    usage = np.bincount(assigned, minlength=num_experts)
    most_used = np.sort(np.argsort(-usage, kind="stable")[:MAX_IMAGES])
    rows = 1 if len(most_used) <= 4 else 2 if len(most_used) <= 10 else 3
    columns = math.ceil(len(most_used) / rows)
    figure, axes = style.canvas(rows, columns, width=WIDE, height=1.2 + 2 * rows)
    for place in axes.flat:
        place.set_axis_off()
    for k, place in zip(most_used, axes.flat, strict=False):
        own = assigned == k
        title = f"expert {k + 1}: {own.mean():.0%}"
        if own.any():
            place.imshow(images[own].mean(0), "Greys", vmin=0, vmax=images.max())
            counts = np.bincount(labels[own])
            most = np.argsort(-counts, kind="stable")[:3]
            title += f"\nmostly {', '.join(str(label) for label in most if counts[label])}"
        else:
            title += "\nno image"
        place.set_title(title, fontsize=10 if columns <= 5 else 7)
    which = "each expert" if usage.size <= MAX_IMAGES else f"the {MAX_IMAGES} most used experts"
    title = f"Mean test image of {which}, its share, and its most frequent digits"
    figure.suptitle(title, fontsize=12)
    return figure


def usage_over_epochs(share: np.ndarray, best_epoch: int) -> Figure:
    """Draw the share of the validation points that each expert gets, (epochs, K)."""
    epochs, num_experts = np.arange(1, len(share) + 1), share.shape[1]
    figure, ((axes,),) = style.canvas(width=WIDE, height=4.2)
    edges = np.concatenate([np.zeros((len(share), 1)), share.cumsum(1)], axis=1)
    for k, colour in enumerate(expert_colours(num_experts)):
        look = {"color": colour, "alpha": 0.75, "edgecolor": "white", "linewidth": 0.8}
        step = "mid" if len(share) > 1 else None
        low, high = edges[:, k], edges[:, k + 1]
        axes.fill_between(epochs, low, high, step=step, label=f"expert {k + 1}", **look)
    axes.axvline(
        best_epoch, color="black", linestyle=":", linewidth=1.6, label="epoch kept", clip_on=False
    )
    axes.set(xlim=(0.5, len(share) + 0.5) if len(share) == 1 else (1, len(share)), ylim=(0, 1))
    title = "How the use of the experts developed"
    style.titled(axes, title, "epoch", "share of the validation points")
    style.count(axes)
    handles, labels = axes.get_legend_handles_labels()
    shown = [num_experts, *reversed(range(min(num_experts, 16)))]  # from top to bottom
    place: dict[str, Any] = {"loc": "outside right upper", "frameon": False, "fontsize": 10}
    figure.legend([handles[i] for i in shown], [labels[i] for i in shown], **place)
    return figure


def gate_entropy(scene: Scene, entropy: np.ndarray, num_experts: int) -> Figure:
    """Draw the entropy of the gate's probabilities at plane.points, (rows * columns,) nats."""
    figure, ((axes,),) = style.canvas(height=5.4)
    limit = math.log(max(num_experts, 2))
    surface = scene.plane.draw(axes, entropy, "cividis", vmax=limit)
    scene.draw_boundary(axes, colour="white")
    title = "Where the gate is undecided (dashed: true boundary)"
    scene.plane.finish(axes, title)
    label = f"entropy of the gate in nats (of all {num_experts} alike: {limit:.2f})"
    figure.colorbar(surface, ax=axes, label=label)
    return figure

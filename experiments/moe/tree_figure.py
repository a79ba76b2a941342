"""The tree of gates of a hierarchical mixture, over the plane and by itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.moe.figures import TRUE, WIDE, Plane, Scene
from experiments.moe.routing_figures import expert_colours
from harness.figures import style
from models.hierarchical import branch_sums

MAX_NAMES = 16
"""Leaves that find room for their share below them, and their gates for a number."""
MIN_REGION = 0.02
"""Share of the plane that finds room for the number of its expert."""
BOX = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
CIRCLE = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "black"}


def line_width(node: int) -> float:
    """Return the width of a gate's lines in points: the deeper, the thinner."""
    level = (node + 1).bit_length() - 1
    return max(4.5 / 1.7**level, 0.6)


def gating_tree(scene: Scene, gate: np.ndarray, share: Sequence[float]) -> Figure:
    """Draw where each inner gate divides the plane, and the tree with each leaf's share of points.

    `gate` are the probabilities of the leaves at plane.points, (rows * columns, K); `share` is
    (K,). A gate's line is where both branches are equally probable, drawn where one of the leaves
    below it is the most probable one.
    """
    num_experts = len(share)
    figure, ((over, tree),) = style.canvas(1, 2, width=WIDE, height=5.0)
    _draw_over_plane(over, scene, gate)
    _draw_tree(tree, share)
    figure.legend(handles=[TRUE], loc="outside lower center", frameon=False)
    depth = num_experts.bit_length() - 1
    title = f"The gates of {num_experts} experts: {' x '.join('2' * depth)}"
    figure.suptitle(title, fontsize=12)
    return figure


def _draw_over_plane(axes: Axes, scene: Scene, gate: np.ndarray) -> None:
    plane, (num_points, num_experts) = scene.plane, gate.shape
    assigned = gate.argmax(1)
    look: dict[str, Any] = {"vmin": -0.5, "vmax": num_experts - 0.5, "interpolation": "nearest"}
    plane.draw(axes, assigned, ListedColormap(expert_colours(num_experts)), alpha=0.35, **look)
    scene.draw_boundary(axes)
    branches = branch_sums(torch.from_numpy(gate.T)).numpy()  # (K - 1, 2, points)
    chosen = np.zeros((num_experts, num_points))
    chosen[assigned, np.arange(num_points)] = 1
    is_below = branch_sums(torch.from_numpy(chosen)).sum(1).numpy() > 0  # (K - 1, points)
    taken: list[np.ndarray] = []
    for node, ((left, right), here) in enumerate(zip(branches, is_below, strict=True)):
        difference = np.where(here, right - left, np.nan)
        if not np.nanmin(difference, initial=0) < 0 < np.nanmax(difference, initial=0):
            continue  # one branch has all the points
        image = plane.image(difference)
        lines = axes.contour(
            plane.x, plane.y, image, [0], colors="black", linewidths=line_width(node)
        )
        line = max(lines.allsegs[0], key=len, default=np.empty((0, 2)))
        for spot in _free(line, taken, plane) if num_experts <= MAX_NAMES else ():
            _number(axes, spot[0], spot[1], node)
    for expert in range(num_experts) if num_experts <= MAX_NAMES else ():
        region = plane.points[assigned == expert]
        if len(region) < MIN_REGION * num_points:
            continue
        for x, y in _free(region, taken, plane):
            axes.text(x, y, str(expert + 1), ha="center", va="center", bbox=BOX)
    axes.axis(plane.extent)
    axes.set_aspect("equal")
    style.titled(axes, "Assigned experts, and the line of each gate", "$x_1$", "$x_2$")


def _free(candidates: np.ndarray, taken: list[np.ndarray], plane: Plane) -> Iterator[np.ndarray]:
    """Yield where a number finds room, if it does: nearest to the median of points (N, 2)."""
    room = 0.045 * (plane.x[-1] - plane.x[0])
    centre = np.median(candidates, axis=0) if len(candidates) else 0
    for spot in candidates[np.linalg.norm(candidates - centre, axis=1).argsort()]:
        inside = min(spot - plane.points[0]) > room and min(plane.points[-1] - spot) > room
        if inside and all(np.linalg.norm(spot - other) > 1.5 * room for other in taken):
            taken.append(spot)
            yield spot
            return


def _draw_tree(axes: Axes, share: Sequence[float]) -> None:
    num_experts, colours = len(share), expert_colours(len(share))
    depth = num_experts.bit_length() - 1
    size = 11 if num_experts <= 4 else 9 if num_experts <= 8 else 6.5

    def place(node: int) -> tuple[float, float]:
        """Return where a node stands; the leaves come after the inner gates."""
        level = (node + 1).bit_length() - 1
        width = num_experts / 2**level
        return (node + 1 - 2**level + 0.5) * width, float(depth - level)

    for node in range(num_experts - 1):
        for child in (2 * node + 1, 2 * node + 2):
            (x, y), (x_below, y_below) = place(node), place(child)
            axes.plot([x, x_below], [y, y_below], color="black", linewidth=line_width(node))
        if num_experts <= MAX_NAMES:
            _number(axes, *place(node), node)
    for leaf, (colour, part) in enumerate(zip(colours, share, strict=True)):
        x, _ = place(num_experts - 1 + leaf)
        axes.bar(x, 0.3, width=0.8, bottom=-0.3, color=colour, alpha=0.35)
        axes.bar(x, 0.3, width=0.8, bottom=-0.3, color="none", edgecolor="black", linewidth=0.8)
        if num_experts <= MAX_NAMES:
            axes.text(x, -0.15, str(leaf + 1), ha="center", va="center", fontsize=size)
            axes.text(x, -0.36, f"{part:.0%}", ha="center", va="top", fontsize=size)
    axes.set(xlim=(0, num_experts), ylim=(-0.75, depth + 0.3))
    axes.set_axis_off()
    axes.set_title(
        "The tree: gates (circles), experts (boxes)\nand their shares of the test points"
    )


def _number(axes: Axes, x: float, y: float, node: int) -> None:
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9, "bbox": CIRCLE}
    axes.text(x, y, str(node + 1), **look)

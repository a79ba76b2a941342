"""Pictures of a mixture of experts in the plane."""

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, NullFormatter
from PIL.Image import Image

from harness.figures import style
from harness.figures.training import draw_curves
from harness.training.history import History

PROBABILITY = LinearSegmentedColormap.from_list(
    "class 0 to class 1", [style.BLUE, "#FFFFFF", style.ORANGE]
)
TRUE: dict[str, Any] = {"colors": "black", "linestyles": "dashed", "linewidths": 1.6}
LEARNED: dict[str, Any] = {"colors": style.VERMILION, "linestyles": "solid", "linewidths": 2.2}
# Accuracy on the ring of the best boundary of n straight segments, and of logistic regression:
# the ceilings for experts under hard (top-1) routing, computed from the distribution itself.
RING_CEILINGS = {1: 0.698, 2: 0.952, 3: 0.967, 4: 0.983, 6: 0.991, 8: 0.994}


class Plane(NamedTuple):
    """A regular grid over the part of the plane that a picture shows."""

    x: np.ndarray
    """(columns,) coordinates."""
    y: np.ndarray
    """(rows,) coordinates."""

    @classmethod
    def around(cls, points: np.ndarray, resolution: int = 201) -> "Plane":
        """Return the square that holds all but the farthest 0.2 % of points, (N, 2)."""
        low, high = np.quantile(points, [0.001, 0.999], axis=0)
        centre, reach = (low + high) / 2, (high - low).max() / 2 * 1.04 or 1.0
        x, y = (np.linspace(c - reach, c + reach, resolution, dtype=np.float32) for c in centre)
        return cls(x, y)

    def coarser(self) -> "Plane":
        """Return every other line of the grid."""
        return Plane(self.x[::2], self.y[::2])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, as matplotlib wants them."""
        return self.x[0], self.x[-1], self.y[0], self.y[-1]

    def finer(self) -> "Plane":
        """Return the same part of the plane with four times as many lines each way."""
        x, y = (np.linspace(v[0], v[-1], 4 * len(v) - 3, dtype=np.float32) for v in self)
        return Plane(x, y)

    @property
    def points(self) -> np.ndarray:
        """Every grid point, (rows * columns, 2) float32."""
        return np.stack(np.meshgrid(self.x, self.y), axis=-1).reshape(-1, 2)

    def image(self, values: np.ndarray) -> np.ndarray:
        """Shape values of `points`, (rows * columns, ...), to (rows, columns, ...)."""
        return values.reshape(len(self.y), len(self.x), *values.shape[1:])


class Scene(NamedTuple):
    """What stands behind what was learned: the part of the plane, its true regions, some data."""

    plane: Plane
    truth: np.ndarray
    """Class of each of `plane.finer().points`: a boundary needs a fine grid to look smooth."""
    points: np.ndarray
    """(N, 2)."""
    labels: np.ndarray
    """(N,), 0 or 1."""

    def draw_boundary(self, axes: Axes, colour: str = "black") -> QuadContourSet | None:
        """Draw the true boundary."""
        return _boundary(axes, self.plane.finer(), self.truth, TRUE | {"colors": colour})

    def draw_points(self, axes: Axes, count: int, alpha: float) -> None:
        """Draw the first `count` points by class: more of them hide what lies beneath."""
        points, labels = self.points[:count], self.labels[:count]
        for label, (colour, marker) in enumerate(zip(style.CLASSES, "os", strict=True)):
            x, y = points[labels == label].T
            axes.scatter(
                x, y, s=16, marker=marker, c=colour, edgecolors="black", linewidths=0.3, alpha=alpha
            )


def data(scene: Scene) -> Figure:
    """Draw the data by class, with the true boundary."""
    figure, ((axes,),) = style.canvas(height=5.4)
    scene.draw_points(axes, 1500, alpha=0.8)
    scene.draw_boundary(axes)
    share = scene.labels.mean()
    _finish(axes, scene.plane, f"The data: {share:.0%} of the points are of class 1")
    style.legend(axes, [*_class_handles(), _handle("true boundary", TRUE)], below=True)
    return figure


def decision_surface(scene: Scene, probability: np.ndarray, title: str) -> Figure:
    """Draw P(class 1) of plane.points with the learned boundary over the true one."""
    plane = scene.plane
    figure, ((axes,),) = style.canvas(height=5.4)
    surface = _surface(axes, plane, probability)
    scene.draw_points(axes, 400, alpha=0.6)
    scene.draw_boundary(axes)
    _boundary(axes, plane, probability, LEARNED)
    _finish(axes, plane, title)
    style.legend(axes, [_handle("true boundary", TRUE), _handle("learned", LEARNED)], below=True)
    figure.colorbar(surface, ax=axes, label="P(class 1)", shrink=0.8)
    return figure


def learning(scene: Scene, surfaces: dict[int, np.ndarray]) -> list[Image]:
    """Draw one frame for each epoch's P(class 1) of the points of `scene.plane.coarser()`.

    Everything is laid out and drawn once; a frame redraws what changes, in the same place.
    """
    plane = scene.plane.coarser()
    figure, ((axes,),) = style.canvas(width=4.6, height=4.9)
    surface = _surface(axes, plane, np.zeros(len(plane.points)))
    _finish(axes, plane, f"after epoch {max(surfaces)}")
    style.legend(axes, [_handle("true boundary", TRUE), _handle("learned", LEARNED)], below=True)
    surface.set_visible(False)
    axes.title.set_alpha(0)  # invisible, but with room kept for it
    canvas = style.Canvas(figure)
    still = canvas.copy_from_bbox(figure.bbox)
    surface.set_visible(True)
    axes.title.set_alpha(1)
    truth = scene.draw_boundary(axes)
    frames = []
    for epoch, probability in surfaces.items():
        surface.set_data(plane.image(probability))
        axes.title.set_text(f"after epoch {epoch}")
        boundary = _boundary(axes, plane, probability, LEARNED)
        canvas.restore_region(still)
        for artist in (surface, truth, boundary, axes.title, *axes.spines.values()):
            if artist is not None:
                axes.draw_artist(artist)
        frames.append(style.to_image(canvas))
        if boundary is not None:
            boundary.remove()
    return frames


def experts(
    scene: Scene, gate: np.ndarray, expert_logits: np.ndarray, hard_accuracy: float
) -> Figure:
    """Draw each expert's own line, and the region that is assigned to it.

    `gate` and `expert_logits` are those of plane.points, (rows * columns, K). Lines are drawn
    whole, and thick where their expert is the assigned one.
    """
    plane, num_experts = scene.plane, gate.shape[1]
    assigned = gate.argmax(1)
    colours = [style.EXPERTS[k % len(style.EXPERTS)] for k in range(num_experts)]
    figure, ((axes,),) = style.canvas(height=5.4)
    axes.imshow(
        plane.image(assigned),
        ListedColormap(colours),
        extent=plane.extent,
        origin="lower",
        vmin=-0.5,
        vmax=num_experts - 0.5,
        interpolation="nearest",
        alpha=0.25,
    )
    scene.draw_points(axes, 400, alpha=0.6)
    scene.draw_boundary(axes)
    handles = [_handle("true boundary", TRUE)]
    for k, colour in enumerate(colours):
        whole = expert_logits[:, k]
        for logits, width in ((whole, 0.9), (np.where(assigned == k, whole, np.nan), 3.2)):
            if np.nanmin(logits, initial=0) < 0 < np.nanmax(logits, initial=0):
                image = plane.image(logits)
                axes.contour(plane.x, plane.y, image, [0], colors=colour, linewidths=width)
        handles.append(Line2D([], [], color=colour, linewidth=3, label=f"expert {k + 1}"))
    title = "Each expert's line, and the region assigned to it"
    alone = f"(hard, top-1 routing: test accuracy {hard_accuracy:.3f})"
    _finish(axes, plane, f"{title}\n{alone}")
    style.legend(axes, handles, below=True)
    return figure


def gate(scene: Scene, gate: np.ndarray) -> Figure:
    """Draw the gate's probability of each expert at plane.points, (rows * columns, K)."""
    plane, num_experts = scene.plane, gate.shape[1]
    columns = 4 if num_experts > 4 else min(num_experts, 2)
    rows = math.ceil(num_experts / columns)
    figure, axes = style.canvas(rows, columns, height=2.4 + 6.0 / columns * rows)
    for k, place in enumerate(axes.flat):
        if k >= num_experts:
            place.set_axis_off()
            continue
        surface = place.imshow(
            plane.image(gate[:, k]),
            "cividis",
            extent=plane.extent,
            origin="lower",
            vmin=0,
            vmax=1,
        )
        scene.draw_boundary(place, colour="white")
        style.titled(place, f"expert {k + 1}", "$x_1$", "$x_2$")
        place.label_outer()
    figure.suptitle("Gate probability of each expert (dashed: true boundary)", fontsize=12)
    figure.colorbar(surface, ax=axes, label="gate probability", location="bottom", aspect=40)
    return figure


def usage_by_class(assigned_expert: np.ndarray, labels: np.ndarray, num_experts: int) -> np.ndarray:
    """Return the share of each class's points that is assigned to each expert, (2, K) in [0, 1].

    Args:
        assigned_expert: (N,) int, the expert with the highest gate probability for each point.
        labels: (N,), 0 or 1.
        num_experts: K.

    """
    by_class = (assigned_expert[labels == label] for label in (0, 1))
    counts = [np.bincount(experts, minlength=num_experts) for experts in by_class]
    return np.stack([count / max(count.sum(), 1) for count in counts])


def expert_usage_by_class(shares: np.ndarray) -> Figure:
    """Draw the share of each class's points that is assigned to each expert, (2, K) in [0, 1]."""
    figure, ((axes,),) = style.canvas(height=4.2)
    positions = np.arange(shares.shape[1])
    for label, (colour, hatch) in enumerate(zip(style.CLASSES, ("", "//"), strict=True)):
        bars = axes.bar(
            positions + 0.4 * (label - 0.5),
            shares[label],
            width=0.38,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=f"class {label}",
        )
        axes.bar_label(bars, labels=[f"{share:.0%}" for share in shares[label]], padding=2)
    axes.set_xticks(positions, [f"expert {k + 1}" for k in positions])
    axes.set_ylim(0, 1.12)
    title = "Assigned expert (highest gate probability), by class"
    style.titled(axes, title, "", "share of the class's test points")
    style.legend(axes)
    return figure


def training_curves(history: History, restart: int) -> Figure:
    """Draw the training of one restart, the losses of the others behind it."""
    losses = history.stacked("val/loss")  # (epochs, R)
    return curves(
        losses={
            "training": history.stacked("train/loss")[:, restart],
            "validation": losses[:, restart],
        },
        other_restarts=np.delete(losses, restart, axis=1),
        accuracies={
            "training": history.stacked("train/accuracy")[:, restart],
            "validation": history.stacked("val/accuracy")[:, restart],
        },
        learning_rate=history.column("learning_rate"),
        gate_entropy=history.stacked("val/gate_entropy")[:, restart],
        load=history.stacked("val/expert_share")[:, restart],
        best_epoch=history.best_epoch,
    )


def curves(
    losses: dict[str, np.ndarray],
    other_restarts: np.ndarray,
    accuracies: dict[str, np.ndarray],
    learning_rate: np.ndarray,
    gate_entropy: np.ndarray,
    load: np.ndarray,
    best_epoch: int,
) -> Figure:
    """Draw how training went: (epochs,) each; other_restarts (epochs, R); load (epochs, K)."""
    figure, axes = style.canvas(3, 2, width=7.6, height=8.4)
    axes[0, 0].plot(np.arange(1, len(load) + 1), other_restarts, color="#CCCCCC", linewidth=0.7)
    if other_restarts.shape[1]:
        axes[0, 0].plot([], [], color="#CCCCCC", linewidth=0.7, label="other restarts")
    draw_curves(
        axes[0, 0], "Loss", "nats per point", losses, best_epoch=best_epoch, logarithmic=True
    )
    draw_curves(axes[0, 1], "Accuracy", "fraction", accuracies, best_epoch=best_epoch)
    entropy_bits = {"validation": gate_entropy}
    draw_curves(axes[1, 0], "Entropy of the gate", "nats per point", entropy_bits)
    axes[1, 0].axhline(math.log(load.shape[1]), color=style.GREY, linewidth=1)
    axes[1, 0].annotate("undecided", (1, math.log(load.shape[1])), va="bottom", color=style.GREY)
    draw_curves(axes[1, 1], "Learning rate", "learning rate", {"": learning_rate})
    by_expert = {f"expert {k + 1}": load[:, k] for k in range(load.shape[1])}
    draw_curves(
        axes[2, 0], "Load of each expert", "share of points", by_expert, colours=style.EXPERTS
    )
    axes[2, 0].set_ylim(0, 1)
    if load.shape[1] > 4:  # the colours are those of the picture of the experts
        axes[2, 0].get_legend().remove()
    variation = load.std(1) / load.mean(1)
    draw_curves(
        axes[2, 1], "Imbalance", "coefficient of variation of load", {"all experts": variation}
    )
    return figure


def accuracy_by_num_experts(by_gate: dict[str, dict[int, float]], *, ring: bool) -> Figure:
    """Draw validation accuracy against the number of experts, a line for each kind of gate.

    For the ring, the best that a boundary of so many straight segments could reach stands beside
    it: the ceiling for a linear gate with hard (top-1) routing.
    """
    figure, ((axes,),) = style.canvas(height=4.8)
    for index, (name, accuracy) in enumerate(by_gate.items()):
        look: dict[str, Any] = {"color": style.SERIES[index // 2], "marker": "os"[index // 2]}
        axes.plot(*_xy(accuracy), ls=("-", ":")[index % 2], label=name, **look)
    if ring:
        label = "ceiling of K straight segments"
        axes.plot(
            *_xy(RING_CEILINGS), "_", color="black", markersize=24, markeredgewidth=2, label=label
        )
    axes.set_yscale("logit")  # equal steps for equal factors of the error
    axes.set_yticks([0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    shown = [*by_gate.values(), RING_CEILINGS] if ring else list(by_gate.values())
    values = [value for accuracy in shown for value in accuracy.values()]
    axes.set_ylim(min(values) - 0.05, 1 - (1 - min(max(values), 0.9995)) * 0.8)
    style.titled(axes, "How many experts does it take?", "experts, K", "validation accuracy")
    axes.set_xticks(sorted({k for accuracy in shown for k in accuracy}))
    style.legend(axes)
    return figure


def _xy(series: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(series), list(series.values())


def _class_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker="os"[label], ls="", label=f"class {label}")
        for label, colour in enumerate(style.CLASSES)
    ]


def _surface(axes: Axes, plane: Plane, probability: np.ndarray) -> AxesImage:
    return axes.imshow(
        plane.image(probability), PROBABILITY, extent=plane.extent, origin="lower", vmin=0, vmax=1
    )


def _boundary(
    axes: Axes, plane: Plane, class_one: np.ndarray, look: dict[str, Any]
) -> QuadContourSet | None:
    """Draw where P(class 1), one value for each of plane.points, passes a half, if it does."""
    image = plane.image(class_one)
    if not image.min() < 0.5 < image.max():
        return None
    return axes.contour(plane.x, plane.y, image, [0.5], **look)


def _handle(label: str, look: dict[str, Any]) -> Line2D:
    return Line2D(
        [], [], color=look["colors"], ls=look["linestyles"], lw=look["linewidths"], label=label
    )


def _finish(axes: Axes, plane: Plane, title: str) -> None:
    axes.set_xlim(plane.x[0], plane.x[-1])
    axes.set_ylim(plane.y[0], plane.y[-1])
    axes.set_aspect("equal")
    style.titled(axes, title, "$x_1$", "$x_2$")

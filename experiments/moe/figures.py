"""Pictures of a mixture of K experts in the plane."""

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
from harness.figures.training import draw_curves, share_legend
from harness.training.history import History

PROBABILITY = LinearSegmentedColormap.from_list(
    "class 0 to class 1", [style.BLUE, "#FFFFFF", style.ORANGE]
)
TRUE = Line2D([], [], color="black", linestyle="--", linewidth=1.6, label="true boundary")
LEARNED = Line2D([], [], color=style.VERMILION, linewidth=2.2, label="learned")
# Accuracy on the ring of the best boundary of n straight segments, and of logistic regression:
# the ceilings for experts under hard (top-1) routing, computed from the distribution itself.
RING_CEILINGS = {1: 0.698, 2: 0.952, 3: 0.967, 4: 0.983, 6: 0.991, 8: 0.994}

MAX_ACCURACY = 0.9995  # on a logit scale, where that of a perfect classifier is infinite

WIDE = 8.1  # inches of a figure of several columns


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

    def finer(self) -> "Plane":
        """Return the same part of the plane with four times as many lines each way."""
        x, y = (np.linspace(v[0], v[-1], 4 * len(v) - 3, dtype=np.float32) for v in self)
        return Plane(x, y)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, as matplotlib wants them."""
        return self.x[0], self.x[-1], self.y[0], self.y[-1]

    @property
    def points(self) -> np.ndarray:
        """Every grid point, (rows * columns, 2) float32."""
        return np.stack(np.meshgrid(self.x, self.y), axis=-1).reshape(-1, 2)

    def image(self, values: np.ndarray) -> np.ndarray:
        """Shape values of `points`, (rows * columns, ...), to (rows, columns, ...)."""
        return values.reshape(len(self.y), len(self.x), *values.shape[1:])

    def draw(self, axes: Axes, values: np.ndarray, colours: Any, **options: Any) -> AxesImage:
        """Draw values of `points`, (rows * columns,), as colours."""
        limits = {"vmin": 0, "vmax": 1, "extent": self.extent, "origin": "lower"}
        return axes.imshow(self.image(values), colours, **{**limits, **options})

    def draw_boundary(
        self, axes: Axes, class_one: np.ndarray, look: Line2D, colour: str = ""
    ) -> QuadContourSet | None:
        """Draw where P(class 1) of `points` passes a half, if it does, like a line."""
        image = self.image(class_one)
        if not image.min() < 0.5 < image.max():
            return None
        options: dict[str, Any] = {"colors": colour or look.get_color()}
        options |= {"linewidths": look.get_linewidth(), "linestyles": look.get_linestyle()}
        return axes.contour(self.x, self.y, image, [0.5], **options)

    def finish(self, axes: Axes, title: str, *handles: Line2D) -> None:
        """Set limits, title and legend of axes, which show this part of the plane."""
        axes.axis(self.extent)
        axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        style.legend(axes, list(handles), below=True)


class Scene(NamedTuple):
    """What stands behind what was learned: the part of the plane, its true regions, some data."""

    plane: Plane
    truth: np.ndarray
    """Class of each of `plane.finer().points`: a boundary needs a fine grid to look smooth."""
    points: np.ndarray
    """(N, 2)."""
    labels: np.ndarray
    """(N,), 0 or 1."""

    def draw_boundary(self, axes: Axes, colour: str = "") -> QuadContourSet | None:
        """Draw the true boundary."""
        return self.plane.finer().draw_boundary(axes, self.truth, TRUE, colour)

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
    classes = [
        Line2D([], [], color=colour, marker="os"[label], linestyle="", label=f"class {label}")
        for label, colour in enumerate(style.CLASSES)
    ]
    title = f"The data: {scene.labels.mean():.0%} of the points are of class 1"
    scene.plane.finish(axes, title, *classes, TRUE)
    return figure


def decision_surface(scene: Scene, probability: np.ndarray, title: str) -> Figure:
    """Draw P(class 1) of plane.points with the learned boundary over the true one."""
    figure, ((axes,),) = style.canvas(height=5.4)
    surface = scene.plane.draw(axes, probability, PROBABILITY)
    scene.draw_points(axes, 400, alpha=0.6)
    scene.draw_boundary(axes)
    scene.plane.draw_boundary(axes, probability, LEARNED)
    scene.plane.finish(axes, title, TRUE, LEARNED)
    figure.colorbar(surface, ax=axes, label="P(class 1)", shrink=0.8)
    return figure


def learning(scene: Scene, surfaces: dict[int, np.ndarray]) -> list[Image]:
    """Draw one frame for each epoch's P(class 1) of the points of `scene.plane.coarser()`.

    Everything is laid out and drawn once; a frame redraws what changes, in the same place.
    """
    plane = scene.plane.coarser()
    figure, ((axes,),) = style.canvas(width=4.6, height=4.9)
    surface = plane.draw(axes, np.zeros(len(plane.points)), PROBABILITY)
    plane.finish(axes, f"after epoch {max(surfaces)}", TRUE, LEARNED)
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
        boundary = plane.draw_boundary(axes, probability, LEARNED)
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
    options = {"vmin": -0.5, "vmax": num_experts - 0.5, "interpolation": "nearest", "alpha": 0.25}
    plane.draw(axes, assigned, ListedColormap(colours), **options)
    scene.draw_points(axes, 400, alpha=0.6)
    scene.draw_boundary(axes)
    handles = [TRUE]
    for k, colour in enumerate(colours):
        handles.append(Line2D([], [], color=colour, linewidth=3, label=f"expert {k + 1}"))
        whole = expert_logits[:, k]
        for logits, width in ((whole, 0.9), (np.where(assigned == k, whole, np.nan), 3.2)):
            if np.nanmin(logits, initial=0) < 0 < np.nanmax(logits, initial=0):
                image = plane.image(logits)
                axes.contour(plane.x, plane.y, image, [0], colors=colour, linewidths=width)
    title = "Each expert's line, and the region assigned to it"
    alone = f"(hard, top-1 routing: test accuracy {hard_accuracy:.3f})"
    plane.finish(axes, f"{title}\n{alone}", *handles)
    return figure


def gate(scene: Scene, gate: np.ndarray) -> Figure:
    """Draw the gate's probability of each expert at plane.points, (rows * columns, K)."""
    num_experts = gate.shape[1]
    columns = min(num_experts, 4) if num_experts <= 8 else math.ceil(math.sqrt(2.5 * num_experts))
    rows = math.ceil(num_experts / columns)
    side = min(WIDE / columns, 3.6)
    figure, axes = style.canvas(rows, columns, width=WIDE, height=1.9 + side * rows)
    for k, (place, probability) in enumerate(zip(axes.flat, gate.T, strict=False), start=1):
        surface = scene.plane.draw(place, probability, "cividis")
        scene.draw_boundary(place, colour="white")
        style.titled(place, f"expert {k}", "$x_1$", "$x_2$")
        place.locator_params(nbins=4)  # of more, those at the edges of two panels would touch
        place.label_outer()
    for place in axes.flat[num_experts:]:
        place.set_axis_off()
    figure.suptitle("Gate probability of each expert (dashed: true boundary)", fontsize=12)
    figure.colorbar(surface, ax=axes, label="gate probability", location="bottom", aspect=40)
    return figure


def expert_usage_by_class(gate: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw the share of each class's points that is assigned to each expert.

    `gate` is (N, K); a point is assigned to its most probable expert. `labels` are (N,), 0 or 1.
    """
    assigned, num_experts = gate.argmax(1), gate.shape[1]
    figure, ((axes,),) = style.canvas(width=WIDE, height=4.2)
    positions, size = np.arange(num_experts), 11 if num_experts <= 4 else 8
    for label, (colour, hatch) in enumerate(zip(style.CLASSES, ("", "//"), strict=True)):
        counts = np.bincount(assigned[labels == label], minlength=num_experts)
        shares = counts / max(counts.sum(), 1)
        look = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": f"class {label}"}
        bars = axes.bar(positions + 0.4 * (label - 0.5), shares, width=0.38, **look)
        axes.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=2, fontsize=size)
    axes.set_xticks(positions, [f"expert {k + 1}" for k in positions], fontsize=size)
    title = "Assigned expert (highest gate probability), by class"
    axes.set(title=title, ylabel="share of the class's test points", ylim=(0, 1.12))
    style.legend(axes)
    return figure


def training_curves(history: History, restart: int) -> Figure:
    """Draw the training of one restart, the validation losses of the others behind it."""

    def curves(name: str) -> dict[str, np.ndarray]:
        splits = {"training": "train", "validation": "val"}
        return {s: history.stacked(f"{prefix}/{name}")[:, restart] for s, prefix in splits.items()}

    others = np.delete(history.stacked("val/loss"), restart, axis=1)  # (epochs, R - 1)
    load = history.stacked("val/expert_share")[:, restart]  # (epochs, K)
    num_experts, best_epoch = load.shape[1], history.best_epoch
    figure, axes = style.canvas(2, 3, width=WIDE, height=5.4)
    (loss, accuracy, rate), (entropy, loads, imbalance) = axes
    loss.plot(np.arange(1, len(load) + 1), others, color="#CCCCCC", linewidth=0.7)
    if others.shape[1]:
        loss.plot([], [], color="#CCCCCC", linewidth=0.7, label="other restarts")
    unit = "nats per point"
    draw_curves(loss, "Loss", unit, curves("loss"), best_epoch=best_epoch, logarithmic=True)
    draw_curves(accuracy, "Accuracy", "fraction", curves("accuracy"), best_epoch=best_epoch)
    gate_entropy = history.stacked("val/gate_entropy")[:, restart]
    draw_curves(entropy, "Entropy of the gate", unit, {"validation": gate_entropy})
    uniform = {"color": style.GREY, "linewidth": 1, "label": "uniform gate"}
    style.legend(entropy, [entropy.axhline(math.log(num_experts), **uniform)])
    draw_curves(rate, "Learning rate", "learning rate", {"": history.column("learning_rate")})
    by_expert = {f"expert {k}": share for k, share in enumerate(load.T, start=1)}
    draw_curves(loads, "Load of each expert", "share of points", by_expert, colours=style.EXPERTS)
    loads.set_ylim(0, 1)
    if num_experts <= 4:  # the colours of more are those of the picture of the experts
        narrow = {"ncols": 2, "handlelength": 1.2, "handletextpad": 0.5, "columnspacing": 1}
        loads.legend(frameon=False, fontsize=9, **narrow)
    variation = {"all experts": load.std(1) / load.mean(1)}
    draw_curves(imbalance, "Imbalance of the load", "coefficient of variation", variation)
    share_legend(figure, loss)
    return figure


def accuracy_by_num_experts(by_gate: dict[str, dict[int, float]], *, ring: bool) -> Figure:
    """Draw validation accuracy against the number of experts, two lines for each kind of mixture.

    For the ring, the best that a boundary of so many straight segments could reach stands beside
    it: the ceiling for a linear gate with hard (top-1) routing.
    """
    figure, ((axes,),) = style.canvas(height=4.8)
    for index, (name, accuracy) in enumerate(by_gate.items()):
        look: dict[str, Any] = {"color": style.SERIES[index // 2], "marker": "os^"[index // 2]}
        drawn = {k: min(value, MAX_ACCURACY) for k, value in accuracy.items()}
        axes.plot(*zip(*drawn.items(), strict=True), ls="-:"[index % 2], label=name, **look)
    shown = list(by_gate.values())
    if ring:
        shown.append(RING_CEILINGS)
        look = {"color": "black", "markersize": 24, "markeredgewidth": 2}
        x, y = zip(*RING_CEILINGS.items(), strict=True)
        axes.plot(x, y, "_", label="ceiling of K straight segments", **look)
    axes.set_yscale("logit")  # equal steps for equal factors of the error
    axes.set_yticks([0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    values = np.clip([value for each in shown for value in each.values()], 0.06, MAX_ACCURACY)
    limits = values.min() - 0.05, 1 - (1 - values.max()) * 0.8
    axes.set(ylim=limits, xticks=sorted({k for accuracy in shown for k in accuracy}))
    style.titled(axes, "How many experts does it take?", "experts, K", "validation accuracy")
    style.legend(axes)
    return figure


def decision(
    gate: np.ndarray, experts: np.ndarray, mixed: float, point: tuple[float, float]
) -> Figure:
    """Draw who decides at a point: gate probability and P(class 1) of each expert, (K,) each.

    `mixed` is P(class 1) of the mixture.
    """
    num_experts = len(gate)
    figure, ((weight, answer),) = style.canvas(1, 2, width=4.6, height=1.6 + 0.36 * num_experts)
    rows = np.arange(num_experts)
    colours = [style.EXPERTS[k % len(style.EXPERTS)] for k in rows]
    bars = weight.barh(rows, gate, color=colours, edgecolor="black", linewidth=0.5)
    weight.bar_label(bars, [f"{value:.2f}" for value in gate], padding=3, fontsize=10)
    look: dict[str, Any] = {"s": 70, "edgecolors": "black", "linewidths": 0.5, "clip_on": False}
    answer.axvline(0.5, color=style.GREY, linewidth=1, linestyle=":")
    answer.scatter(experts, rows, c=colours, zorder=3, **look)
    label = f"P(class 1) of the mixture, {mixed:.2f}"
    answer.axvline(mixed, color="black", linewidth=2, label=label)
    for axes in (weight, answer):
        axes.set(xlim=(0, 1.18 if axes is weight else 1), xticks=[0, 0.5, 1])
        axes.set(yticks=rows, ylim=(num_experts - 0.5, -0.5))
    weight.set_yticklabels([f"expert {k + 1}" for k in rows])
    answer.set_yticklabels([])
    style.titled(weight, "Who counts here", "gate probability", "")
    style.titled(answer, "What each says", "P(class 1)", "")
    figure.legend(loc="outside lower center", frameon=False, fontsize=10)
    figure.suptitle(f"At the point ({point[0]:g}, {point[1]:g})", fontsize=12)
    return figure

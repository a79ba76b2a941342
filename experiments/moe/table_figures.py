"""Pictures of a mixture of experts on the rows of a table, which have D features and C classes.

Where D is more than two, they show the plane of the two leading principal components of the
training rows: the test rows projected onto it, and the mixture's answers in the plane itself.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

from experiments.moe.figures import WIDE, Plane
from experiments.moe.routing_figures import expert_colours
from harness.evaluation import Predictions
from harness.figures import style
from harness.figures.classification import MARKERS
from harness.figures.letters import short

MAX_FEATURES = 20
"""Features that a picture of the experts' weights names: those of the largest weights."""
MAX_HANDLES = 28
"""Classes and experts that find room in a legend."""
MAX_ROWS = 40
"""Rows of that picture with a name each; of more, those of an expert have one name together."""


class View(NamedTuple):
    """The part of a plane in the space of the features that pictures show."""

    plane: Plane
    centre: np.ndarray
    """(D,) a point of the plane."""
    directions: np.ndarray
    """(2, D) unit vectors that span it."""
    axis_names: tuple[str, str]

    @classmethod
    def of(cls, points: np.ndarray, features: Sequence[str]) -> "View":
        """Return the view of points (N, D), standardised."""
        if points.shape[1] <= 2:  # of a single feature, the second axis shows nothing
            names = [f"{short(name)} (standardised)" for name in features]
            directions = np.eye(2, len(names))
            first, second = (*names, "")[:2]
            plane = Plane.around(points @ directions.T)
            return cls(plane, np.zeros(len(names)), directions, (first, second))
        pca = PCA(n_components=2).fit(points)
        first, second = (
            f"{which} principal component ({share:.0%} of the variance)"
            for which, share in zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
        )
        plane = Plane.around(pca.transform(points))
        return cls(plane, pca.mean_, pca.components_, (first, second))

    @property
    def subtitle(self) -> str:
        """What the plane is, for a line under a title; nothing where it is that of the features."""
        is_pca = len(self.centre) > 2
        return "\nin the plane of two principal components through the mean" if is_pca else ""

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the coordinates in the plane, (N, 2), of points (N, D)."""
        return np.asarray((points - self.centre) @ self.directions.T)

    @property
    def points(self) -> np.ndarray:
        """Return the points of the plane's grid in the space of the features, (M, D) float32."""
        return np.asarray(self.plane.points @ self.directions + self.centre, dtype=np.float32)

    def draw(self, axes: Axes, regions: np.ndarray, colours: Sequence[str]) -> None:
        """Draw which of several regions each grid point belongs to, (M,) int."""
        options = {"vmin": -0.5, "vmax": len(colours) - 0.5, "interpolation": "nearest"}
        self.plane.draw(axes, regions, ListedColormap(colours), alpha=0.3, **options)

    def draw_rows(
        self,
        axes: Axes,
        points: np.ndarray,
        labels: np.ndarray,
        names: Sequence[str],
        colours: Sequence[str],
    ) -> list[Line2D]:
        """Draw rows by class; return what the legend says of them."""
        handles = []
        for label, (name, colour) in enumerate(zip(names, colours, strict=True)):
            x, y = self.project(points[labels == label]).T
            marker = MARKERS[label % len(MARKERS)]
            axes.scatter(
                x, y, s=22, edgecolors="black", linewidths=0.4, color=colour, marker=marker
            )
            look: dict[str, Any] = {"color": colour, "marker": marker, "markeredgecolor": "black"}
            handles.append(Line2D([], [], linestyle="", label=short(name), **look))
        return handles

    def finish(self, axes: Axes, title: str, handles: Sequence[Line2D] = ()) -> None:
        """Set limits, title, names of the axes and legend."""
        axes.axis(self.plane.extent)
        style.titled(axes, title, *self.axis_names)
        axes.set_aspect("equal")
        if handles:  # one below the other: names may be long, and many
            size = 10 if len(handles) <= 20 else 8
            place: dict[str, Any] = {
                "loc": "outside right upper",
                "frameon": False,
                "fontsize": size,
            }
            shown = list(handles[:MAX_HANDLES])
            if left := len(handles) - len(shown):
                shown.append(Line2D([], [], linestyle="", label=f"and {left} more"))
            axes.figure.legend(handles=shown, **place)


def shaded(probabilities: np.ndarray) -> np.ndarray:
    """Return the colour of the most probable class, (M, 3) RGB, paler where it is less certain.

    `probabilities` are (M, C); at 1 / C the colour is nearly white.
    """
    num_classes = probabilities.shape[1]
    colours = np.array([to_rgb(colour) for colour in style.class_colours(num_classes)])
    certainty = (num_classes * probabilities.max(1, keepdims=True) - 1) / (num_classes - 1)
    strength = 0.1 + 0.5 * certainty
    return np.asarray(1 - strength * (1 - colours[probabilities.argmax(1)]))


def decision_surface(
    view: View, probabilities: np.ndarray, points: np.ndarray, predictions: Predictions
) -> Figure:
    """Draw the probabilities of the classes in the plane, (M, C), and the test rows by class."""
    figure, ((axes,),) = style.canvas(width=WIDE, height=5.4)
    names = predictions.classes
    view.plane.draw(axes, shaded(probabilities), None)
    colours = style.class_colours(len(names))
    handles = view.draw_rows(axes, points, predictions.labels, names, colours)
    wrong = ~predictions.correct
    x, y = view.project(points[wrong]).T
    axes.scatter(x, y, s=110, c="none", edgecolors="black", linewidths=1.4)
    look: dict[str, Any] = {"mec": "black", "mfc": "none", "ms": 10, "marker": "o", "linestyle": ""}
    handles.append(Line2D([], [], label=f"{wrong.sum():,} misclassified", **look))
    title = f"Most probable class (the paler, the less certain){view.subtitle}"
    view.finish(axes, f"Test accuracy {predictions.accuracy:.3f}. {title}", handles)
    return figure


def expert_regions(
    view: View, gate: np.ndarray, points: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> Figure:
    """Draw the expert with the largest gate probability; `gate` is that of the plane, (M, K)."""
    figure, ((axes,),) = style.canvas(width=WIDE, height=5.4)
    colours = expert_colours(gate.shape[1])
    view.draw(axes, gate.argmax(1), colours)
    # The colours are those of the experts: classes differ by their markers.
    handles = view.draw_rows(axes, points, labels, names, ["white"] * len(names))
    handles += [
        Line2D([], [], color=colour, linewidth=6, alpha=0.4, label=f"expert {k}")
        for k, colour in enumerate(colours, start=1)
    ]
    title = f"The expert assigned to each point, and the test rows by class{view.subtitle}"
    view.finish(axes, title, handles)
    return figure


def gate_probabilities(view: View, gate: np.ndarray) -> Figure:
    """Draw the gate's probability of each expert in the plane, (M, K)."""
    num_experts = gate.shape[1]
    columns = min(num_experts, 4) if num_experts <= 8 else math.ceil(math.sqrt(2.5 * num_experts))
    rows = math.ceil(num_experts / columns)
    side = min(WIDE / columns, 3.6)
    figure, axes = style.canvas(rows, columns, width=WIDE, height=1.9 + side * rows)
    first, second = view.axis_names
    if len(view.centre) > 2 or num_experts > 4:  # there is room for short names only
        what = "component" if len(view.centre) > 2 else "feature"
        first, second = f"{what} 1", f"{what} 2"
    for k, (place, probability) in enumerate(zip(axes.flat, gate.T, strict=False), start=1):
        surface = view.plane.draw(place, probability, "cividis")
        style.titled(place, f"expert {k}" if num_experts <= 16 else str(k), first, second)
        place.label_outer()
    for place in axes.flat[num_experts:]:
        place.set_axis_off()
    figure.suptitle(f"Gate probability of each expert{view.subtitle}", fontsize=12)
    figure.colorbar(surface, ax=axes, label="gate probability", location="bottom", aspect=40)
    return figure


def expert_weights(weights: np.ndarray, features: Sequence[str], classes: Sequence[str]) -> Figure:
    """Draw the weight of each feature in each expert, (K, L, D): L is 1, or the C classes.

    Of many features, those with the largest absolute weights are shown.
    """
    num_experts, num_logits, num_features = weights.shape
    largest = np.abs(weights).max((0, 1))
    shown = np.sort(np.argsort(-largest, kind="stable")[:MAX_FEATURES])
    rows = weights[:, :, shown].reshape(num_experts * num_logits, len(shown))
    names = [f"expert {k}" for k in range(1, num_experts + 1)]
    ticks = np.arange(num_experts) * num_logits + (num_logits - 1) / 2
    what = f"logit of {short(classes[1])}" if num_logits == 1 else "logit of each class"
    if num_logits > 1 and len(rows) <= MAX_ROWS:
        names = [f"{expert}, {short(name)}" for expert in names for name in classes]
        ticks = np.arange(len(rows))
    elif num_logits > 1:
        what += f",\nfrom {short(classes[0])} (top) to {short(classes[-1])}"
    figure, ((axes,),) = style.canvas(width=WIDE, height=min(7.2, 2.6 + 0.3 * len(rows)))
    limit = np.abs(rows).max() or 1.0
    image = axes.imshow(rows, "PuOr", vmin=-limit, vmax=limit, aspect="auto")
    for row in range(num_logits, len(rows), num_logits):
        axes.axhline(row - 0.5, color="black", linewidth=0.8)
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "fontsize": 8}
    axes.set_xticks(range(len(shown)), [short(features[i]) for i in shown], **slanted)
    axes.set_yticks(ticks, names, fontsize=9 if len(names) <= 18 else 7)
    axes.tick_params(length=0)
    which = "" if len(shown) == num_features else f" (the {len(shown)} largest of {num_features})"
    axes.set_title(f"Weights of the standardised features{which}\nin each expert's {what}")
    figure.colorbar(image, ax=axes, label="weight")
    return figure


def expert_usage_by_class(gate: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the share of each class's rows assigned to each expert; `gate` is (N, K)."""
    assigned, num_experts = gate.argmax(1), gate.shape[1]
    shares = np.stack(
        [np.bincount(assigned[labels == c], minlength=num_experts) for c in range(len(names))]
    ).astype(float)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    figure, ((axes,),) = style.canvas(width=6.6, height=min(7.0, 2.4 + 0.45 * len(names)))
    image = axes.imshow(shares, "Blues", vmin=0, vmax=1, aspect="auto")
    size = 10 if max(shares.shape) <= 10 else 6
    if max(shares.shape) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            look = {"color": "white" if share > 0.5 else "black", "fontsize": size}
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", **look)
    experts = [f"expert {k}" if num_experts <= 6 else str(k) for k in range(1, num_experts + 1)]
    axes.set_xticks(range(num_experts), experts, fontsize=size)
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=size)
    axes.tick_params(length=0)
    title = "Assigned expert (highest gate probability), by class"
    style.titled(axes, title, "" if num_experts <= 6 else "expert", "actual class")
    figure.colorbar(image, ax=axes, label="share of the class's test rows")
    return figure

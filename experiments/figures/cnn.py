"""Pictures of photographs, of what a convolutional network says of them, and of its inside."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image

from experiments.figures import style
from experiments.figures.classification import note

WIDTH = 7.4  # inches of every figure here
CAPTION = 9  # points
HEAT = mpl.colormaps["inferno"]


class Judged(NamedTuple):
    """Photographs, what they show, and what the network said of them."""

    photos: np.ndarray
    """(N, S, S, 3) uint8, RGB."""
    labels: np.ndarray
    """(N,) int in [0, K)."""
    probabilities: np.ndarray
    """(N, K) float in [0, 1]."""
    names: Sequence[str]
    """The K classes."""

    @property
    def predictions(self) -> np.ndarray:
        """The most probable class of each photograph, (N,) int."""
        return np.asarray(self.probabilities.argmax(1))

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that class, (N,) float."""
        return np.asarray(self.probabilities.max(1))

    @property
    def wrong(self) -> np.ndarray:
        """Whether that class is not the actual one, (N,) bool."""
        return np.asarray(self.predictions != self.labels)

    @property
    def captions(self) -> list[str]:
        """What stands under each photograph: "cats, said dogs 0.98", in two lines."""
        answers = zip(self.labels, self.predictions, self.confidence, strict=True)
        return [
            f"{self.names[label]},\nsaid {self.names[said]} {_probability(confidence)}"
            for label, said, confidence in answers
        ]

    def take(self, indices: np.ndarray) -> "Judged":
        """Return the photographs at `indices`, in that order."""
        photos, labels, probabilities, names = self
        return Judged(photos[indices], labels[indices], probabilities[indices], names)


def photographs(
    photos: np.ndarray, captions: Sequence[str], title: str, framed: np.ndarray | None = None
) -> Figure:
    """Draw photographs in a grid, each over its caption.

    Args:
        photos: (N, S, S, 3) uint8, RGB; with none of them, the figure only tells its title.
        captions: N texts, of up to two short lines.
        title: Stands above them all.
        framed: (N,) bool, which ones get a frame in vermilion.

    """
    if not len(photos):
        return note(title)
    columns = min(6, max(3, len(photos)))
    rows = math.ceil(len(photos) / columns)
    figure, axes = style.canvas(
        rows, columns, width=WIDTH, height=0.5 + rows * (WIDTH / columns + 0.4)
    )
    figure.suptitle(title, fontsize=12)
    for index, place in enumerate(axes.flat):
        if index < len(photos):
            framed_here = framed is not None and bool(framed[index])
            _draw_photo(place, photos[index], captions[index], framed=framed_here)
        else:
            place.set_axis_off()
    return figure


def augmented_batch(photos: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw photographs as the network sees them in training, with what it is to say of each.

    Args:
        photos: (N, S, S, 3) uint8, RGB, after augmentation.
        targets: (N, K) float in [0, 1], the share of each class: mixtures have several.
        names: The K classes.

    """
    captions = []
    for shares in targets:
        parts = [(share, name) for share, name in zip(shares, names, strict=True) if share >= 0.005]
        mixture = " +\n".join(f"{share:.2f} {name}" for share, name in parts)
        captions.append(parts[0][1] if len(parts) == 1 else mixture)
    return photographs(photos, captions, "Photographs as the network sees them in training")


def mistakes(judged: Judged, count: int = 18) -> Figure:
    """Draw the mistakes of which the network was surest, the surest first."""
    wrong = np.flatnonzero(judged.wrong)
    surest = wrong[np.argsort(-judged.confidence[wrong], kind="stable")][:count]
    total = f"{len(judged.photos):,} photographs"
    if not len(wrong):
        return note(f"No mistakes among {total}")
    shown = judged.take(surest)
    title = f"{len(surest)} of {len(wrong):,} mistakes among {total}, the most confident first"
    return photographs(shown.photos, shown.captions, title)


def uncertain(judged: Judged, count: int = 18) -> Figure:
    """Draw the photographs of which the network was least sure, the least first."""
    shown = judged.take(np.argsort(judged.confidence, kind="stable")[:count])
    title = f"The {len(shown.photos)} least certain of {len(judged.photos):,} photographs"
    return photographs(shown.photos, shown.captions, f"{title} (framed: mistakes)", shown.wrong)


def activations(
    photo: np.ndarray, layers: Sequence[tuple[str, np.ndarray]], channels: int = 8
) -> Figure:
    """Draw one photograph, and where the strongest channels of each layer answer to it.

    The strength of a channel is the mean size of its activations.

    Args:
        photo: (S, S, 3) uint8, RGB.
        layers: Name and activations, (C, H, W) float, of each layer, from the first to the last;
            at least one.
        channels: How many of each layer are shown, the strongest first.

    """
    figure, axes = style.canvas(len(layers), 2, width=WIDTH, height=0.6 + 0.9 * max(len(layers), 3))
    grid = axes[0, 0].get_gridspec()
    grid.set_width_ratios([3, channels])
    for place in axes[:, 0]:
        place.remove()
    _draw_photo(figure.add_subplot(grid[:, 0]), photo)
    for row, (name, maps) in zip(axes[:, 1], layers, strict=True):
        num_channels, height, width = maps.shape
        strongest = np.argsort(-np.abs(maps).mean((1, 2)), kind="stable")[:channels]
        for column, channel in enumerate(strongest):
            left = 1.1 * column
            row.imshow(maps[channel], extent=(left, left + 1, 0, 1))
        row.set_xlim(0, 1.1 * channels - 0.1)
        row.set_axis_off()
        size = f"{height} \N{MULTIPLICATION SIGN} {width}"
        label = f"{name}: the strongest {len(strongest)} of {num_channels} channels, {size}"
        row.set_title(label, loc="left", fontsize=CAPTION)
    how = "each channel from its lowest activation, dark, to its highest, bright"
    figure.suptitle(f"What a photograph excites in each layer\n{how}", fontsize=12)
    return figure


def gradcam(judged: Judged, heatmaps: np.ndarray) -> Figure:
    """Draw where the network sees evidence for what it says, and for what else it could have said.

    The other class is the actual one of a mistake, and the second most probable one otherwise.

    Args:
        judged: N photographs.
        heatmaps: (N, K, H, W) float in [0, 1], the evidence for each of at least two classes.

    """
    count = len(judged.photos)
    if not count:
        return note("No photographs to look for evidence in")
    rows = math.ceil(count / 2)
    figure, axes = style.canvas(rows, 7, width=WIDTH, height=1.2 + rows * (WIDTH / 6 + 0.4))
    axes[0, 0].get_gridspec().set_width_ratios([1, 1, 1, 0.2, 1, 1, 1])
    for place in axes[:, 3]:
        place.set_axis_off()
    second = np.argsort(-judged.probabilities, axis=1, kind="stable")[:, 1]
    others = np.where(judged.wrong, judged.labels, second)
    triples = np.delete(axes, 3, axis=1).reshape(-1, 3)  # two photographs to a row
    captions, pairs = judged.captions, np.stack([judged.predictions, others], axis=1)
    for index, photo in enumerate(judged.photos):
        first, *rest = triples[index]
        _draw_photo(first, photo, captions[index], framed=judged.wrong[index])
        for place, label in zip(rest, pairs[index], strict=True):
            overlay = overlaid(photo, heatmaps[index, label])
            _draw_photo(place, overlay, f"for {judged.names[label]}")
    for place in triples[count:].flat:
        place.set_axis_off()
    figure.suptitle("Where the evidence for a class lies (framed: mistakes)", fontsize=12)
    label = "share of the strongest evidence"
    figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, label=label, location="bottom", aspect=50)
    return figure


def explained(
    photo: np.ndarray, heatmaps: np.ndarray, probabilities: np.ndarray, names: Sequence[str]
) -> Figure:
    """Draw where the network sees evidence for each class in one photograph.

    Args:
        photo: (S, S, 3) uint8, RGB.
        heatmaps: (K, H, W) float in [0, 1], the evidence for each class.
        probabilities: (K,) float in [0, 1].
        names: the K classes.

    """
    figure, (axes,) = style.canvas(1, 1 + len(names), width=WIDTH, height=3.9)
    _draw_photo(axes[0], photo, "what the network was shown")
    for place, label in zip(axes[1:], np.argsort(-probabilities, kind="stable"), strict=True):
        caption = f"for {names[label]}, said with {_probability(probabilities[label])}"
        _draw_photo(place, overlaid(photo, heatmaps[label]), caption)
    figure.suptitle("Where the evidence for each class lies", fontsize=12)
    scale = "share of the strongest evidence"
    figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, label=scale, location="bottom", aspect=50)
    return figure


def overlaid(photo: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return a photograph without its colours, (S, S, 3) uint8, under those of a heatmap.

    Args:
        photo: (S, S, 3) uint8, RGB.
        heatmap: (H, W) float in [0, 1], stretched to the photograph's size.

    """
    small = Image.fromarray(heatmap.astype(np.float32))
    heat = np.asarray(small.resize(photo.shape[1::-1], Image.Resampling.BILINEAR))
    grey = photo.mean(2, keepdims=True)
    blend: np.ndarray = 0.4 * grey + 0.6 * 255 * HEAT(heat)[..., :3]
    return blend.astype(np.uint8)


def filters(weights: np.ndarray) -> Figure:
    """Draw the filters of the first layer as small pictures, the strongest first.

    Args:
        weights: (O, 3, k, k) float: what each filter looks for in red, green and blue.

    """
    num_filters, _, height, width = weights.shape
    columns = min(12, max(6, num_filters))
    rows = math.ceil(num_filters / columns)
    figure, axes = style.canvas(rows, columns, width=WIDTH, height=0.9 + rows * WIDTH / columns)
    strongest = np.argsort(-np.abs(weights).max((1, 2, 3)), kind="stable")
    for place, tile in zip(axes.flat, weights[strongest], strict=False):
        reach = np.abs(tile).max() or 1.0
        _draw_photo(place, 0.5 + tile.transpose(1, 2, 0) / (2 * reach))
    for place in axes.flat[num_filters:]:
        place.set_axis_off()
    size = f"{height} \N{MULTIPLICATION SIGN} {width}"
    how = "grey is no weight; each is stretched to its own largest weight, the strongest first"
    figure.suptitle(f"The {num_filters} filters of the first layer, {size}\n{how}", fontsize=12)
    return figure


def _draw_photo(axes: Axes, photo: np.ndarray, caption: str = "", *, framed: bool = False) -> None:
    """Draw an image, (S, S, 3) in colours or (S, S) in those of matplotlib's viridis."""
    axes.imshow(photo)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(caption, fontsize=CAPTION)
    axes.spines[:].set_visible(framed)
    axes.spines[:].set(color=style.VERMILION, linewidth=3)


def _probability(value: float) -> str:
    """Round to two digits, and never up to certainty."""
    return "> 0.99" if value > 0.99 else f"{value:.2f}"

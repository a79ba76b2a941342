"""Figures of photographs, of their predictions, and of what is inside a convolutional network."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA
from torch import Tensor

from harness.evaluation import Predictions
from harness.figures import classification, style
from harness.figures.classification import note

WIDTH = 7.4  # inches of every figure here
CAPTION = 9  # points
HEAT = mpl.colormaps["inferno"]


def to_hwc(images: Tensor) -> np.ndarray:
    """Return images (N, 3, S, S) as matplotlib takes them, (N, S, S, 3)."""
    return images.permute(0, 2, 3, 1).numpy()


def photographs(
    photos: np.ndarray, captions: Sequence[str], title: str, framed: np.ndarray | None = None
) -> Figure:
    """Draw photographs in a grid, each over its caption.

    Args:
        photos: (N, S, S, 3) uint8, RGB; without any, the figure shows its title only.
        captions: N texts, of up to two short lines.
        title: of the figure.
        framed: (N,) bool, those that get a frame in vermilion.

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


def augmented_batch(photos: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw training photographs after augmentation, with their targets.

    Args:
        photos: (N, S, S, 3) uint8, RGB.
        targets: (N, K) float in [0, 1], the probability of each class: mixtures have several.
        classes: K names.

    """
    captions = []
    for target in targets:
        parts = [(p, name) for p, name in zip(target, classes, strict=True) if p >= 0.005]
        mixture = " +\n".join(f"{p:.2f} {name}" for p, name in parts)
        captions.append(parts[0][1] if len(parts) == 1 else mixture)
    return photographs(photos, captions, "Training photographs after augmentation, with targets")


def captions_of(predictions: Predictions) -> list[str]:
    """Return a caption of two lines for each photograph: "cats, predicted / dogs 0.98"."""
    labels, classes = predictions.labels, predictions.classes
    triples = zip(labels, predictions.predicted, predictions.confidence, strict=True)
    return [
        f"{classes[label]}, predicted\n{classes[predicted]} {_probability(confidence)}"
        for label, predicted, confidence in triples
    ]


def misclassified(photos: np.ndarray, predictions: Predictions, count: int = 18) -> Figure:
    """Draw the misclassified photographs with the highest confidence, the highest first.

    Args:
        photos: (N, S, S, 3) uint8, RGB.
        predictions: for the N photographs.
        count: the most that are drawn.

    """
    total = int((~predictions.correct).sum())
    chosen = predictions.most_confident(correct=False, count=count)
    of_all = f"{total:,} of {len(photos):,} photographs misclassified"
    if not total:
        return note(f"None of {len(photos):,} photographs misclassified")
    shown = "the most confident first" if total <= count else f"the {count} most confident"
    captions = captions_of(predictions.select(chosen))
    return photographs(photos[chosen], captions, f"{of_all}: {shown}")


def least_confident(photos: np.ndarray, predictions: Predictions, count: int = 18) -> Figure:
    """Draw the photographs with the lowest confidence, the lowest first; see `misclassified`."""
    chosen = np.argsort(predictions.confidence, kind="stable")[:count]
    selected = predictions.select(chosen)
    title = f"The {len(chosen)} of {len(photos):,} photographs with the lowest confidence"
    return photographs(
        photos[chosen], captions_of(selected), f"{title} (framed: misclassified)", ~selected.correct
    )


def activations(
    photo: np.ndarray, layers: Sequence[tuple[str, np.ndarray]], channels: int = 8
) -> Figure:
    """Draw one photograph, and the strongest channels of each layer for it.

    The strength of a channel is its mean absolute activation.

    Args:
        photo: (S, S, 3) uint8, RGB.
        layers: name and activations, (C, H, W) float, of each layer, from the first to the last;
            at least one.
        channels: the most that are drawn of each layer.

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
    scale = "each channel scaled from its lowest value, dark, to its highest, bright"
    figure.suptitle(f"Activations of each stage for one photograph\n{scale}", fontsize=12)
    return figure


def gradcam(photos: np.ndarray, predictions: Predictions, heatmaps: np.ndarray) -> Figure:
    """Draw the class activation maps of the predicted class and of one other.

    The other class is the actual one of a misclassified photograph, and the second most probable
    one of any other.

    Args:
        photos: (N, S, S, 3) uint8, RGB.
        predictions: for the N photographs, with at least two classes.
        heatmaps: (N, K, H, W) float in [0, 1], the map of each class.

    """
    count = len(photos)
    if not count:
        return note("No photographs to draw class activation maps of")
    rows = math.ceil(count / 2)
    figure, axes = style.canvas(rows, 7, width=WIDTH, height=1.2 + rows * (WIDTH / 6 + 0.4))
    axes[0, 0].get_gridspec().set_width_ratios([1, 1, 1, 0.2, 1, 1, 1])
    for place in axes[:, 3]:
        place.set_axis_off()
    second = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, 1]
    others = np.where(predictions.correct, second, predictions.labels)
    triples = np.delete(axes, 3, axis=1).reshape(-1, 3)  # two photographs to a row
    captions, correct = captions_of(predictions), predictions.correct
    pairs = np.stack([predictions.predicted, others], axis=1)
    for index, photo in enumerate(photos):
        first, *rest = triples[index]
        _draw_photo(first, photo, captions[index], framed=not correct[index])
        for place, label in zip(rest, pairs[index], strict=True):
            overlay = overlaid(photo, heatmaps[index, label])
            _draw_photo(place, overlay, f"for {predictions.classes[label]}")
    for place in triples[count:].flat:
        place.set_axis_off()
    figure.suptitle("Class activation maps (Grad-CAM; framed: misclassified)", fontsize=12)
    _draw_heat_scale(figure, axes)
    return figure


def explained(
    photo: np.ndarray, heatmaps: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Draw the class activation maps of every class for one photograph, the most probable first.

    Args:
        photo: (S, S, 3) uint8, RGB.
        heatmaps: (K, H, W) float in [0, 1], the map of each class.
        probabilities: (K,) float in [0, 1].
        classes: K names.

    """
    figure, axes = style.canvas(1, 1 + len(classes), width=WIDTH, height=3.9)
    _draw_photo(axes[0, 0], photo, "input")
    for place, label in zip(axes[0, 1:], np.argsort(-probabilities, kind="stable"), strict=True):
        caption = f"for {classes[label]}, probability {_probability(probabilities[label])}"
        _draw_photo(place, overlaid(photo, heatmaps[label]), caption)
    figure.suptitle("Class activation maps (Grad-CAM)", fontsize=12)
    _draw_heat_scale(figure, axes)
    return figure


def filters(weights: np.ndarray) -> Figure:
    """Draw the filters of the first layer as small images, the strongest first.

    The strength of a filter is its largest absolute weight.

    Args:
        weights: (O, 3, k, k) float, the weights of red, green and blue.

    """
    num_filters, _, height, width = weights.shape
    columns = min(12, max(6, num_filters))
    rows = math.ceil(num_filters / columns)
    figure, axes = style.canvas(rows, columns, width=WIDTH, height=0.9 + rows * WIDTH / columns)
    strongest = np.argsort(-np.abs(weights).max((1, 2, 3)), kind="stable")
    for place, tile in zip(axes.flat, weights[strongest], strict=False):
        largest = np.abs(tile).max() or 1.0
        _draw_photo(place, 0.5 + tile.transpose(1, 2, 0) / (2 * largest))
    for place in axes.flat[num_filters:]:
        place.set_axis_off()
    size = f"{height} \N{MULTIPLICATION SIGN} {width}"
    scale = "the strongest first; each scaled by its largest weight, grey is 0"
    figure.suptitle(f"The {num_filters} filters of the first layer, {size}\n{scale}", fontsize=12)
    return figure


def features(features: np.ndarray, predictions: Predictions) -> Figure:
    """Draw the features of the last layer, (N, F) float, along two principal components."""
    pca = PCA(n_components=2).fit(features)
    first, second = (
        f"{which} principal component ({share:.0%} of the variance)"
        for which, share in zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
    )
    return classification.feature_map(
        pca.transform(features),
        predictions.labels,
        predictions.predicted,
        predictions.classes,
        f"Input of the last layer: {features.shape[1]} features of the test photographs",
        (first, second),
    )


def overlaid(photo: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return a photograph in grey under the colours of a heatmap, (S, S, 3) uint8.

    Args:
        photo: (S, S, 3) uint8, RGB.
        heatmap: (H, W) float in [0, 1], resized to the photograph's size.

    """
    small = Image.fromarray(heatmap.astype(np.float32))
    heat = np.asarray(small.resize(photo.shape[1::-1], Image.Resampling.BILINEAR))
    grey = photo.mean(2, keepdims=True)
    blend: np.ndarray = 0.4 * grey + 0.6 * 255 * HEAT(heat)[..., :3]
    return blend.astype(np.uint8)


def _draw_heat_scale(figure: Figure, axes: np.ndarray) -> None:
    label = "class activation, relative to the photograph's largest"
    figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, label=label, location="bottom", aspect=50)


def _draw_photo(axes: Axes, photo: np.ndarray, caption: str = "", *, framed: bool = False) -> None:
    """Draw an image, (S, S, 3)."""
    axes.imshow(photo)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(caption, fontsize=CAPTION)
    axes.spines[:].set_visible(framed)
    axes.spines[:].set(color=style.VERMILION, linewidth=3)


def _probability(value: float) -> str:
    """Round to two digits, but never up to 1."""
    return "> 0.99" if value > 0.99 else f"{value:.2f}"

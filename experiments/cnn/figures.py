"""Figures of photographs, of their predictions, and of what is inside a convolutional network.

`photos` are (N, S, S, 3) uint8, RGB, `images` the same as (N, 3, S, S), and `predictions` those for
them; K is the number of classes. A heatmap, (H, W) in [0, 1], is a class activation map.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from datasets.augmentation import to_float
from datasets.photographs import Photographs
from experiments.cnn.attributions import explanations
from harness.evaluation import Predictions
from harness.figures import classification, style
from harness.figures.classification import note
from harness.figures.letters import short, width
from harness.training.batches import TensorBatches
from models.cnn import ImageClassifier
from models.inspection import convolutional

WIDTH = 7.4  # inches of every figure here
MAX_HEIGHT = 7.2  # inches that the pane of the MLflow UI has room for
CAPTION = 9  # points
MAX_SEARCHED = 4000
"""Training photographs among which the nearest are searched."""
LINE = 15
"""Letters that find room in a line of a caption below a photograph."""
HEAT = mpl.colormaps["inferno"]


def to_hwc(images: Tensor) -> np.ndarray:
    """Return images (N, 3, S, S) as matplotlib takes them, (N, S, S, 3)."""
    return images.permute(0, 2, 3, 1).numpy()


def photographs(
    photos: np.ndarray, captions: Sequence[str], title: str, framed: np.ndarray | None = None
) -> Figure:
    """Draw photographs in a grid, each over its caption of a few short lines.

    Those that are `framed`, (N,) bool, get a frame in vermilion.
    """
    if not len(photos):
        return note(title)
    columns = min(6, max(3, len(photos)))
    rows = math.ceil(len(photos) / columns)
    num_lines = max(2, *(1 + caption.count("\n") for caption in captions))
    height = 0.4 + rows * (WIDTH / columns + 0.1 + 0.15 * num_lines)
    figure, axes = style.canvas(rows, columns, width=WIDTH, height=height)
    figure.suptitle(title, fontsize=12)
    frames = [False] * len(photos) if framed is None else framed
    for place, photo, caption, frame in zip(axes.flat, photos, captions, frames, strict=False):
        _draw_photo(place, photo, caption, framed=frame)
    for place in axes.flat[len(photos) :]:
        place.set_axis_off()
    return figure


def augmented_batch(photos: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw training photographs after augmentation, with their targets.

    Targets are (N, K) float in [0, 1], the probability of each class: mixtures have several.
    """
    captions = []
    for target in targets:
        parts = [(p, name) for p, name in zip(target, classes, strict=True) if p >= 0.005]
        mixture = " +\n".join(f"{p:.2f} {short(name, LINE - 7)}" for p, name in parts)
        captions.append(short(parts[0][1], LINE) if len(parts) == 1 else mixture)
    return photographs(photos, captions, "Training photographs after augmentation, with targets")


def captions_of(predictions: Predictions) -> list[str]:
    """Return a caption for each photograph: "cats, predicted / dogs 0.98"; long names take more."""
    names = [short(name, LINE - 1) for name in predictions.classes]
    captions = []
    for label, predicted, confidence in zip(
        predictions.labels, predictions.predicted, predictions.confidence, strict=True
    ):
        probability = _probability(confidence)
        lines = [f"{names[label]}, predicted", f"{names[predicted]} {probability}"]
        if max(map(width, lines)) > LINE:
            lines = [f"{names[label]},", f"predicted {probability}:", names[predicted]]
        captions.append("\n".join(lines))
    return captions


def misclassified(photos: np.ndarray, predictions: Predictions, count: int = 18) -> Figure:
    """Draw up to `count` misclassified photographs, those with the highest confidence first."""
    total = int((~predictions.correct).sum())
    if not total:
        return note(f"None of {len(photos):,} photographs misclassified")
    chosen = predictions.most_confident(correct=False, count=count)
    shown = "the most confident first" if total <= count else f"the {count} most confident"
    title = f"{total:,} of {len(photos):,} photographs misclassified: {shown}"
    return photographs(photos[chosen], captions_of(predictions.select(chosen)), title)


def least_confident(photos: np.ndarray, predictions: Predictions, count: int = 18) -> Figure:
    """Draw the `count` photographs with the lowest confidence, the lowest first."""
    chosen = np.argsort(predictions.confidence, kind="stable")[:count]
    selected = predictions.select(chosen)
    lowest = f"The {len(chosen)} of {len(photos):,} photographs with the lowest confidence"
    if len(chosen) == len(photos):
        lowest = f"All {len(photos)} photographs, the least confident first"
    title = f"{lowest} (framed: misclassified)"
    return photographs(photos[chosen], captions_of(selected), title, ~selected.correct)


def inspect(
    model: ImageClassifier, test: Photographs, predictions: Predictions, training: Photographs
) -> Iterator[tuple[str, Figure]]:
    """Draw activations, attributions, filters and features of a network, and what is near them."""
    images, photos = test.images, to_hwc(test.images)
    correct = predictions.most_confident_by_class(count=6)
    incorrect = predictions.most_confident(correct=False, count=6)
    for name, indices in (("correct", correct), ("incorrect", incorrect)):
        if len(indices):
            image, stages = to_float(images[indices[:1]]), dict(model.stages.named_children())
            outputs = convolutional.activations(model, image, stages)
            layers = [(stage, output[0].numpy()) for stage, output in outputs.items()]
            yield f"activations_{name}", activations(photos[indices[0]], layers)
    chosen = np.concatenate([correct, incorrect])
    of_chosen = predictions.select(chosen)
    heatmaps = convolutional.class_activation_maps(
        model, to_float(images[chosen]), model.stages[-1], len(predictions.classes)
    )
    yield "gradcam", gradcam(photos[chosen], of_chosen, heatmaps.numpy())
    few = np.concatenate([correct[:3], incorrect[:3]])  # each is classified a thousand times
    of_few = predictions.select(few)
    maps, correlations = explanations(model, to_float(images[few]), of_few.predicted)
    yield "attributions", attributions(photos[few], of_few, maps, correlations)
    first = next(m for m in model.stages.modules() if isinstance(m, nn.Conv2d))
    yield "filters", filters(first.weight.detach().numpy())
    of_test = features_of(model, test)
    yield "features", features(of_test, predictions)
    if len(incorrect):
        every = math.ceil(len(training.labels) / MAX_SEARCHED)
        training = training.every(every)
        nearest = NearestNeighbors(n_neighbors=min(5, len(training.labels)), metric="cosine")
        nearest.fit(features_of(model, training))
        yield (
            "nearest_training_photographs",
            nearest_training_photographs(
                photos[incorrect],
                predictions.select(incorrect),
                training,
                nearest.kneighbors(of_test[incorrect], return_distance=False),
            ),
        )


def activations(
    photo: np.ndarray, layers: Sequence[tuple[str, np.ndarray]], channels: int = 8
) -> Figure:
    """Draw one photograph, and the strongest channels of each layer for it.

    Layers are names with activations (C, H, W); of each, up to `channels` with the highest mean
    absolute activation are drawn.
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
    one of any other. Heatmaps are (N, K, H, W), one of each class.
    """
    count = len(photos)
    if not count:
        return note("No photographs to draw class activation maps of")
    per_row, width, size = (2, WIDTH, CAPTION) if count <= 6 else (3, 8.1, 7)
    figure, triples = _groups(count, 3, per_row, width)
    second = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, 1]
    others = np.where(predictions.correct, second, predictions.labels)
    captions, correct = captions_of(predictions), predictions.correct
    pairs = np.stack([predictions.predicted, others], axis=1)
    for index, photo in enumerate(photos):
        first, *rest = triples[index]
        _draw_photo(first, photo, captions[index], framed=not correct[index], size=size)
        for place, label in zip(rest, pairs[index], strict=True):
            overlay = overlaid(photo, heatmaps[index, label])
            name = short(predictions.classes[label], LINE - 1)
            _draw_photo(place, overlay, _in_lines("for", name), size=size)
    figure.suptitle("Class activation maps (Grad-CAM; framed: misclassified)", fontsize=12)
    _draw_heat_scale(figure, "class activation")
    return figure


def attributions(
    photos: np.ndarray,
    predictions: Predictions,
    maps: Mapping[str, np.ndarray],
    correlations: Mapping[str, float],
) -> Figure:
    """Draw beside each photograph what speaks for its predicted class, by several methods.

    Maps, (N, H, W) by the method's name, may be negative, which is not drawn. The correlations are
    those with the maps of random weights.
    """
    count = len(photos)
    if not count:
        return note("No photographs to draw attributions of")
    per_row, size = (1, CAPTION) if count <= 3 else (2, 7)
    figure, groups = _groups(count, 1 + len(maps), per_row, WIDTH)
    captions, correct = captions_of(predictions), predictions.correct
    for index, (first, *rest) in enumerate(groups):
        _draw_photo(first, photos[index], captions[index], framed=not correct[index], size=size)
        for place, (name, of_method) in zip(rest, maps.items(), strict=True):
            heat = of_method[index].clip(0)
            overlay = overlaid(photos[index], heat / (heat.max() or 1))
            _draw_photo(place, overlay, name.replace(" ", "\n"), size=size)
    figure.suptitle(
        "What speaks for the predicted class, by three methods (framed: misclassified)\n"
        "Rank correlation with the maps of the same network with random weights:\n"
        + ", ".join(f"{name} {value:.2f}" for name, value in correlations.items()),
        fontsize=10,
    )
    _draw_heat_scale(figure, "evidence")
    return figure


def explained(
    photo: np.ndarray, heatmaps: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Draw heatmaps (K, H, W) of a photograph, those of the three most probable classes."""
    figure, axes = style.canvas(1, 1 + min(3, len(classes)), width=WIDTH, height=3.9)
    _draw_photo(axes[0, 0], photo, "input")
    for place, label in zip(axes[0, 1:], np.argsort(-probabilities, kind="stable"), strict=False):
        name, probability = short(classes[label], 20), _probability(probabilities[label])
        caption = _in_lines(f"for {name},", f"probability {probability}", longest=26)
        _draw_photo(place, overlaid(photo, heatmaps[label]), caption)
    figure.suptitle("Class activation maps (Grad-CAM)", fontsize=12)
    _draw_heat_scale(figure, "class activation")
    return figure


def filters(weights: np.ndarray) -> Figure:
    """Draw the filters of the first layer, (O, 3, k, k), as small images in red, green and blue.

    The strongest come first: those with the largest absolute weight.
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


@torch.inference_mode()
def features_of(model: ImageClassifier, photographs: Photographs) -> np.ndarray:
    """Return what the last layer is given for photographs, (N, F) float32."""
    if photographs.features is not None:  # of a frozen backbone, computed before training
        return photographs.features[:, 0].numpy()
    batches = TensorBatches(photographs.images, batch_size=100)
    return torch.cat([model.features(to_float(batch)) for (batch,) in batches]).numpy()


def features(features: np.ndarray, predictions: Predictions) -> Figure:
    """Draw the inputs of the last layer, (N, F), along two principal components."""
    pca = PCA(n_components=2).fit(features)
    first, second = (
        f"{which} principal component ({share:.0%} of the variance)"
        for which, share in zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
    )
    title = f"Input of the last layer: {features.shape[1]} features of the test photographs"
    labels, predicted, classes = predictions.labels, predictions.predicted, predictions.classes
    points = pca.transform(features)
    return classification.feature_map(points, labels, predicted, classes, title, (first, second))


def nearest_training_photographs(
    photos: np.ndarray, predictions: Predictions, training: Photographs, nearest: np.ndarray
) -> Figure:
    """Draw beside each misclassified photograph those for training that are nearest to it.

    Those are (N, M) int, indices into `training`, the nearest first.
    """
    figure, rows = _groups(len(photos), 1 + nearest.shape[1], 1, WIDTH)
    captions = captions_of(predictions)
    for index, (first, *rest) in enumerate(rows):
        _draw_photo(first, photos[index], captions[index], framed=True, size=8)
        beside, labels = to_hwc(training.images[nearest[index]]), training.labels[nearest[index]]
        for place, photo, label in zip(rest, beside, labels.tolist(), strict=True):
            _draw_photo(place, photo, short(predictions.classes[label], LINE), size=8)
    count, total = nearest.shape[1], len(training.labels)
    figure.suptitle(
        f"Misclassified photographs (framed), and the nearest {count} of {total:,} for training\n"
        "by the cosine distance of their features, the input of the last layer",
        fontsize=11,
    )
    return figure


def overlaid(photo: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return a photograph in grey under the colours of a heatmap, (S, S, 3) uint8."""
    small = Image.fromarray(heatmap.astype(np.float32))
    heat = np.asarray(small.resize(photo.shape[1::-1], Image.Resampling.BILINEAR))
    grey = photo.mean(2, keepdims=True)
    return np.asarray(0.4 * grey + 0.6 * 255 * HEAT(heat)[..., :3], dtype=np.uint8)


def _groups(count: int, length: int, per_row: int, width: float) -> tuple[Figure, np.ndarray]:
    """Return a figure, and axes for `count` groups of `length` photographs, (count, length)."""
    rows, gap = math.ceil(count / per_row), 0.2
    height = min(MAX_HEIGHT, 1.2 + rows * (width / ((length + gap) * per_row) + 0.4))
    figure, axes = style.canvas(rows, (length + 1) * per_row - 1, width=width, height=height)
    axes[0, 0].get_gridspec().set_width_ratios(([*[1.0] * length, gap] * per_row)[:-1])
    gaps = np.s_[length :: length + 1]
    groups = np.delete(axes, gaps, axis=1).reshape(-1, length)
    for place in (*axes[:, gaps].flat, *groups[count:].flat):
        place.set_axis_off()
    return figure, groups[:count]


def _draw_heat_scale(figure: Figure, quantity: str) -> None:
    label = f"{quantity}, relative to the photograph's largest"
    scale = ScalarMappable(cmap=HEAT)
    figure.colorbar(scale, ax=figure.axes, label=label, location="bottom", aspect=50)


def _draw_photo(
    axes: Axes, photo: np.ndarray, caption: str = "", *, framed: bool = False, size: float = CAPTION
) -> None:
    """Draw an image, (S, S, 3), over a caption of a size in points."""
    axes.imshow(photo)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(caption, fontsize=size)
    axes.spines[:].set_visible(framed)
    axes.spines[:].set(color=style.VERMILION, linewidth=3)


def _in_lines(first: str, second: str, longest: int = LINE) -> str:
    """Return both in one line if there is room, else in two."""
    line = f"{first} {second}"
    return line if width(line) <= longest else f"{first}\n{second}"


def _probability(value: float) -> str:
    """Round to two digits, but never up to 1."""
    return "> 0.99" if value > 0.99 else f"{value:.2f}"

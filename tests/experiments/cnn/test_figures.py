"""Figures of photographs and of the inside of a network: what is drawn, and in which order."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from experiments.cnn import figures
from harness.evaluation import Predictions
from harness.figures import style
from tests.harness.figures.layout import NAMES, drawn

CLASSES = ("cats", "dogs")
TIMES = "\N{MULTIPLICATION SIGN}"
RANDOM = np.random.default_rng(0)


def shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images and axes.axison]


def pixels(image: AxesImage) -> np.ndarray:
    return np.asarray(image.get_array())


def captions(figure: Figure) -> list[str]:
    return [axes.get_xlabel() for axes in shown(figure)]


def classified(dog_probabilities: list[float], labels: list[int]) -> tuple[np.ndarray, Predictions]:
    """Make photographs of one grey each, the shade of which is their index, and predictions."""
    shades = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    photos = np.broadcast_to(shades, (len(labels), 16, 16, 3))
    dogs = np.array(dog_probabilities, dtype=np.float32)
    return photos, Predictions(np.array(labels), np.stack([1 - dogs, dogs], axis=1), CLASSES)


def which(figure: Figure) -> list[int]:
    return [int(pixels(axes.images[0])[0, 0, 0]) for axes in shown(figure)]


def test_the_most_confident_misclassified_come_first_and_correct_ones_not_at_all() -> None:
    figure = figures.misclassified(*classified([0.6, 0.98, 0.02, 0.3, 0.999], [0, 0, 0, 1, 0]))
    assert which(figure) == [4, 1, 3, 0]
    assert captions(figure) == [
        "cats, predicted\ndogs > 0.99",
        "cats, predicted\ndogs 0.98",
        "dogs, predicted\ncats 0.70",
        "cats, predicted\ndogs 0.60",
    ]
    assert figure.get_suptitle().startswith("4 of 5 photographs misclassified: the most confident")


def test_no_more_misclassified_are_drawn_than_asked_for() -> None:
    figure = figures.misclassified(*classified([0.9] * 30, [0] * 30), count=8)
    assert which(figure) == list(range(8))
    assert figure.get_suptitle() == "30 of 30 photographs misclassified: the 8 most confident"


def test_none_misclassified_make_a_figure_that_says_so() -> None:
    figure = drawn(figures.misclassified(*classified([0.1, 0.9], [0, 1])))
    assert not shown(figure)
    assert figure.axes[0].texts[0].get_text() == "None of 2 photographs misclassified"


def test_the_least_confident_come_first_and_only_misclassified_ones_are_framed() -> None:
    figure = figures.least_confident(*classified([0.9, 0.45, 0.52, 0.1], [0, 0, 0, 0]), count=3)
    assert which(figure) == [2, 1, 0]
    assert captions(figure)[1] == "cats, predicted\ncats 0.55"
    frames = [axes.spines["left"].get_visible() for axes in shown(figure)]
    assert frames == [True, False, True]


def test_training_targets_are_named_and_mixtures_have_their_shares() -> None:
    targets = np.array([[1, 0, 0], [0, 0, 1], [0.71, 0.29, 0], [0.998, 0.002, 0]])
    photos = RANDOM.integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    figure = figures.augmented_batch(photos, targets, ("cats", "dogs", "owls"))
    assert captions(figure) == ["cats", "owls", "0.71 cats +\n0.29 dogs", "cats"]
    assert (pixels(shown(figure)[2].images[0]) == photos[2]).all()


def test_captions_of_long_names_are_readable() -> None:
    names, num_classes = NAMES[:10], 10
    photos = RANDOM.integers(0, 255, (18, 16, 16, 3), dtype=np.uint8)
    targets = np.eye(num_classes)[np.arange(18) % num_classes]
    drawn(figures.augmented_batch(photos, 0.7 * targets + 0.3 * np.roll(targets, 1, 1), names))
    probabilities = RANDOM.dirichlet(np.ones(num_classes), 18)
    predictions = Predictions(np.arange(18) % num_classes, probabilities, names)
    drawn(figures.least_confident(photos, predictions))
    for count in (6, 12):
        heatmaps = np.zeros((count, num_classes, 2, 2))
        drawn(figures.gradcam(photos[:count], predictions.select(np.arange(count)), heatmaps))
    drawn(figures.explained(photos[0], heatmaps[0], probabilities[0], names))


@pytest.mark.parametrize("count", [0, 2, 7])
def test_captions_do_not_overlap(count: int) -> None:
    photos = np.zeros((count, 16, 16, 3), dtype=np.uint8)
    figure = figures.photographs(photos, ["dogs, predicted\ncats > 0.99"] * count, "Title")
    assert len(shown(figure)) == count
    renderer = style.Canvas(figure).get_renderer()
    boxes = [box for axes in shown(figure) if (box := axes.get_tightbbox(renderer))]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_strongest_channels_of_each_layer_are_shown_in_order() -> None:
    maps = np.zeros((4, 3, 3))
    maps[:, 1, 1] = [1, -9, 4, 2]  # its size counts, not its sign
    photo = np.zeros((16, 16, 3), dtype=np.uint8)
    layers = [("stem", maps), ("first block", maps[:2]), ("last", maps[:1, :1, :1])]
    figure = figures.activations(photo, layers, channels=3)
    figure.draw_without_rendering()
    rows = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [len(row.images) for row in rows] == [3, 2, 1]
    strongest = [pixels(image)[1, 1] for image in rows[0].images]
    assert strongest == [-9, 4, 2]
    lefts = [image.get_extent()[0] for image in rows[0].images]
    assert lefts == sorted(lefts)
    labels = [row.get_title(loc="left") for row in rows]
    assert labels[0] == f"stem: the strongest 3 of 4 channels, 3 {TIMES} 3"
    assert labels[2] == f"last: the strongest 1 of 1 channels, 1 {TIMES} 1"
    assert (pixels(figure.axes[-1].images[0]) == photo).all()


def test_an_overlay_is_hottest_where_the_activation_is() -> None:
    heatmap = np.zeros((4, 4))
    heatmap[1, 3] = 1
    photo = np.full((16, 16, 3), 100, dtype=np.uint8)
    overlay = figures.overlaid(photo, heatmap)
    assert overlay.shape == photo.shape
    assert overlay.dtype == np.uint8
    row, column = np.unravel_index(overlay.sum(2, dtype=int).argmax(), (16, 16))
    assert 4 <= row < 8
    assert column >= 12
    bright = figures.overlaid(photo + 100, heatmap)
    assert (bright >= overlay).all()  # the photograph shines through
    assert (bright > overlay).any()


def test_maps_are_drawn_of_the_predicted_class_and_of_the_most_relevant_other() -> None:
    """The actual class if misclassified, else the second most probable one; also in a tie."""
    probabilities = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.4, 0.4, 0.2]])
    photos = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    predictions = Predictions(np.array([1, 0, 0]), probabilities, ("cats", "dogs", "owls"))
    heatmaps = np.zeros((3, 3, 2, 2))
    heatmaps[:, 0, 0, 0] = heatmaps[:, 1, 0, 1] = heatmaps[:, 2, 1, 0] = 1
    corner = {"cats": (0, 0), "dogs": (0, -1), "owls": (-1, 0)}
    figure = figures.gradcam(photos, predictions, heatmaps)
    assert captions(figure) == [
        *("dogs, predicted\ndogs 0.70", "for dogs", "for owls"),
        *("cats, predicted\ndogs 0.70", "for dogs", "for cats"),
        *("cats, predicted\ncats 0.40", "for cats", "for dogs"),
    ]
    for axes in shown(figure):
        caption = axes.get_xlabel()
        if caption.startswith("for "):
            heat = pixels(axes.images[0]).sum(2, dtype=int)
            assert heat[corner[caption.removeprefix("for ")]] == heat.max()
    framed = [axes.spines["left"].get_visible() for axes in shown(figure)]
    assert framed == [False] * 3 + [True] + [False] * 5


@pytest.mark.parametrize("count", [0, 1, 6, 12])
def test_maps_of_few_photographs_and_of_many(count: int) -> None:
    photos, predictions = classified([0.9] * count, [1] * count)
    figure = drawn(figures.gradcam(photos, predictions, np.zeros((count, 2, 5, 5))))
    assert len(shown(figure)) == 3 * count


def test_filters_are_scaled_around_grey_and_sorted() -> None:
    weights = np.zeros((3, 3, 5, 5))
    weights[0, 0, 2, 1] = 0.1  # a little red
    weights[1, 2, 0, 3] = -2  # much against blue
    tiles = [pixels(axes.images[0]) for axes in shown(figures.filters(weights))]
    assert tiles[0][0, 3].tolist() == [0.5, 0.5, 0]
    assert tiles[1][2, 1].tolist() == [1, 0.5, 0.5]
    assert (tiles[2] == 0.5).all()
    assert all(tile.shape == (5, 5, 3) for tile in tiles)


@pytest.mark.parametrize("num_filters", [1, 13])
def test_every_filter_is_shown(num_filters: int) -> None:
    weights = RANDOM.normal(size=(num_filters, 3, 3, 3)).astype(np.float32)
    figure = drawn(figures.filters(weights))
    assert len(shown(figure)) == num_filters
    assert f"The {num_filters} filters" in figure.get_suptitle()

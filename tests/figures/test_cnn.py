"""Pictures of photographs and of a network's inside: what is shown, in which order, with what."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from experiments.figures import cnn as figures
from experiments.figures import style

NAMES = ("cats", "dogs")
TIMES = "\N{MULTIPLICATION SIGN}"
RANDOM = np.random.default_rng(0)


def drawn(figure: Figure) -> Figure:
    """Draw a figure, which is when matplotlib warns, and check that it fits the pane."""
    assert style.to_image(style.Canvas(figure)).width <= 830
    return figure


def shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images and axes.axison]


def pixels(image: AxesImage) -> np.ndarray:
    return np.asarray(image.get_array())


def captions(figure: Figure) -> list[str]:
    return [axes.get_xlabel() for axes in shown(figure)]


def judged(dog_probabilities: list[float], labels: list[int], size: int = 16) -> figures.Judged:
    """Make photographs of one grey each: the shade tells which one it is."""
    shades = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    photos = np.broadcast_to(shades, (len(labels), size, size, 3))
    dogs = np.array(dog_probabilities, dtype=np.float32)
    return figures.Judged(photos, np.array(labels), np.stack([1 - dogs, dogs], axis=1), NAMES)


def which(figure: Figure) -> list[int]:
    return [int(pixels(axes.images[0])[0, 0, 0]) for axes in shown(figure)]


def test_the_surest_mistakes_come_first_and_right_answers_not_at_all() -> None:
    answers = judged([0.6, 0.98, 0.02, 0.3, 0.999], [0, 0, 0, 1, 0])
    figure = figures.mistakes(answers)
    assert which(figure) == [4, 1, 3, 0]
    assert captions(figure) == [
        "cats,\nsaid dogs > 0.99",
        "cats,\nsaid dogs 0.98",
        "dogs,\nsaid cats 0.70",
        "cats,\nsaid dogs 0.60",
    ]
    assert figure.get_suptitle().startswith("4 of 4 mistakes among 5 photographs")


def test_no_more_mistakes_are_shown_than_asked_for() -> None:
    figure = figures.mistakes(judged([0.9] * 30, [0] * 30), count=8)
    assert which(figure) == list(range(8))
    assert figure.get_suptitle().startswith("8 of 30 mistakes")


def test_no_mistakes_make_a_figure_that_says_so() -> None:
    figure = drawn(figures.mistakes(judged([0.1, 0.9], [0, 1])))
    assert not shown(figure)
    assert figure.axes[0].texts[0].get_text() == "No mistakes among 2 photographs"


def test_the_least_certain_come_first_and_only_mistakes_are_framed() -> None:
    figure = figures.uncertain(judged([0.9, 0.45, 0.52, 0.1], [0, 0, 0, 0]), count=3)
    assert which(figure) == [2, 1, 0]
    assert captions(figure)[1] == "cats,\nsaid cats 0.55"
    frames = [axes.spines["left"].get_visible() for axes in shown(figure)]
    assert frames == [True, False, True]


def test_training_targets_are_named_and_mixtures_have_their_shares() -> None:
    targets = np.array([[1, 0, 0], [0, 0, 1], [0.71, 0.29, 0], [0.998, 0.002, 0]])
    photos = RANDOM.integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    figure = figures.augmented_batch(photos, targets, ("cats", "dogs", "owls"))
    assert captions(figure) == ["cats", "owls", "0.71 cats +\n0.29 dogs", "cats"]
    assert (pixels(shown(figure)[2].images[0]) == photos[2]).all()


@pytest.mark.parametrize("count", [0, 2, 7])
def test_captions_do_not_overlap(count: int) -> None:
    photos = np.zeros((count, 16, 16, 3), dtype=np.uint8)
    figure = figures.photographs(photos, ["dogs,\nsaid cats > 0.99"] * count, "Title")
    assert len(shown(figure)) == count
    renderer = style.Canvas(figure).get_renderer()
    boxes = [box for axes in shown(figure) if (box := axes.get_tightbbox(renderer))]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_strongest_channels_of_each_layer_are_shown_in_order() -> None:
    maps = np.zeros((4, 3, 3))
    maps[:, 1, 1] = [1, -9, 4, 2]  # its size counts, not its sign
    photo = np.zeros((16, 16, 3), dtype=np.uint8)
    layers = [("stem", maps), ("first block", maps[:2]), ("last", maps[:1, :1, :1])]
    figure = drawn(figures.activations(photo, layers, channels=3))
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


def test_an_overlay_is_hottest_where_the_evidence_is() -> None:
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


def test_evidence_is_shown_for_what_was_said_and_for_what_else_it_could_be() -> None:
    """Of a mistake the actual class, otherwise the second most probable one; also when they tie."""
    probabilities = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.4, 0.4, 0.2]])
    photos = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    answers = figures.Judged(photos, np.array([1, 0, 0]), probabilities, ("cats", "dogs", "owls"))
    heatmaps = np.zeros((3, 3, 2, 2))
    heatmaps[:, 0, 0, 0] = heatmaps[:, 1, 0, 1] = heatmaps[:, 2, 1, 0] = 1
    corner = {"cats": (0, 0), "dogs": (0, -1), "owls": (-1, 0)}
    figure = figures.gradcam(answers, heatmaps)
    assert captions(figure) == [
        *("dogs,\nsaid dogs 0.70", "for dogs", "for owls"),
        *("cats,\nsaid dogs 0.70", "for dogs", "for cats"),
        *("cats,\nsaid cats 0.40", "for cats", "for dogs"),
    ]
    for axes in shown(figure):
        caption = axes.get_xlabel()
        if caption.startswith("for "):
            heat = pixels(axes.images[0]).sum(2, dtype=int)
            assert heat[corner[caption.removeprefix("for ")]] == heat.max()
    framed = [axes.spines["left"].get_visible() for axes in shown(figure)]
    assert framed == [False] * 3 + [True] + [False] * 5


@pytest.mark.parametrize("count", [0, 1])
def test_evidence_of_few_photographs(count: int) -> None:
    answers = judged([0.9] * count, [1] * count)
    figure = drawn(figures.gradcam(answers, np.zeros((count, 2, 5, 5))))
    assert len(shown(figure)) == 3 * count


def test_filters_are_stretched_around_grey_and_sorted() -> None:
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

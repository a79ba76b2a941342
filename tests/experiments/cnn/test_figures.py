"""Figures of photographs and of the inside of a network: what is drawn, and in which order."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.stats import spearmanr
from torch import nn

from datasets.photographs import Photographs
from experiments.cnn import attributions, figures
from experiments.cnn.attributions import explanations, rank_correlation
from harness.evaluation import Predictions
from harness.figures import style
from models.cnn import ImageClassifier, ResidualCNN
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


METHODS = ("Grad-CAM", "occlusion", "integrated gradients")
METHODS_IN_LINES = ("Grad-CAM", "occlusion", "integrated\ngradients")


@pytest.mark.parametrize("count", [0, 1, 12])
def test_what_speaks_for_the_class_is_drawn_beside_each_photograph(count: int) -> None:
    """Brightest where a map is largest; what speaks against the class stays as dark as nothing."""
    photos, predictions = classified([0.9] * count, [1, 0] * (count // 2) + [1] * (count % 2))
    maps = {name: np.zeros((count, 4, 4)) for name in METHODS}
    for number, of_method in enumerate(maps.values()):
        of_method[:, number, 0] = 5 + number
        of_method[:, 3, 3] = -9
    figure = figures.attributions(photos, predictions, maps, dict.fromkeys(METHODS, 0.123))
    drawn(figure)
    assert len(shown(figure)) == 4 * count
    for index in range(count):
        _, *overlays = [pixels(axes.images[0]) for axes in shown(figure)[4 * index : 4 * index + 4]]
        for number, overlay in enumerate(overlays):
            heat = overlay.sum(2, dtype=int)
            row, column = np.unravel_index(heat.argmax(), heat.shape)
            assert (row // 4, column // 4) == (number, 0)
            assert heat[15, 15] == heat.min()
    if count:
        assert captions(figure)[:4] == ["dogs, predicted\ndogs 0.90", *METHODS_IN_LINES]
        assert "Grad-CAM 0.12, occlusion 0.12" in figure.get_suptitle()
        framed = [axes.spines["left"].get_visible() for axes in shown(figure)[::4]]
        assert framed == (~predictions.correct).tolist()


def test_rank_correlation_is_the_mean_of_spearmans() -> None:
    first, second = RANDOM.normal(size=(2, 2, 5, 4)).round(1)  # with ties
    expected = [
        spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)
    ]
    assert rank_correlation(first, second) == pytest.approx(np.mean(expected))
    assert rank_correlation(first, np.exp(first)) == pytest.approx(1)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert rank_correlation(first, np.zeros_like(first)) == 0


def test_random_weights_change_every_map_of_a_network() -> None:
    """A bright spot is what the network was made for; random weights have other preferences."""
    torch.manual_seed(0)
    network = ResidualCNN(width=4, depth=1, num_stages=2, dropout_rate=0.0, num_classes=2).eval()
    images = torch.rand(4, 3, 32, 32)
    maps, correlations = explanations(network, images, np.array([0, 1, 0, 1]))
    assert tuple(maps) == tuple(correlations) == METHODS
    assert {name: each.shape[0] for name, each in maps.items()} == dict.fromkeys(METHODS, 4)
    assert maps["occlusion"].shape == (4, 32, 32)
    assert maps["integrated gradients"].shape == (4, 16, 16)
    assert all(abs(value) < 0.7 for value in correlations.values())


def test_a_method_that_ignores_the_weights_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that draws edges of the photograph, say, has the same map for any network."""
    monkeypatch.setattr(attributions, "occlusion", lambda _, images, *__, **___: images.sum(1))
    network = ResidualCNN(width=4, depth=1, num_stages=2, dropout_rate=0.0, num_classes=2).eval()
    _, correlations = explanations(network, torch.rand(2, 3, 16, 16), np.array([0, 1]))
    assert correlations["occlusion"] == pytest.approx(1)


def test_the_nearest_training_photographs_stand_beside_a_mistake_in_their_order() -> None:
    photos, predictions = classified([0.9, 0.2], [0, 1])
    shades = torch.arange(100, 107, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    training = Photographs(shades, torch.tensor([0, 1, 0, 1, 0, 1, 1]), ("",) * 7)
    nearest = np.array([[3, 0, 6], [2, 1, 5]])
    figure = figures.nearest_training_photographs(photos, predictions, training, nearest)
    drawn(figure)
    assert which(figure) == [0, 103, 100, 106, 1, 102, 101, 105]
    assert captions(figure) == [
        *("cats, predicted\ndogs 0.90", "dogs", "cats", "dogs"),
        *("dogs, predicted\ncats 0.80", "cats", "dogs", "dogs"),
    ]
    framed = [axes.spines["left"].get_visible() for axes in shown(figure)]
    assert framed == [True, False, False, False] * 2
    assert "the nearest 3 of 7 for training" in figure.get_suptitle()


class Colours(ImageClassifier):
    """Its features are the mean red, green and blue."""

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(3, 3, 1)], nn.Identity(), 3, 2)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        unused: torch.Tensor = self.stages(images).mean((2, 3))
        return unused * 0 + images.mean((2, 3))


def test_the_nearest_are_those_of_most_similar_features() -> None:
    """By the angle between mean colours, whatever the brightness: against a plain computation."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(1, 255, (23, 3, 1, 1), generator=generator, dtype=torch.uint8)
    images = colours.expand(-1, 3, 16, 16)
    names = tuple(map(str, range(23)))
    test = Photographs(images[:3], torch.arange(3) % 2, names[:3])
    training = Photographs(images[3:], torch.arange(20) % 2, names[3:])
    labels = np.arange(3) % 2
    probabilities = np.stack([labels, 1 - labels], axis=1) * 0.8 + 0.1  # all of them wrong
    predictions = Predictions(labels, probabilities, CLASSES)
    drawn_figures = dict(figures.inspect(Colours().eval(), test, predictions, training))
    found = which(drawn_figures["nearest_training_photographs"])
    flat = colours.flatten(1).double()
    unit = flat / flat.norm(dim=1, keepdim=True)
    for row, mistake in enumerate(predictions.most_confident(correct=False, count=6)):
        order = (unit[3:] @ unit[mistake]).argsort(descending=True)[:5]
        reds = [int(flat[mistake, 0]), *flat[3:][order][:, 0].int().tolist()]
        assert found[6 * row : 6 * row + 6] == reds
    assert {"gradcam", "attributions", "features"} <= set(drawn_figures)


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

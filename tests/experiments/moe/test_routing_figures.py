"""Pictures of the routing: they fit, and draw the numbers that they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.moe import figures, routing_figures
from tests.harness.figures.layout import drawn

RANDOM = np.random.default_rng(0)


def heights(figure: Figure, at_end: int) -> list[float]:
    """Return the heights of the bands of a flow at its left (0) or right (-1) end."""
    found = []
    for band in figure.axes[0].collections:
        x, y = np.asarray(band.get_paths()[0].vertices).T
        ends = y[np.isclose(x, (0, 1)[at_end])]
        found.append(float(np.ptp(ends)))
    return found


@pytest.mark.parametrize(("num_classes", "num_experts"), [(2, 1), (3, 4), (10, 20)])
def test_bands_are_as_high_as_there_are_points(num_classes: int, num_experts: int) -> None:
    labels, assigned = RANDOM.integers(num_classes, size=90), RANDOM.integers(num_experts, size=90)
    names = [f"a class with quite a long name {c}" for c in range(num_classes)]
    figure = routing_figures.class_to_expert(assigned, labels, names, num_experts, bits=0.5)
    drawn(figure)
    expected = [
        int(((labels == c) & (assigned == k)).sum())
        for c in range(num_classes)
        for k in range(num_experts)
    ]
    for end in (0, -1):
        np.testing.assert_allclose(heights(figure, end), expected, atol=1e-9)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert f"expert 1 ({(assigned == 0).sum()})" in texts
    assert "mutual information 0.50 of" in figure.axes[0].get_title()


@pytest.mark.parametrize("num_experts", [1, 3, 8, 20])
def test_images_are_the_means_of_their_experts(num_experts: int) -> None:
    images, labels = RANDOM.uniform(size=(60, 8, 8)), RANDOM.integers(10, size=60)
    assigned = RANDOM.integers(max(num_experts - 1, 1), size=60)  # the last one may have none
    figure = routing_figures.mean_images(images, assigned, labels, num_experts)
    drawn(figure)
    if num_experts > routing_figures.MAX_IMAGES:
        return
    for k, axes in zip(range(num_experts), figure.axes, strict=False):
        if (assigned == k).any():
            drawn_image = np.asarray(axes.images[0].get_array())
            np.testing.assert_allclose(drawn_image, images[assigned == k].mean(0))
        else:
            assert "no image" in axes.get_title()


@pytest.mark.parametrize(("num_epochs", "num_experts"), [(1, 2), (6, 8), (30, 40)])
def test_shares_are_stacked_up_to_one(num_epochs: int, num_experts: int) -> None:
    share = RANDOM.dirichlet(np.ones(num_experts), size=num_epochs)
    figure = routing_figures.usage_over_epochs(share, best_epoch=num_epochs)
    drawn(figure)
    bands = figure.axes[0].collections
    assert len(bands) == num_experts
    tops = [np.asarray(band.get_paths()[0].vertices)[:, 1].max() for band in bands]
    np.testing.assert_allclose(tops, share.cumsum(1).max(0))


def test_the_entropy_has_the_scale_of_all_experts() -> None:
    points = RANDOM.normal(size=(50, 2)).astype(np.float32)
    plane = figures.Plane.around(points, resolution=11)
    truth = (plane.finer().points[:, 0] > 0).astype(np.float32)
    scene = figures.Scene(plane, truth, points, (points[:, 0] > 0).astype(np.float32))
    entropy = np.full(len(plane.points), 0.5)
    figure = routing_figures.gate_entropy(scene, entropy, num_experts=4)
    drawn(figure)
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(image.get_clim(), (0, np.log(4)))
    np.testing.assert_array_equal(image.get_array(), 0.5)

"""Occlusion and integrated gradients of functions whose answer is known, and of networks."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from models.cnn import PlainCNN, ResidualCNN
from models.inspection.attribution import (
    integrated_gradients,
    mean_colour,
    occlusion,
    randomised,
)

CLASSES = torch.tensor([1, 0, 1])


class Weighted(nn.Module):
    """Class 0 has the logit sum(weights * images), class 1 the logit -sum((weights * images)^2)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(3, size, size, generator=generator))
        self.batch_sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batch_sizes.append(len(images))
        products = self.weights * images
        return torch.stack([products.sum((1, 2, 3)), -products.square().sum((1, 2, 3))], dim=1)


def network(kind: type[ResidualCNN] | type[PlainCNN] = ResidualCNN) -> ResidualCNN | PlainCNN:
    torch.manual_seed(0)
    model = kind(width=4, depth=1, num_stages=2, dropout_rate=0.5, num_classes=2)
    for _ in range(20):  # batch norms with statistics of their own
        model(torch.rand(8, 3, 24, 24))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.train()


def test_mean_colour_is_one_colour_with_the_mean_of_the_image() -> None:
    images = torch.rand(2, 3, 4, 5)
    colours = mean_colour(images)
    assert colours.shape == images.shape
    torch.testing.assert_close(colours.mean((2, 3)), images.mean((2, 3)))
    assert (colours.flatten(2).std(-1) < 1e-6).all()


@pytest.mark.parametrize(("size", "side"), [(8, 4), (9, 4), (7, 3), (4, 8)])
def test_occlusion_is_the_mean_fall_over_the_squares_that_cover_a_pixel(
    size: int, side: int
) -> None:
    """Against a loop over places, images and pixels."""
    model, images = Weighted(size), torch.rand(3, 3, size, size)
    baselines = torch.rand_like(images)
    found = occlusion(model, images, CLASSES, baselines, side=side, batch_size=7)
    assert max(model.batch_sizes) == 7
    for image, baseline, label, heat in zip(images, baselines, CLASSES, found, strict=True):
        falls: dict[tuple[int, int], list[float]] = {}
        for top in range(-(side // 2), size, side // 2):
            for left in range(-(side // 2), size, side // 2):
                inside = np.s_[max(0, top) : top + side, max(0, left) : left + side]
                covered = image.clone()
                covered[:, *inside] = baseline[:, *inside]
                both = model(torch.stack([image, covered]))[:, label]
                for pixel in np.argwhere(np.ones((size, size), dtype=bool)[inside]):
                    place = (int(pixel[0]) + max(0, top), int(pixel[1]) + max(0, left))
                    falls.setdefault(place, []).append((both[0] - both[1]).item())
        expected = [[np.mean(falls[y, x]) for x in range(size)] for y in range(size)]
        torch.testing.assert_close(heat, torch.tensor(expected).float(), rtol=1e-3, atol=1e-4)


def test_integrated_gradients_of_sums_and_squares() -> None:
    """What each pixel adds is known: to a sum its term's change, to a sum of squares likewise."""
    model, images = Weighted(5), torch.rand(3, 3, 5, 5)
    baselines = torch.rand_like(images)
    found = integrated_gradients(model, images, CLASSES, baselines, steps=3)
    before, after = (model.weights * each for each in (baselines, images))
    expected = torch.where(
        (CLASSES == 0).view(-1, 1, 1, 1), after - before, before.square() - after.square()
    )
    torch.testing.assert_close(found, expected.sum(1).detach())


@pytest.mark.parametrize("kind", [ResidualCNN, PlainCNN])
def test_integrated_gradients_are_complete(kind: type[ResidualCNN] | type[PlainCNN]) -> None:
    """They sum up to the difference of the logits (Sundararajan et al. 2017, proposition 1)."""
    model, images = network(kind), torch.rand(3, 3, 24, 24)
    baselines = mean_colour(images)
    model.eval()
    with torch.no_grad():
        gained = (model(images) - model(baselines)).gather(1, CLASSES.unsqueeze(1)).squeeze(1)
    errors = [
        (integrated_gradients(model, images, CLASSES, baselines, steps=steps).sum((1, 2)) - gained)
        .abs()
        .max()
        for steps in (1, 200)
    ]
    assert errors[1] < 0.01 * gained.abs().max()
    assert errors[1] < errors[0], "more steps are more exact"


def test_the_explained_network_stays_unchanged() -> None:
    model, images = network(), torch.rand(3, 3, 24, 24)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    occlusion(model, images, CLASSES, mean_colour(images), side=12, batch_size=10)
    integrated_gradients(model, images, CLASSES, mean_colour(images), steps=2)
    randomised(model, images, seed=0)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert drawn == torch.rand(1), "the random numbers of others are left alone"
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_randomised_weights_are_new_and_repeatable_and_change_every_map() -> None:
    model, images = network(), torch.rand(3, 3, 24, 24)
    fresh, again, other = (randomised(model, images, seed) for seed in (1, 1, 2))
    convolutions = [
        [m.weight for m in each.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for each in (model, fresh, again, other)
    ]
    for trained, first, second, third in zip(*convolutions, strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, third)
        assert not torch.equal(first, trained)
    assert not any(module.training for module in fresh.modules())
    with torch.no_grad():  # healthy, at any depth: its last stage has the scale of a batch norm
        assert 0.1 < fresh.stages(fresh.normalize(images)).std() < 10
    baselines = mean_colour(images)
    for heat, heat_of_fresh in (
        [integrated_gradients(m, images, CLASSES, baselines, steps=8) for m in (model, fresh)],
        [occlusion(m, images, CLASSES, baselines, side=6, batch_size=100) for m in (model, fresh)],
    ):
        for one, two in zip(heat, heat_of_fresh, strict=True):
            assert abs(spearmanr(one.flatten(), two.flatten()).statistic) < 0.7

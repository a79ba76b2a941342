"""Augmentation of whole batches against the same change of one image after the other."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as reference
from torch import Tensor
from torchvision.transforms import v2

from datasets.augmentation import (
    Augmentation,
    Mixing,
    MixUp,
    blur,
    color_jitter,
    erase_,
    to_float,
    warp,
)

CPU = torch.device("cpu")


def augmentation(**changed: Any) -> Augmentation:
    """Return an augmentation that changes nothing but what is given."""
    neutral: dict[str, Any] = {
        "output_size": 24,
        "flip_probability": 0.0,
        "crop_min_area": 1.0,
        "crop_max_aspect_ratio": 1.0,
        "rotation_degrees": 0.0,
        "color_jitter": 0.0,
        "blur_sigma": 0.0,
        "erasing_probability": 0.0,
    }
    return Augmentation(**neutral | changed)


def photographs(count: int = 6, size: int = 24) -> Tensor:
    """Smooth random pictures in [0.2, 0.7], so that no colour is clipped, (B, 3, H, W)."""
    torch.manual_seed(3)
    coarse = torch.rand(count, 3, 5, 5)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return smooth.clamp(0, 1) * 0.5 + 0.2


def as_bytes(images: Tensor) -> Tensor:
    return (255 * images).round().byte()


def affine_map(angle: float = 0.0, width: float = 1.0, height: float = 1.0) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[[width * cosine, -height * sine, 0], [width * sine, height * cosine, 0]]])


def test_with_neutral_values_it_only_converts() -> None:
    images = as_bytes(photographs())
    torch.testing.assert_close(augmentation()(images), images.float() / 255)
    torch.testing.assert_close(to_float(images), images.float() / 255)


def test_flipping_mirrors_whole_photographs_about_half_of_the_time() -> None:
    images = as_bytes(photographs(1)).repeat(400, 1, 1, 1)
    torch.manual_seed(0)
    flipped = augmentation(flip_probability=0.5)(images)
    plain, mirrored = to_float(images[:1]), to_float(images[:1]).flip(-1)
    is_plain = (flipped - plain).abs().amax((1, 2, 3)) < 1e-5
    is_mirrored = (flipped - mirrored).abs().amax((1, 2, 3)) < 1e-5
    assert (is_plain ^ is_mirrored).all()
    assert 150 < is_mirrored.sum() < 250


@pytest.mark.parametrize("degrees", [-35.0, 10.0])
def test_a_rotation_is_torchvisions(degrees: float) -> None:
    images = photographs()
    turned = warp(
        images, affine_map(math.radians(degrees)).repeat(len(images), 1, 1), images.shape[2:]
    )
    # torchvision rotates counter-clockwise, with y pointing up.
    expected = torch.stack(
        [reference.rotate(image, degrees, reference.InterpolationMode.BILINEAR) for image in images]
    )
    middle = (..., slice(8, 16), slice(8, 16))  # the corners come from outside the image
    torch.testing.assert_close(turned[middle], expected[middle], rtol=0, atol=1e-4)


def test_a_crop_is_torchvisions() -> None:
    images = photographs()
    half = warp(
        images, affine_map(width=0.5, height=0.5).repeat(len(images), 1, 1), images.shape[2:]
    )
    expected = torch.stack(
        [reference.resized_crop(image, 6, 6, 12, 12, [24, 24], antialias=False) for image in images]
    )
    inner = (
        ...,
        slice(2, -2),
        slice(2, -2),
    )  # torchvision does not interpolate across the edge of the crop
    torch.testing.assert_close(half[inner], expected[inner], rtol=0, atol=1e-5)


def test_smaller_outputs_show_the_same() -> None:
    """At half the size each pixel is the mean of four."""
    images = as_bytes(photographs())
    outputs = augmentation(output_size=12)(images)
    expected = torch.nn.functional.avg_pool2d(images.float() / 255, 2)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)


def test_crops_stay_inside_and_keep_as_much_as_they_should() -> None:
    torch.manual_seed(0)
    maps = augmentation(crop_min_area=0.4, crop_max_aspect_ratio=math.exp(0.5)).random_affine_maps(
        2000, CPU
    )
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    x, y = maps[:, 0, 2], maps[:, 1, 2]
    assert (x.abs() + width <= 1 + 1e-6).all()
    assert (y.abs() + height <= 1 + 1e-6).all()
    assert (width / height).log().abs().max() <= 0.5 + 1e-5
    areas = width * height
    assert 0.4 <= areas.min() < 0.42
    assert areas.max() > 0.97


def test_outside_its_edges_the_image_is_reflected() -> None:
    """Shifted by half a width: the former right half, followed by its reflection."""
    image = photographs(1, size=8)
    moved = warp(image, affine_map() + torch.tensor([[[0, 0, 1.0], [0, 0, 0]]]), image.shape[2:])
    right_half = image[..., 4:]
    torch.testing.assert_close(moved, torch.cat([right_half, right_half.flip(-1)], dim=-1))


def test_colours_change_as_torchvision_changes_them_one_by_one() -> None:
    images = photographs()
    brightness, contrast, saturation = torch.rand(3, len(images)) * 0.6 + 0.7
    expected = []
    for image, b, c, s in zip(images, brightness, contrast, saturation, strict=True):
        image = reference.adjust_brightness(image, b.item())
        image = reference.adjust_contrast(image, c.item())
        expected.append(reference.adjust_saturation(image, s.item()))
    changed = color_jitter(images, brightness, contrast, saturation)
    torch.testing.assert_close(changed, torch.stack(expected), rtol=0, atol=1e-5)


def test_color_jitter_stays_between_0_and_1() -> None:
    extreme = color_jitter(torch.rand(3, 3, 4, 4), *torch.full((3, 3), 4.0))
    assert extreme.min() >= 0
    assert extreme.max() <= 1


def test_each_photograph_is_blurred_by_its_own_gaussian() -> None:
    images, sigma = photographs(4), torch.tensor([0.1, 0.5, 1.0, 1.5])
    expected = torch.stack(
        [
            reference.gaussian_blur(x, [11, 11], [s])
            for x, s in zip(images, sigma.tolist(), strict=True)
        ]
    )
    inner = (..., slice(5, -5), slice(5, -5))  # at the edges torchvision reflects the image
    torch.testing.assert_close(blur(images, sigma, 1.6)[inner], expected[inner], rtol=0, atol=1e-4)


def test_a_blurred_wall_is_as_bright_at_its_edge() -> None:
    wall = torch.full((2, 3, 9, 12), 0.7)
    torch.testing.assert_close(blur(wall, torch.tensor([0.5, 2.0]), 2.0), wall)


def test_no_blur_leaves_a_photograph_as_it_is() -> None:
    images = photographs(2)
    torch.testing.assert_close(blur(images, torch.zeros(2), 1.0), images)


def test_exactly_the_pixels_of_a_rectangle_become_the_mean_colour() -> None:
    images = photographs(2, size=8)
    rectangles = torch.tensor([[0.25, 0.0, 0.75, 0.5], [0.0, 0.0, 0.0, 0.0]])
    erased = erase_(images.clone(), rectangles)
    expected = images.clone()
    expected[0, :, :4, 2:6] = images[0].mean((1, 2)).view(3, 1, 1)
    torch.testing.assert_close(erased, expected)


def test_rectangles_are_as_frequent_and_as_large_as_they_should_be() -> None:
    torch.manual_seed(0)
    left, top, right, bottom = augmentation(erasing_probability=0.3).random_rectangles(4000, CPU).T
    areas = (right - left) * (bottom - top)
    erased = areas > 0
    assert erased.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert areas[erased].min() >= 0.02 - 1e-6
    assert areas.max() <= 0.33 + 1e-6
    assert left.min() >= 0
    assert top.min() >= 0
    shapes = ((right - left) / (bottom - top))[erased].log().abs()
    assert shapes.max() <= -math.log(0.3) + 1e-4


def test_images_of_a_batch_are_changed_independently_and_reproducibly() -> None:
    images = as_bytes(photographs(1)).repeat(16, 1, 1, 1)
    augment = augmentation(crop_min_area=0.5, rotation_degrees=20, color_jitter=0.3, blur_sigma=1.0)
    torch.manual_seed(1)
    first = augment(images)
    assert len({tuple(np.round(image.flatten()[:40].tolist(), 6)) for image in first}) == 16
    torch.manual_seed(1)
    assert torch.equal(first, augment(images))


def test_one_pass_is_as_good_as_step_by_step_with_torchvision() -> None:
    """Each image by itself in float64: resampled, recoloured and erased, one after the other."""
    images = as_bytes(photographs(8))
    strengths = {"flip_probability": 0.5, "crop_min_area": 0.3, "crop_max_aspect_ratio": 1.2}
    augment = augmentation(
        output_size=20, rotation_degrees=10, color_jitter=0.2, erasing_probability=0.5, **strengths
    )
    torch.manual_seed(4)
    views = augment(images)
    torch.manual_seed(4)
    maps = augment.random_affine_maps(8, CPU)
    factors = 0.8 + 0.4 * torch.rand(3, 8)
    rectangles = (20 * augment.random_rectangles(8, CPU)).add(0.5).floor().int()
    for view, image, theta, (b, c, s), (left, top, right, bottom) in zip(
        views, images, maps.double(), factors.T.tolist(), rectangles.tolist(), strict=True
    ):
        grid = F.affine_grid(theta[None], [1, 3, 20, 20], align_corners=False)
        expected = F.grid_sample(
            image[None].double() / 255, grid, padding_mode="reflection", align_corners=False
        )[0]
        expected = reference.adjust_brightness(expected, b)
        expected = reference.adjust_contrast(expected, c)
        expected = reference.adjust_saturation(expected, s)
        area = (top, left, bottom - top, right - left)
        expected = reference.erase(expected, *area, expected.mean((1, 2)).view(3, 1, 1))
        torch.testing.assert_close(view.double(), expected, rtol=0, atol=1e-5)


def test_mixup_is_torchvisions() -> None:
    images, labels = torch.rand(5, 3, 8, 8), torch.tensor([0, 1, 1, 0, 1])
    torch.manual_seed(7)
    expected = v2.MixUp(alpha=0.4, num_classes=2)(images, labels)
    torch.manual_seed(7)
    mixed = MixUp(alpha=0.4, num_classes=2)(images, labels)
    torch.testing.assert_close(mixed, expected)


def test_mixup_mixes_labels_as_it_mixes_photographs() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 4, 4).clone()
    labels = torch.arange(8) % 2
    torch.manual_seed(0)
    mixed, probabilities = Mixing(1.0, 0.0, num_classes=2)(images, labels)
    # Neighbours differ by one, so that the value shows the weight of the neighbour.
    part = images[1:, 0, 0, 0] - mixed[1:, 0, 0, 0]
    torch.testing.assert_close(part, part[:1].expand(7))
    own = probabilities[torch.arange(8), labels][1:]
    torch.testing.assert_close(own, 1 - part)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(8))


def test_cutmix_mixes_labels_by_area() -> None:
    images = torch.zeros(4, 3, 10, 10)
    images[::2] = 1.0
    labels = torch.tensor([1, 0, 1, 0])
    torch.manual_seed(2)
    mixed, probabilities = Mixing(0.0, 1.0, num_classes=2)(images, labels)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), probabilities[:, 1])
    assert set(mixed.unique().tolist()) <= {0.0, 1.0}


def test_both_take_turns_and_none_leaves_everything_as_it_is() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    both = Mixing(0.5, 0.5, num_classes=2)
    kinds = {bool(torch.isin(both(images, labels)[0], images).all()) for _ in range(30)}
    assert kinds == {True, False}, "CutMix keeps every value, mixup makes new ones"
    same, probabilities = Mixing(0.0, 0.0, num_classes=2)(images, labels)
    assert torch.equal(same, images)
    assert probabilities.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]

"""Whole batches against the same change made to one photograph after the other."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from datasets.augmentation import Augmentation, Mixing, as_float, blur, erase, recolour, warp

CPU = torch.device("cpu")


def photographs(count: int = 6, size: int = 24) -> Tensor:
    """Smooth random pictures in [0.2, 0.7], so that no colour is clipped, (B, 3, H, W)."""
    torch.manual_seed(3)
    coarse = torch.rand(count, 3, 5, 5)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return smooth.clamp(0, 1) * 0.5 + 0.2


def as_bytes(images: Tensor) -> Tensor:
    return (255 * images).round().byte()


def view(angle: float = 0.0, width: float = 1.0, height: float = 1.0) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[[width * cosine, -height * sine, 0], [width * sine, height * cosine, 0]]])


def test_without_strength_it_only_converts() -> None:
    images = as_bytes(photographs())
    torch.testing.assert_close(Augmentation()(images), images.float() / 255)
    torch.testing.assert_close(as_float(images), images.float() / 255)


def test_flipping_mirrors_whole_photographs_about_half_of_the_time() -> None:
    images = as_bytes(photographs(1)).repeat(400, 1, 1, 1)
    torch.manual_seed(0)
    flipped = Augmentation(flip_probability=0.5)(images)
    plain, mirrored = as_float(images[:1]), as_float(images[:1]).flip(-1)
    is_plain = (flipped - plain).abs().amax((1, 2, 3)) < 1e-5
    is_mirrored = (flipped - mirrored).abs().amax((1, 2, 3)) < 1e-5
    assert (is_plain ^ is_mirrored).all()
    assert 150 < is_mirrored.sum() < 250


@pytest.mark.parametrize("degrees", [-35.0, 10.0])
def test_a_rotation_is_torchvisions(degrees: float) -> None:
    images = photographs()
    turned = warp(images, view(math.radians(degrees)).repeat(len(images), 1, 1), images.shape[2:])
    # torchvision turns counter-clockwise, as pictures are looked at with y upwards.
    expected = torch.stack(
        [reference.rotate(image, degrees, reference.InterpolationMode.BILINEAR) for image in images]
    )
    middle = (..., slice(8, 16), slice(8, 16))  # the corners come from beyond the edge
    torch.testing.assert_close(turned[middle], expected[middle], rtol=0, atol=1e-4)


def test_a_crop_is_torchvisions() -> None:
    images = photographs()
    half = warp(images, view(width=0.5, height=0.5).repeat(len(images), 1, 1), images.shape[2:])
    expected = torch.stack(
        [reference.resized_crop(image, 6, 6, 12, 12, [24, 24], antialias=False) for image in images]
    )
    inner = (..., slice(2, -2), slice(2, -2))  # at its rim torchvision sees nothing beyond the crop
    torch.testing.assert_close(half[inner], expected[inner], rtol=0, atol=1e-5)


def test_smaller_views_show_the_same() -> None:
    """Half the size of an even photograph: each pixel is the mean of four."""
    images = as_bytes(photographs())
    views = Augmentation(view_size=12)(images)
    expected = torch.nn.functional.avg_pool2d(images.float() / 255, 2)
    torch.testing.assert_close(views, expected, rtol=0, atol=1e-5)


def test_crops_stay_inside_and_keep_as_much_as_they_should() -> None:
    torch.manual_seed(0)
    views = Augmentation(crop=0.6, stretch=0.5).draw_views(2000, CPU)
    width, height = views[:, 0, 0], views[:, 1, 1]
    x, y = views[:, 0, 2], views[:, 1, 2]
    assert (x.abs() + width <= 1 + 1e-6).all()
    assert (y.abs() + height <= 1 + 1e-6).all()
    assert (width / height).log().abs().max() <= 0.5 + 1e-5
    areas = width * height
    assert 0.4 <= areas.min() < 0.42
    assert areas.max() > 0.97


def test_beyond_the_edge_lies_the_mirrored_photograph() -> None:
    """Half a width further right, the left half is what the right half was, then it comes back."""
    image = photographs(1, size=8)
    moved = warp(image, view() + torch.tensor([[[0, 0, 1.0], [0, 0, 0]]]), image.shape[2:])
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
    changed = recolour(images, brightness, contrast, saturation)
    torch.testing.assert_close(changed, torch.stack(expected), rtol=0, atol=1e-5)


def test_colours_stay_colours() -> None:
    extreme = recolour(torch.rand(3, 3, 4, 4), *torch.full((3, 3), 4.0))
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
    inner = (..., slice(5, -5), slice(5, -5))  # at the edge torchvision sees the mirror image
    torch.testing.assert_close(blur(images, sigma, 1.6)[inner], expected[inner], rtol=0, atol=1e-4)


def test_a_blurred_wall_is_as_bright_at_its_edge() -> None:
    wall = torch.full((2, 3, 9, 12), 0.7)
    torch.testing.assert_close(blur(wall, torch.tensor([0.5, 2.0]), 2.0), wall)


def test_no_blur_leaves_a_photograph_as_it_is() -> None:
    images = photographs(2)
    torch.testing.assert_close(blur(images, torch.zeros(2), 1.0), images)


def test_a_rectangle_hides_its_pixels_behind_the_mean_colour_and_no_others() -> None:
    images = photographs(2, size=8)
    rectangles = torch.tensor([[0.25, 0.0, 0.75, 0.5], [0.0, 0.0, 0.0, 0.0]])
    erased = erase(images, rectangles)
    expected = images.clone()
    expected[0, :, :4, 2:6] = images[0].mean((1, 2)).view(3, 1, 1)
    torch.testing.assert_close(erased, expected)


def test_rectangles_are_as_frequent_and_as_large_as_they_should_be() -> None:
    torch.manual_seed(0)
    left, top, right, bottom = Augmentation(erasing_probability=0.3).draw_rectangles(4000, CPU).T
    areas = (right - left) * (bottom - top)
    hidden = areas > 0
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert areas[hidden].min() >= 0.02 - 1e-6
    assert areas.max() <= 0.33 + 1e-6
    assert left.min() >= 0
    assert top.min() >= 0
    shapes = ((right - left) / (bottom - top))[hidden].log().abs()
    assert shapes.max() <= -math.log(0.3) + 1e-4


def test_photographs_of_a_batch_are_changed_independently_and_repeatably() -> None:
    images = as_bytes(photographs(1)).repeat(16, 1, 1, 1)
    augment = Augmentation(crop=0.5, rotation_degrees=20, colour=0.3, blur_sigma=1.0)
    torch.manual_seed(1)
    first = augment(images)
    assert len({tuple(np.round(image.flatten()[:40].tolist(), 6)) for image in first}) == 16
    torch.manual_seed(1)
    assert torch.equal(first, augment(images))


def test_mixup_mixes_labels_as_it_mixes_photographs() -> None:
    images = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 4, 4).clone()
    labels = torch.arange(8) % 2
    torch.manual_seed(0)
    mixed, shares = Mixing(1.0, 0.0, num_classes=2)(images, labels)
    # Neighbours differ by one: the part that the neighbour has shows in the value.
    part = images[1:, 0, 0, 0] - mixed[1:, 0, 0, 0]
    torch.testing.assert_close(part, part[:1].expand(7))
    own = shares[torch.arange(8), labels][1:]
    torch.testing.assert_close(own, 1 - part)
    torch.testing.assert_close(shares.sum(-1), torch.ones(8))


def test_cutmix_mixes_labels_by_area() -> None:
    images = torch.zeros(4, 3, 10, 10)
    images[::2] = 1.0
    labels = torch.tensor([1, 0, 1, 0])
    torch.manual_seed(2)
    mixed, shares = Mixing(0.0, 1.0, num_classes=2)(images, labels)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), shares[:, 1])
    assert set(mixed.unique().tolist()) <= {0.0, 1.0}


def test_both_take_turns_and_none_leaves_everything_as_it_is() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
    both = Mixing(0.5, 0.5, num_classes=2)
    kinds = {bool(torch.isin(both(images, labels)[0], images).all()) for _ in range(30)}
    assert kinds == {True, False}, "CutMix keeps every value, mixup makes new ones"
    same, shares = Mixing(0.0, 0.0, num_classes=2)(images, labels)
    assert torch.equal(same, images)
    assert shares.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]

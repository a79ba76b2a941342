"""Data augmentation of whole batches of images, on the batch's device.

Each image has random values of its own (only mixup and CutMix have one for the batch), without a
loop over images. Random numbers come from torch's global generators, so that a seed reproduces
them and training resumes with them.

Letters: B images, H x W pixels.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2


def to_float(images: Tensor) -> Tensor:
    """Convert images (B, 3, H, W) from uint8 to float32 in [0, 1], in channels_last layout."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of images, and their strengths.

    Args:
        output_size: width and height of the results, V, in pixels.
        flip_probability: of a horizontal flip.
        crop_min_area: smallest fraction of the area that a random crop keeps, in (0, 1]; 1 crops
            nothing. A crop that would be wider or higher than the image is cut off at its edge.
        crop_max_aspect_ratio: largest ratio of a crop's width to its height, and of its height to
            its width, at least 1; log-uniformly distributed. 1 keeps crops square.
        rotation_degrees: largest rotation in either direction.
        color_jitter: largest relative change of brightness, contrast and saturation, in [0, 1].
        blur_sigma: largest standard deviation of a Gaussian blur, in pixels.
        erasing_probability: of erasing a random rectangle (Zhong et al. 2020).

    """

    output_size: int
    flip_probability: float
    crop_min_area: float
    crop_max_aspect_ratio: float
    rotation_degrees: float
    color_jitter: float
    blur_sigma: float
    erasing_probability: float

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images (B, 3, H, W) uint8; return (B, 3, V, V) float32 in [0, 1]."""
        count, device = len(images), images.device
        maps = self.random_affine_maps(count, device)
        # In [0, 255] until colours change: the same matrix converts them to [0, 1].
        images = warp(images.to(torch.float32), maps, (self.output_size, self.output_size))
        if self.color_jitter > 0:
            low, high = 1 - self.color_jitter, 1 + self.color_jitter
            brightness, contrast, saturation = uniform(low, high, (3, count), device)
            images = color_jitter(images, brightness / 255, contrast, saturation)
        else:
            images = images.div_(255)
        if self.blur_sigma > 0:
            images = blur(images, uniform(0, self.blur_sigma, count, device), self.blur_sigma)
        if self.erasing_probability > 0:
            images = erase_(images, self.random_rectangles(count, device))
        return images

    def random_affine_maps(self, count: int, device: torch.device) -> Tensor:
        """Return random crops, flips and rotations as affine maps for `warp`, (B, 2, 3)."""
        side = uniform(self.crop_min_area, 1, count, device).sqrt()
        log_ratio = math.log(self.crop_max_aspect_ratio)
        root_ratio = uniform(-log_ratio, log_ratio, count, device).div(2).exp()
        width, height = (side * root_ratio).clamp(max=1), (side / root_ratio).clamp(max=1)
        mirror = torch.where(torch.rand(count, device=device) < self.flip_probability, -1.0, 1.0)
        largest = self.rotation_degrees
        angle = math.radians(1) * uniform(-largest, largest, count, device)
        cosine, sine = angle.cos(), angle.sin()
        x, y = uniform(-1, 1, (2, count), device)
        rows = [
            torch.stack([mirror * width * cosine, -height * sine, x * (1 - width)], dim=-1),
            torch.stack([mirror * width * sine, height * cosine, y * (1 - height)], dim=-1),
        ]
        return torch.stack(rows, dim=1)

    def random_rectangles(self, count: int, device: torch.device) -> Tensor:
        """Return random rectangles for `erase_`, (B, 4); an empty one where nothing is erased.

        Areas from 0.02 to 0.33 and aspect ratios up to 1 / 0.3, as Zhong et al. 2020 recommend.
        """
        side = uniform(0.02, 0.33, count, device).sqrt()
        root_ratio = uniform(math.log(0.3), -math.log(0.3), count, device).div(2).exp()
        is_erased = torch.rand(count, device=device) < self.erasing_probability
        width, height = side * root_ratio * is_erased, side / root_ratio * is_erased
        left, top = torch.rand((2, count), device=device)
        left, top = left * (1 - width).clamp(min=0), top * (1 - height).clamp(min=0)
        return torch.stack([left, top, left + width, top + height], dim=-1)


def uniform(low: float, high: float, shape: int | tuple[int, ...], device: torch.device) -> Tensor:
    """Return random numbers uniformly distributed in [low, high)."""
    return low + (high - low) * torch.rand(shape, device=device)


def warp(images: Tensor, maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resample images under affine maps: crop, rotation, scaling and flip in one interpolation.

    Args:
        images: (B, 3, H, W), float32.
        maps: (B, 2, 3), as for torch's `affine_grid`: from the coordinates (x, y, 1) of an output
            pixel, in [-1, 1] from edge to edge, to those in the image. Outside, the image is
            reflected.
        size: height and width of the outputs (B, 3, H', W'). Nothing is averaged: outputs much
            smaller than the region that they show would alias.

    """
    # Coordinates of the centres of pixels that fill [-1, 1].
    y, x = ((2 * torch.arange(n, device=images.device) + 1) / n - 1 for n in size)
    # The same as torch's affine_grid, 7 times as fast on a CPU: a column is added to a row once,
    # with the two coordinates of a point as the parts of one complex number.
    per_x, per_y, origin = torch.view_as_complex(maps.mT.contiguous()).view(-1, 3, 1, 1).unbind(1)
    grid = per_x * x + (per_y * y.unsqueeze(-1) + origin)  # (B, H', W')
    grid = torch.view_as_real(grid)  # (B, H', W', 2)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def blur(images: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Blur each of the images (B, 3, H, W) with a Gaussian of its own sigma (B,), in pixels.

    At the edges the Gaussian is cut off and normalised again. Its radius is 3 `max_sigma`.
    """
    count, channels, height, width = images.shape
    radius = math.ceil(3 * max_sigma)
    distance = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(distance**2) / (2 * sigma.clamp(min=1e-3) ** 2).unsqueeze(-1))  # (B, K)
    kernel = kernel.repeat_interleave(channels, dim=0).unsqueeze(1)  # (3B, 1, K), one per plane
    planes = images.reshape(1, count * channels, height, width)
    planes = planes.contiguous(memory_format=torch.channels_last)  # ten times as fast on a CPU
    for kernels, padding, shape in (
        (kernel.unsqueeze(-1), (radius, 0), (1, 1, height, 1)),
        (kernel.unsqueeze(-2), (0, radius), (1, 1, 1, width)),
    ):
        convolve = functools.partial(F.conv2d, weight=kernels, padding=padding, groups=len(kernel))
        ones = torch.ones(shape, device=images.device).expand(-1, len(kernel), -1, -1)
        planes = convolve(planes).div_(convolve(ones))
    return planes.view(images.shape).contiguous(memory_format=torch.channels_last)


def color_jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor
) -> Tensor:
    """Change brightness, then contrast, then saturation, as one matrix per image.

    Args:
        images: (B, 3, H, W), float32; the results are clipped to [0, 1].
        brightness: (B,), a factor; 0 gives black.
        contrast: (B,), a factor of the difference from the image's mean grey.
        saturation: (B,), a factor of the difference from each pixel's grey.

    """
    brightness, contrast, saturation = (
        factor.view(-1, 1, 1) for factor in (brightness, contrast, saturation)
    )
    luminance = luminance_on(images.device)
    identity = torch.eye(3, device=images.device)
    saturate = saturation * identity + (1 - saturation) * luminance  # (B, 3, 3)
    matrix = brightness * contrast * saturate
    mean_grey = brightness * (images.mean((2, 3)) @ luminance).view(-1, 1, 1)
    changed = torch.baddbmm((1 - contrast) * mean_grey, matrix, images.flatten(2))
    return changed.clamp_(0, 1).view(images.shape)


@functools.cache  # copied for each batch, they would block a GPU
def luminance_on(device: torch.device) -> Tensor:
    """Return the weights of red, green and blue in a grey value (ITU-R BT.601), (3,) float32."""
    return torch.tensor((0.2989, 0.587, 0.114), device=device)


def erase_(images: Tensor, rectangles: Tensor) -> Tensor:
    """Replace a rectangle of each of the images (B, 3, H, W), in place, by their mean colour.

    `rectangles` (B, 4) are left, top, right, bottom in [0, 1]; a pixel is erased if its centre is
    inside.
    """
    height, width = images.shape[2:]
    left, top, right, bottom = rectangles.T.unsqueeze(-1)  # (B, 1) each
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    columns, rows = (x >= left) & (x < right), (y >= top) & (y < bottom)
    is_erased = (rows.unsqueeze(-1) & columns.unsqueeze(-2)).unsqueeze(1)  # (B, 1, H, W)
    # Weights of 0 and 1 are exact, and twice as fast as a choice (torch.where).
    return images.lerp_(images.mean((2, 3), keepdim=True), is_erased.to(images.dtype))


class MixUp(v2.MixUp):  # type: ignore[misc]  # torchvision has no types
    """torchvision's mixup, in one pass over the images."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Mix each image, or label, with the one before it; the first with the last."""
        if inpt is params["labels"]:
            return super().transform(inpt, params)
        mixed, weight = torch.empty_like(inpt), params["lam"]
        torch.lerp(inpt[:-1], inpt[1:], weight, out=mixed[1:])
        torch.lerp(inpt[-1:], inpt[:1], weight, out=mixed[:1])
        return mixed


class Mixing:
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): mix images and labels of a batch.

    The weight of mixup and the area that CutMix replaces are distributed as Beta(alpha, alpha). At
    0 it is off; if both are on, each batch is mixed by one of them, with equal probabilities.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int):
        self.num_classes = num_classes
        self.transforms: list[v2.Transform] = [
            transform(alpha=alpha, num_classes=num_classes)
            for transform, alpha in ((MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha))
            if alpha > 0
        ]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images (B, 3, H, W) and labels (B,); return images and probabilities (B, classes)."""
        if self.transforms:
            transform = self.transforms[int(torch.randint(len(self.transforms), ()))]
            images, probabilities = transform(images, labels)
        else:
            probabilities = F.one_hot(labels, self.num_classes).float()
        return images.contiguous(memory_format=torch.channels_last), probabilities

"""Random changes after which a cat is still a cat: on whole batches, where the batch lies.

Every photograph draws its own values (only mixing draws one for the batch), and no line loops over
photographs. Random numbers come from torch's global generators, so a seed repeats them and a
checkpoint goes on with them.

Letters: B photographs, H x W pixels.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

LUMINANCE = (0.2989, 0.587, 0.114)
"""What red, green and blue add to grey (ITU-R BT.601)."""


def as_float(images: Tensor) -> Tensor:
    """Convert photographs (B, 3, H, W) from uint8 to float32 in [0, 1], in channels_last layout."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is changed in photographs, and how strongly; with zeros they are only converted.

    Args:
        view_size: width and height of what comes out, in pixels (0: those of the photographs).
        flip_probability: how often left and right change places.
        crop: largest part of the area that a square crop cuts away, in [0, 1); stretching it may
            cut away more.
        stretch: largest change of width against height, as a natural logarithm.
        rotation_degrees: largest rotation, either way.
        colour: largest relative change of brightness, contrast and saturation, in [0, 1].
        blur_sigma: largest standard deviation of a Gaussian blur, in pixels.
        erasing_probability: how often a rectangle is hidden.

    """

    view_size: int = 0
    flip_probability: float = 0.0
    crop: float = 0.0
    stretch: float = 0.0
    rotation_degrees: float = 0.0
    colour: float = 0.0
    blur_sigma: float = 0.0
    erasing_probability: float = 0.0

    def __call__(self, images: Tensor) -> Tensor:
        """Change photographs (B, 3, H, W), uint8, into views (B, 3, V, V), float32 in [0, 1]."""
        count, device = len(images), images.device
        views = self.draw_views(count, device)
        size = (self.view_size, self.view_size) if self.view_size else images.shape[2:]
        images = warp(as_float(images), views, size)
        if self.colour > 0:
            low, high = 1 - self.colour, 1 + self.colour
            images = recolour(images, *between(low, high, (3, count), device))
        if self.blur_sigma > 0:
            images = blur(images, between(0, self.blur_sigma, count, device), self.blur_sigma)
        if self.erasing_probability > 0:
            images = erase(images, self.draw_rectangles(count, device))
        return images

    def draw_views(self, count: int, device: torch.device) -> Tensor:
        """Draw what part of its photograph each view shows, as `warp` takes it: (B, 2, 3)."""
        side = between(1 - self.crop, 1, count, device).sqrt()
        half_stretch = between(-self.stretch, self.stretch, count, device).div(2).exp()
        width, height = (side * half_stretch).clamp(max=1), (side / half_stretch).clamp(max=1)
        mirror = torch.where(torch.rand(count, device=device) < self.flip_probability, -1.0, 1.0)
        angle = math.radians(1) * between(
            -self.rotation_degrees, self.rotation_degrees, count, device
        )
        cosine, sine = angle.cos(), angle.sin()
        x, y = between(-1, 1, (2, count), device)
        rows = [
            torch.stack([mirror * width * cosine, -height * sine, x * (1 - width)], dim=-1),
            torch.stack([mirror * width * sine, height * cosine, y * (1 - height)], dim=-1),
        ]
        return torch.stack(rows, dim=1)

    def draw_rectangles(self, count: int, device: torch.device) -> Tensor:
        """Draw what `erase` hides, (B, 4); an empty rectangle where nothing is to be hidden.

        Area between 2 and 33 % and sides up to 1 : 3.3, as Zhong et al. 2020 recommend.
        """
        side = between(0.02, 0.33, count, device).sqrt()
        half_stretch = between(math.log(0.3), -math.log(0.3), count, device).div(2).exp()
        hidden = torch.rand(count, device=device) < self.erasing_probability
        width, height = side * half_stretch * hidden, side / half_stretch * hidden
        left, top = torch.rand((2, count), device=device)
        left, top = left * (1 - width).clamp(min=0), top * (1 - height).clamp(min=0)
        return torch.stack([left, top, left + width, top + height], dim=-1)


def between(low: float, high: float, shape: int | tuple[int, ...], device: torch.device) -> Tensor:
    """Draw uniformly from [low, high)."""
    return low + (high - low) * torch.rand(shape, device=device)


def warp(images: Tensor, views: Tensor, size: Sequence[int]) -> Tensor:
    """Look at photographs through windows that are cut out, turned, stretched and mirrored.

    All of it is one interpolation, so that nothing is blurred twice.

    Args:
        images: (B, 3, H, W), float32.
        views: (B, 2, 3): maps a pixel of the view at (x, y, 1), in [-1, 1] from edge to edge, to
            its place in the photograph. Beyond the edge the photograph is mirrored.
        size: height and width of the views, H' x W'; made for views that are not much smaller
            than what they show, since nothing is averaged.

    Returns:
        (B, 3, H', W').

    """
    height, width = size
    x, y = centres(width, images.device), centres(height, images.device).unsqueeze(-1)
    # What torch's affine_grid computes, as sums of a row and a column: a tenth of its time.
    matrix = views.view(-1, 2, 3, 1, 1)
    places = [row[:, 0] * x + (row[:, 1] * y + row[:, 2]) for row in matrix.unbind(1)]
    grid = torch.stack(places, dim=-1)  # (B, H', W', 2)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def centres(count: int, device: torch.device) -> Tensor:
    """Return the centres of so many pixels, from edge to edge of [-1, 1]."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def blur(images: Tensor, sigma: Tensor, largest_sigma: float) -> Tensor:
    """Blur each photograph by a Gaussian of its own standard deviation.

    At an edge, where the Gaussian would see nothing, the rest of it counts for more.

    Args:
        images: (B, 3, H, W), float32.
        sigma: (B,), in pixels.
        largest_sigma: the kernel reaches as far as three of these.

    Returns:
        (B, 3, H, W).

    """
    count, channels, height, width = images.shape
    reach = math.ceil(3 * largest_sigma)
    distance = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-(distance**2) / (2 * sigma.clamp(min=1e-3) ** 2).unsqueeze(-1))  # (B, K)
    kernel = kernel.repeat_interleave(channels, dim=0).unsqueeze(1)  # (3B, 1, K), one per plane
    planes = images.reshape(1, count * channels, height, width)
    planes = planes.contiguous(memory_format=torch.channels_last)  # a tenth of the time on a CPU
    for kernels, padding, shape in (
        (kernel.unsqueeze(-1), (reach, 0), (1, 1, height, 1)),
        (kernel.unsqueeze(-2), (0, reach), (1, 1, 1, width)),
    ):
        seen = F.conv2d(
            torch.ones(shape, device=images.device).expand(-1, len(kernel), -1, -1),
            kernels,
            padding=padding,
            groups=len(kernel),
        )
        planes = F.conv2d(planes, kernels, padding=padding, groups=len(kernel)).div_(seen)
    return planes.view(images.shape).contiguous(memory_format=torch.channels_last)


def recolour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation, as one matrix per photograph.

    Args:
        images: (B, 3, H, W), float32 in [0, 1].
        brightness: (B,), a factor; 0 is black.
        contrast: (B,), a factor of the distance from the photograph's mean grey.
        saturation: (B,), a factor of the distance from each pixel's grey.

    Returns:
        (B, 3, H, W), clipped to [0, 1].

    """
    brightness, contrast, saturation = (
        factor.view(-1, 1, 1) for factor in (brightness, contrast, saturation)
    )
    luminance = luminance_on(images.device)
    keep = torch.eye(3, device=images.device)
    matrix = brightness * contrast * (saturation * keep + (1 - saturation) * luminance)  # (B, 3, 3)
    mean_grey = brightness * (images.mean((2, 3)) @ luminance).view(-1, 1, 1)
    changed = torch.baddbmm((1 - contrast) * mean_grey, matrix, images.flatten(2))
    return changed.clamp_(0, 1).view(images.shape)


@functools.cache
def luminance_on(device: torch.device) -> Tensor:
    """Return `LUMINANCE`, (3,) float32. To copy it for each batch would make a GPU wait."""
    return torch.tensor(LUMINANCE, device=device)


def erase(images: Tensor, rectangles: Tensor) -> Tensor:
    """Hide a rectangle of each photograph behind the photograph's mean colour.

    Args:
        images: (B, 3, H, W).
        rectangles: (B, 4), left, top, right, bottom in [0, 1]; a pixel is hidden if its centre is.

    Returns:
        (B, 3, H, W).

    """
    height, width = images.shape[2:]
    left, top, right, bottom = rectangles.T.unsqueeze(-1)  # (B, 1) each
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    columns, rows = (x >= left) & (x < right), (y >= top) & (y < bottom)
    hidden = (rows.unsqueeze(-1) & columns.unsqueeze(-2)).unsqueeze(1)  # (B, 1, H, W)
    return torch.where(hidden, images.mean((2, 3), keepdim=True), images)


class Mixing:
    """Mix the photographs of a batch, and their labels in the same proportion.

    Each batch is mixed by mixup (Zhang et al. 2018) or by CutMix (Yun et al. 2019), whichever is
    on, each half of the time if both are.

    Args:
        mixup_alpha: mixup's share is drawn from Beta(alpha, alpha); 0 switches it off.
        cutmix_alpha: the same for the area that CutMix replaces.
        num_classes: number of classes.

    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int):
        self.num_classes = num_classes
        self.ways: list[v2.Transform] = []
        if mixup_alpha > 0:
            self.ways.append(v2.MixUp(alpha=mixup_alpha, num_classes=num_classes))
        if cutmix_alpha > 0:
            self.ways.append(v2.CutMix(alpha=cutmix_alpha, num_classes=num_classes))

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix (B, 3, H, W) and labels (B,) into photographs and parts of classes (B, classes)."""
        if self.ways:
            way = self.ways[int(torch.randint(len(self.ways), ()))]
            images, parts = way(images, labels)
        else:
            parts = F.one_hot(labels, self.num_classes).float()
        return images.contiguous(memory_format=torch.channels_last), parts

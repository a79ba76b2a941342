"""Two-dimensional toy data sets whose classes are known regions: the Bayes accuracy is 1.

The points are random, their labels are not: `label` is a function of the point alone. A learned
decision boundary can therefore be drawn over the true one.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor

from datasets.choices import Split
from datasets.generated import seeded_generator
from datasets.points import Points as Points


class ToyDataset(ABC):
    """A distribution of points in the plane, and the regions of its two classes."""

    @abstractmethod
    def sample(self, count: int, generator: Generator) -> Tensor:
        """Generate `count` points, (count, 2) float32."""

    @abstractmethod
    def label(self, points: Tensor) -> Tensor:
        """Return the class of points (..., 2): (...) float32, 0 or 1."""

    def generate(self, count: int, seed: int, split: Split) -> Points:
        """Generate one split: the same seed and split give the same points on every machine."""
        points = self.sample(count, seeded_generator(seed, split))
        return Points(points, self.label(points))


class Ring(ToyDataset):
    """Two unit Gaussians; class 1 is outside a circle that passes through both of their centres.

    The centres are (3, 0) and (-3, 0), the circle has centre (0, -2) and radius sqrt(13). 0.556 of
    the points are of class 1, and the best linear classifier has an accuracy of 0.698.
    """

    centre_x, centre_y = 3.0, 2.0

    def sample(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        side = torch.randint(2, (count,), generator=generator) * 2 - 1
        centres = torch.stack([self.centre_x * side, torch.zeros(count)], dim=1)
        return centres + torch.randn(count, 2, generator=generator)

    def label(self, points: Tensor) -> Tensor:  # noqa: D102
        x, y = points.unbind(-1)
        radius = math.hypot(self.centre_x, self.centre_y)
        return (torch.hypot(x, y + self.centre_y) > radius).float()


class Moons(ToyDataset):
    """Two interleaved half circles of radius 1 with noise; a point belongs to the nearer one."""

    noise = 0.2

    def sample(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        angle = math.pi * torch.rand(count, generator=generator)
        lower = torch.randint(2, (count, 1), generator=generator).bool()
        upper_arc = _on_unit_circle(angle)
        arc = torch.where(lower, torch.tensor([1, 0.5]) - upper_arc, upper_arc)
        return arc + self.noise * torch.randn(count, 2, generator=generator)

    def label(self, points: Tensor) -> Tensor:  # noqa: D102
        x, y = points.unbind(-1)
        return (_distance_to_upper_arc(1 - x, 0.5 - y) < _distance_to_upper_arc(x, y)).float()


def _on_unit_circle(angle: Tensor) -> Tensor:
    """Return the points (N, 2) of the unit circle at angles (N,), in radians."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _distance_to_upper_arc(x: Tensor, y: Tensor) -> Tensor:
    """Distance to the unit half circle above the axis; below it, to the nearer end."""
    to_arc = (torch.hypot(x, y) - 1).abs()
    to_end = torch.hypot(x.abs() - 1, y)
    return torch.where(y >= 0, to_arc, to_end)


class Circles(ToyDataset):
    """Two circles of radius 0.5 and 1 with noise; class 1 is inside radius 0.75."""

    inner, outer, noise = 0.5, 1.0, 0.12

    def sample(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        angle = 2 * math.pi * torch.rand(count, generator=generator)
        inside = torch.randint(2, (count, 1), generator=generator).bool()
        circle = torch.where(inside, self.inner, self.outer) * _on_unit_circle(angle)
        return circle + self.noise * torch.randn(count, 2, generator=generator)

    def label(self, points: Tensor) -> Tensor:  # noqa: D102
        x, y = points.unbind(-1)
        return (torch.hypot(x, y) < (self.inner + self.outer) / 2).float()


class Spirals(ToyDataset):
    """Two Archimedean spirals of one and a half turns; class 1 is the half turn around the second.

    A point at angle a and radius r has the phase a - k r: class 1 where its sine is positive.
    """

    turns, radius, noise = 1.5, 3.0, 0.12
    twist = 2 * math.pi * turns / radius  # k

    def sample(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        # The square root makes the density of points uniform over the area of the disc.
        radius = self.radius * torch.rand(count, generator=generator).sqrt()
        arm = torch.randint(2, (count,), generator=generator)
        angle = self.twist * radius + math.pi * (arm - 0.5)
        arms = radius.unsqueeze(1) * _on_unit_circle(angle)
        return arms + self.noise * torch.randn(count, 2, generator=generator)

    def label(self, points: Tensor) -> Tensor:  # noqa: D102
        x, y = points.unbind(-1)
        return ((torch.atan2(y, x) - self.twist * torch.hypot(x, y)).sin() > 0).float()


class Checkerboard(ToyDataset):
    """Uniform on a board of four by four unit squares; class 1 is the dark squares."""

    half_width = 2

    def sample(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        return self.half_width * (2 * torch.rand(count, 2, generator=generator) - 1)

    def label(self, points: Tensor) -> Tensor:  # noqa: D102
        return points.floor().sum(-1).remainder(2)


KINDS: dict[str, type[ToyDataset]] = {
    "ring": Ring,
    "moons": Moons,
    "circles": Circles,
    "spirals": Spirals,
    "checkerboard": Checkerboard,
}


def toy_dataset(name: str) -> ToyDataset:
    """Return the toy data set of that name, a `DatasetName`."""
    return KINDS[name]()

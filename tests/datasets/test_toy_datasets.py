"""Toy data sets and their seeds, each label recomputed by other means."""

import hashlib
from typing import get_args

import numpy as np
import pytest
import torch

from datasets.choices import DatasetName, Split
from datasets.toy_datasets import toy_dataset

NAMES: tuple[DatasetName, ...] = get_args(DatasetName)
FINGERPRINTS = {
    "train": "2d3e0801f560ed22",
    "validation": "78b5af6534c2a960",
    "test": "4a64add846b065e6",
}
"""Of 200 points of the ring with seed 0; seeded draws on a CPU are the same everywhere."""


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_points_and_splits_share_none(name: DatasetName) -> None:
    data = toy_dataset(name)
    train, again = data.generate(100, 3, "train"), data.generate(100, 3, "train")
    assert torch.equal(train.points, again.points)
    assert torch.equal(train.labels, again.labels)
    for other in (data.generate(100, 3, "test"), data.generate(100, 4, "train")):
        assert not (train.points[:, None] == other.points[None]).all(-1).any()


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_a_function_of_the_point_and_both_occur(name: DatasetName) -> None:
    data = toy_dataset(name)
    points, labels = data.generate(5000, 0, "train")
    assert points.dtype == labels.dtype == torch.float32
    assert torch.equal(labels, data.label(points))
    assert set(labels.unique().tolist()) == {0.0, 1.0}
    assert 0.3 < labels.mean() < 0.7


def test_the_default_data_are_those_of_the_published_results() -> None:
    digests = {}
    for split in get_args(Split):
        points = toy_dataset("ring").generate(200, 0, split)
        content = b"".join(part.numpy().tobytes() for part in points)
        digests[split] = hashlib.sha256(content).hexdigest()[:16]
    assert digests == FINGERPRINTS


def test_ring_is_as_documented() -> None:
    points, labels = toy_dataset("ring").generate(200_000, 0, "test")
    x, y = points[:, 0].numpy().astype(float), points[:, 1].numpy().astype(float) + 2
    assert np.array_equal(labels.numpy(), x**2 + y**2 > 13)
    assert labels.mean().item() == pytest.approx(0.556, abs=0.004)
    assert np.abs(x).mean() == pytest.approx(3, abs=0.02)
    assert y.mean() == pytest.approx(2, abs=0.02)
    assert y.std() == pytest.approx(1, abs=0.02)


def test_moons_by_brute_force() -> None:
    points, labels = toy_dataset("moons").generate(500, 0, "test")
    angle = np.linspace(0, np.pi, 5001)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    distance = [
        np.linalg.norm(points.numpy()[:, None] - arc[None], axis=-1).min(1)
        for arc in (upper, lower)
    ]
    sure = np.abs(distance[0] - distance[1]) > 1e-3
    assert np.array_equal(labels.numpy()[sure], (distance[1] < distance[0])[sure])


def test_spirals_arms_lie_in_the_middle_of_their_toy_dataset() -> None:
    data = toy_dataset("spirals")
    radius = torch.linspace(0.3, 3, 200)
    twist = 2 * torch.pi * 1.5 / 3
    for offset, expected in ((torch.pi / 2, 1.0), (-torch.pi / 2, 0.0)):
        angle = twist * radius + offset
        arm = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        assert (data.label(arm) == expected).all()


def test_circles_and_checkerboard_at_known_points() -> None:
    points = torch.tensor([[0.0, 0.0], [0.0, 0.74], [0.76, 0.0], [2.0, 2.0]])
    assert toy_dataset("circles").label(points).tolist() == [1, 1, 0, 0]
    points = torch.tensor([[0.5, 0.5], [0.5, 1.5], [-0.5, 0.5], [-0.5, -0.5]])
    assert toy_dataset("checkerboard").label(points).tolist() == [0, 1, 1, 0]

"""Hydra against a computation with loops, and how its pooled features are scaled."""

import numpy as np
import pytest
import torch

from models.choices import PoolingName
from models.pooling import Pooling
from models.random_convolutions import KERNEL_SIZE, Hydra, RandomFeatureScaling


@pytest.mark.parametrize("num_channels", [1, 5])
@torch.no_grad()
def test_of_four_kernels_the_one_that_fits_best_counts(num_channels: int) -> None:
    """24 kernels are six groups: two see the channels undilated, one dilated; three the changes."""
    torch.manual_seed(0)
    hydra = Hydra(num_channels, width=24, num_layers=2).double()
    channels, length = torch.randn(1, 40, num_channels).double(), 33
    features = hydra(channels, torch.tensor([length]))[0].numpy()  # (T, F)

    series = channels[0, :length].numpy()
    changes = np.diff(series, axis=0, prepend=series[:1])
    kernels = hydra.kernels.numpy().transpose(0, 2, 1)  # (F, 9, C)
    branches = [(series, 1)] * 8 + [(changes, 1)] * 8 + [(series, 2)] * 4 + [(changes, 2)] * 4
    responses = np.zeros((length, 24))
    for kernel, (inputs, dilation) in enumerate(branches):
        for step in range(length):
            for place in range(KERNEL_SIZE):
                seen = step + dilation * (place - KERNEL_SIZE // 2)
                if 0 <= seen < length:
                    responses[step, kernel] += inputs[seen] @ kernels[kernel, place]
    groups = responses.reshape(length, 6, 4)
    counts = np.where(groups == groups.max(2, keepdims=True), groups, 0).clip(min=0)
    np.testing.assert_allclose(features[:length], counts.reshape(length, 24), atol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@torch.no_grad()
def test_features_that_are_pooled_branch_by_branch_are_the_same(pooling: PoolingName) -> None:
    hydra, pool = Hydra(3, width=48, num_layers=2), Pooling(pooling, 48)
    channels, lengths = torch.randn(4, 20, 3), torch.tensor([20, 3, 11, 1])
    expected = pool(hydra(channels, lengths), lengths)
    torch.testing.assert_close(hydra(channels, lengths, pool), expected)


def test_a_group_of_kernels_sees_half_of_the_channels_and_no_constant() -> None:
    kernels = Hydra(num_channels=12, width=400, num_layers=3).kernels  # (F, C, 9)
    is_seen = kernels.ne(0).any(2).unflatten(0, (-1, 4))  # (groups, 4, C)
    assert (is_seen.sum(2) == 6).all()
    assert (is_seen == is_seen[:, :1]).all()
    assert is_seen.any(1).any(0).all()  # no channel is left out by all
    torch.testing.assert_close(kernels.sum(2), torch.zeros(400, 12))


def test_roots_of_pooled_features_are_scaled_but_not_those_that_hardly_vary() -> None:
    scaling = RandomFeatureScaling(3)
    pooled = torch.tensor([[1.0, 4.0, 0.25], [9.0, 4.0, 0.25], [4.0, 4.0, 0.2501]])
    scaling.fit(pooled)
    scaled = scaling(pooled)
    largest = float(np.std([1, 3, 2]))
    roots = [[-1, 0], [1, 0], [0, 0]]
    torch.testing.assert_close(
        scaled[:, :2], torch.tensor(roots) / largest, rtol=1e-3, atol=1e-3, check_dtype=False
    )
    assert scaled[:, 2].abs().max().item() == pytest.approx(
        2 / 3 * (np.sqrt(0.2501) - 0.5) / (0.1 * largest), rel=0.02
    )
    scaling.fit(pooled[:1])
    assert scaling(pooled[:1]).eq(0).all()

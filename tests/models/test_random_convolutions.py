"""Hydra and MultiRocket against computations with loops, and how their features are scaled."""

import numpy as np
import pytest
import torch

from models.choices import PoolingName
from models.pooling import Pooling
from models.random_convolutions import (
    KERNEL_SIZE,
    Hydra,
    MultiRocket,
    MultiRocketHydra,
    RandomConvolutions,
    RandomFeatureScaling,
)


def responses_by_loops(
    encoder: RandomConvolutions, series: np.ndarray, branches: list[tuple[str, int]]
) -> np.ndarray:
    """Return (T, K): of each kernel, what it sees is `channels` or `changes`, and its dilation."""
    changes = np.diff(series, axis=0, prepend=series[:1])
    kernels = encoder.kernels.numpy().transpose(0, 2, 1)  # (K, 9, C)
    responses = np.zeros((len(series), len(kernels)))
    for kernel, (kind, dilation) in enumerate(branches):
        inputs = series if kind == "channels" else changes
        for step in range(len(series)):
            for place in range(KERNEL_SIZE):
                seen = step + dilation * (place - KERNEL_SIZE // 2)
                if 0 <= seen < len(series):
                    responses[step, kernel] += inputs[seen] @ kernels[kernel, place]
    return responses


@pytest.mark.parametrize("num_channels", [1, 5])
@torch.no_grad()
def test_of_four_kernels_the_one_that_fits_best_counts(num_channels: int) -> None:
    """24 kernels are six groups: two see the channels undilated, one dilated; three the changes."""
    torch.manual_seed(0)
    hydra = Hydra(num_channels, width=24, num_layers=2).double()
    channels, length = torch.randn(1, 40, num_channels).double(), 33
    features = hydra(channels, torch.tensor([length]))[0].numpy()  # (T, F)

    branches = [("channels", 1)] * 8 + [("changes", 1)] * 8
    branches += [("channels", 2)] * 4 + [("changes", 2)] * 4
    responses = responses_by_loops(hydra, channels[0, :length].numpy(), branches)
    groups = responses.reshape(length, 6, 4)
    counts = np.where(groups == groups.max(2, keepdims=True), groups, 0).clip(min=0)
    np.testing.assert_allclose(features[:length], counts.reshape(length, 24), atol=1e-12)


@pytest.mark.parametrize("num_channels", [1, 5])
@torch.no_grad()
def test_multirocket_says_where_responses_are_above_thresholds_of_training(
    num_channels: int,
) -> None:
    """Seven kernels are in four branches: two each, but for the changes that are dilated."""
    torch.manual_seed(0)
    rocket = MultiRocket(num_channels, width=28, num_layers=2).double()
    channels, lengths = torch.randn(3, 40, num_channels).double(), torch.tensor([33, 9, 40])
    rocket.fit(channels, lengths)
    branches = [("channels", 1)] * 2 + [("changes", 1)] * 2
    branches += [("channels", 2)] * 2 + [("changes", 2)]
    responses = [
        responses_by_loops(rocket, series[:length].numpy(), branches)
        for series, length in zip(channels, lengths, strict=True)
    ]
    together = np.sort(np.concatenate(responses), axis=0)
    levels = [(k + 1) * (1 + 5**0.5) / 2 % 1 for k in range(7)]
    thresholds = [together[int(level * len(together)), k] for k, level in enumerate(levels)]
    np.testing.assert_allclose(rocket.thresholds.numpy(), thresholds, atol=1e-12)
    rocket.thresholds += 1e-6  # so that none is equal to a response, but for rounding
    expected = np.zeros((3, 4, 7))
    for row, (each, length) in enumerate(zip(responses, lengths.tolist(), strict=True)):
        for kernel in range(7):
            excess = each[:, kernel] - rocket.thresholds[kernel].item()
            places = [step for step in range(length) if excess[step] > 0]
            if places:
                marks = "".join("+" if step in places else "-" for step in range(length))
                expected[row, :, kernel] = [
                    len(places) / length,
                    np.mean([excess[step] for step in places]),
                    np.mean([(step + 0.5) / length for step in places]),
                    max(map(len, marks.split("-"))) / length,
                ]
    statistics = rocket(channels, lengths).numpy()  # by branch
    columns = np.split(expected, [2, 4, 6], axis=2)
    np.testing.assert_allclose(
        statistics, np.concatenate([each.reshape(3, -1) for each in columns], axis=1), atol=1e-12
    )


def test_kernels_of_multirocket_weigh_three_places_twice_and_each_is_used_as_often() -> None:
    kernels = MultiRocket(1, width=4 * 2 * 84, num_layers=1).kernels.squeeze(1)
    weights, counts = torch.unique((12 * kernels).round().long(), dim=0, return_counts=True)
    assert (weights.sort(1).values == torch.tensor([-1] * 6 + [2] * 3)).all()
    assert (counts == 2).all()
    assert len(weights) == 84


@torch.no_grad()
def test_multirocket_hydra_has_both_and_statistics_are_left_to_no_pooling() -> None:
    both = MultiRocketHydra(3, width=48, num_layers=2)
    channels, lengths = torch.randn(4, 20, 3), torch.tensor([20, 3, 11, 1])
    features = both(channels, lengths)
    torch.testing.assert_close(features[..., :24], both.hydra(channels, lengths))
    statistics = both.multirocket(channels, lengths)
    for step in range(20):
        torch.testing.assert_close(features[:, step, 24:], statistics)


@pytest.mark.parametrize("encoder", [Hydra, MultiRocketHydra])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@torch.no_grad()
def test_features_that_are_pooled_branch_by_branch_are_the_same(
    encoder: type[Hydra | MultiRocketHydra], pooling: PoolingName
) -> None:
    random_features, pool = encoder(3, width=48, num_layers=2), Pooling(pooling, 48)
    channels, lengths = torch.randn(4, 20, 3), torch.tensor([20, 3, 11, 1])
    expected = pool(random_features(channels, lengths), lengths)
    torch.testing.assert_close(random_features(channels, lengths, pool), expected)


def test_a_group_of_kernels_sees_half_of_the_channels_and_no_constant() -> None:
    kernels = Hydra(num_channels=12, width=400, num_layers=3).kernels  # (F, C, 9)
    is_seen = kernels.ne(0).any(2).unflatten(0, (-1, 4))  # (groups, 4, C)
    assert (is_seen.sum(2) == 6).all()
    assert (is_seen == is_seen[:, :1]).all()
    assert is_seen.any(1).any(0).all()  # no channel is left out by all
    torch.testing.assert_close(kernels.sum(2), torch.zeros(400, 12))


def test_statistics_are_scaled_by_their_own_deviations_and_means_by_those_of_roots() -> None:
    pooled = torch.rand(20, 5)
    pooled *= torch.tensor([1, 1, 1000, 1, 0.001])
    scaling = RandomFeatureScaling(5, num_means=2)
    scaling.fit(pooled)
    for features in (scaling(pooled)[:, :2], scaling(pooled)[:, 2:]):
        torch.testing.assert_close(
            features.mean(0), torch.zeros(features.shape[1]), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(features.std(0, correction=0), torch.ones(features.shape[1]))
    alone = RandomFeatureScaling(2, num_means=2)
    alone.fit(pooled[:, :2])
    torch.testing.assert_close(scaling(pooled)[:, :2], alone(pooled[:, :2]))
    statistics = pooled[:, 2:].numpy()
    np.testing.assert_allclose(
        scaling(pooled)[:, 2:], (statistics - statistics.mean(0)) / statistics.std(0), atol=1e-4
    )


def test_roots_of_pooled_features_are_scaled_but_not_those_that_hardly_vary() -> None:
    scaling = RandomFeatureScaling(3, num_means=3)
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

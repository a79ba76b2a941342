"""Every encoder with every pooling: padding, gradients, overfitting, export."""

import itertools
import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim

from models.choices import ENCODERS, UNTRAINED, EncoderName, PoolingName
from models.sequence_classifier import ExportableSequenceClassifier
from tests.models.small import random_symbols as symbols
from tests.models.small import sequence_classifier

PAIRS: list[tuple[EncoderName, PoolingName]] = list(
    itertools.product(ENCODERS, get_args(PoolingName))
)


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
@torch.no_grad()
def test_padding_changes_nothing(encoder: EncoderName, pooling: PoolingName) -> None:
    model = sequence_classifier(encoder, pooling).double()
    inputs, lengths = symbols(3, 11, 7, 1)
    together = model(inputs, lengths)
    longer = torch.cat([inputs, torch.full((4, 9), 5)], dim=1)
    torch.testing.assert_close(model(longer, lengths), together, rtol=0, atol=1e-6)
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


def test_channels_are_standardized_by_the_steps_without_padding() -> None:
    model = sequence_classifier("gru", num_symbols=0, num_channels=2)
    rows = torch.tensor([[3.0, 10.0], [5.0, 10.1], [7.0, 10.2]])
    padded = torch.stack([rows, F.pad(rows[:1], (0, 0, 0, 2), value=1e6)])
    model.standardize.fit(padded, torch.tensor([3, 1]), same_unit=True)
    seen = torch.cat([rows, rows[:1]])
    channels = model.to_channels(rows.unsqueeze(0))[0]
    expected = (rows[:, 0] - seen[:, 0].mean()) / seen[:, 0].std()
    torch.testing.assert_close(channels[:, 0], expected)
    # The second channel hardly varies: its deviation counts as a tenth of the largest.
    expected = (rows[:, 1] - seen[:, 1].mean()) / (0.1 * seen[:, 0].std())
    torch.testing.assert_close(channels[:, 1], expected, rtol=1e-4, atol=1e-4)


def test_a_channel_in_a_small_unit_counts_as_much_as_others() -> None:
    model = sequence_classifier("gru", num_symbols=0, num_channels=3)
    steps = torch.tensor([[1000.0, 2e-6, 0.1], [-3000.0, 5e-6, 0.1], [500.0, -1e-6, 0.1]])
    model.standardize.fit(steps.unsqueeze(0), torch.tensor([3]), same_unit=False)
    channels = model.to_channels(steps.unsqueeze(0))[0]
    torch.testing.assert_close(channels.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(channels.mean(0), torch.zeros(3), rtol=0, atol=1e-6)


def test_noise_is_added_to_channels_in_training_alone() -> None:
    model = sequence_classifier("gru", num_symbols=0, num_channels=3, noise=0.5)
    zeros = torch.zeros(20, 100, 3)
    assert model.to_channels(zeros).abs().max() == 0
    assert model.train().to_channels(zeros).std().item() == pytest.approx(0.5, rel=0.05)


def test_an_offset_moves_whole_channels_in_training_alone() -> None:
    model = sequence_classifier("gru", num_symbols=0, num_channels=3, offset=0.5)
    zeros = torch.zeros(500, 10, 3)
    assert model.to_channels(zeros).abs().max() == 0
    moved = model.train().to_channels(zeros)
    assert (moved == moved[:, :1]).all()
    assert moved[:, 0].std().item() == pytest.approx(0.5, rel=0.1)
    assert moved[:, 0].std(0).min() > 0.4  # each channel by itself


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
def test_gradients_reach_every_parameter(encoder: EncoderName, pooling: PoolingName) -> None:
    model = sequence_classifier(encoder, pooling).train()
    model(*symbols(9, 5, 12)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith(("score.bias", "qkv.bias")):  # softmax ignores a common shift
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
def test_eight_sequences_can_be_overfitted(encoder: EncoderName, pooling: PoolingName) -> None:
    width = 32 if encoder in UNTRAINED else 16
    model = sequence_classifier(encoder, pooling, num_layers=1, width=width).train()
    inputs, lengths = symbols(5, 6, 7, 8, 8, 7, 6, 5)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs, lengths), labels).backward()
        optimizer.step()
    assert (model(inputs, lengths).argmax(-1) == labels).all()


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_channels_are_read_as_they_are(encoder: EncoderName) -> None:
    model = sequence_classifier(encoder, num_symbols=0, num_channels=8)
    inputs, lengths = symbols(6, 4)
    one_hot = F.one_hot(inputs, 8).float()
    expected = sequence_classifier(encoder)(inputs, lengths)
    torch.testing.assert_close(model(one_hot, lengths), expected)


@pytest.mark.parametrize(
    ("encoder", "num_symbols"), [(e, 8 * (i % 2)) for i, e in enumerate(ENCODERS)]
)
@torch.no_grad()
def test_exported_it_takes_any_number_of_padded_sequences(
    encoder: EncoderName, num_symbols: int
) -> None:
    model = sequence_classifier(
        encoder, "attention", num_symbols=num_symbols, num_channels=8 - num_symbols
    )

    def pack(*lengths: int) -> tuple[Tensor, Tensor]:
        inputs, ends = symbols(*lengths)
        padding = torch.arange(inputs.shape[1]) >= ends.unsqueeze(1)
        if num_symbols:
            return inputs.masked_fill(padding, -1), model(inputs, ends)
        channels = F.one_hot(inputs, 8).float()
        packed = channels.masked_fill(padding.unsqueeze(-1), math.nan)
        return packed, model(channels, ends)

    exportable = ExportableSequenceClassifier(model).eval()
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    exported = torch.export.export(exportable, (pack(9, 4)[0],), dynamic_shapes=shapes).module()
    for lengths in ((5,), (30, 12, 3)):
        inputs, expected = pack(*lengths)
        torch.testing.assert_close(exported(inputs), expected, rtol=1e-4, atol=1e-5)

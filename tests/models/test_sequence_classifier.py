"""Every encoder with every pooling: padding, the future, gradients, memory."""

import itertools
import math
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import Dim

from models.sequence_classifier import (
    EncoderName,
    Pooling,
    PoolingName,
    SequenceClassifier,
    SequencePredictor,
    is_recurrent,
    sinusoids,
)

ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)
POOLINGS: tuple[PoolingName, ...] = get_args(PoolingName)
PAIRS = list(itertools.product(ENCODERS, POOLINGS))
CAUSAL = [encoder for encoder in ENCODERS if encoder not in ("fcn", "transformer")]


def classifier(
    encoder: EncoderName, pooling: PoolingName = "last", **changes: Any
) -> SequenceClassifier:
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_symbols": 8, "width": 16, "num_layers": 2, "num_answers": 3}
    return SequenceClassifier(encoder=encoder, pooling=pooling, **{**options, **changes}).eval()


def symbols(*lengths: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 8, (len(lengths), max(lengths)), generator=generator)
    return inputs, torch.tensor(lengths)


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
@torch.no_grad()
def test_padding_changes_nothing(encoder: EncoderName, pooling: PoolingName) -> None:
    model = classifier(encoder, pooling).double()
    inputs, lengths = symbols(3, 11, 7, 1)
    together = model(inputs, lengths)
    longer = torch.cat([inputs, torch.full((4, 9), 5)], dim=1)
    torch.testing.assert_close(model(longer, lengths), together, rtol=0, atol=1e-6)
    for row, length in enumerate(lengths.tolist()):
        alone = model(inputs[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-6)


def test_channels_are_standardised_by_what_is_no_padding() -> None:
    model = classifier("gru", num_symbols=0, num_channels=2)
    rows = torch.tensor([[3.0, 10.0], [5.0, 10.1], [7.0, 10.2]])
    padded = torch.stack([rows, F.pad(rows[:1], (0, 0, 0, 2), value=1e6)])
    model.standardise.measure(padded, torch.tensor([3, 1]))
    seen = torch.cat([rows, rows[:1]])
    channels = model.to_channels(rows.unsqueeze(0))[0]
    expected = (rows[:, 0] - seen[:, 0].mean()) / seen[:, 0].std()
    torch.testing.assert_close(channels[:, 0], expected)
    # The second channel hardly varies: its deviation counts as a tenth of the largest.
    expected = (rows[:, 1] - seen[:, 1].mean()) / (0.1 * seen[:, 0].std())
    torch.testing.assert_close(channels[:, 1], expected, rtol=1e-4, atol=1e-4)


def test_noise_is_added_to_channels_in_training_alone() -> None:
    model = classifier("gru", num_symbols=0, num_channels=3, noise=0.5)
    zeros = torch.zeros(20, 100, 3)
    assert model.to_channels(zeros).abs().max() == 0
    assert model.train().to_channels(zeros).std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("encoder", CAUSAL)
@torch.no_grad()
def test_a_causal_encoder_does_not_look_ahead(encoder: EncoderName) -> None:
    model = classifier(encoder).double()
    inputs, lengths = symbols(20)
    changed = inputs.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 8
    before, after = model.encode(inputs, lengths), model.encode(changed, lengths)
    torch.testing.assert_close(after[:, :12], before[:, :12], rtol=0, atol=1e-12)
    assert (after[:, 12] - before[:, 12]).abs().max() > 1e-6


def test_an_offset_moves_whole_channels_in_training_alone() -> None:
    model = classifier("gru", num_symbols=0, num_channels=3, offset=0.5)
    zeros = torch.zeros(500, 10, 3)
    assert model.to_channels(zeros).abs().max() == 0
    moved = model.train().to_channels(zeros)
    assert (moved == moved[:, :1]).all()
    assert moved[:, 0].std().item() == pytest.approx(0.5, rel=0.1)
    assert moved[:, 0].std(0).min() > 0.4  # each channel by itself


@torch.no_grad()
def test_a_transformer_sees_the_whole_sequence_and_knows_its_order() -> None:
    model = classifier("transformer", "mean").double()
    inputs, lengths = symbols(10)
    features = model.encode(inputs, lengths)
    changed = inputs.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 8
    assert (model.encode(changed, lengths)[:, 0] - features[:, 0]).abs().max() > 1e-6
    swapped = inputs[:, torch.tensor([1, 0, *range(2, 10)])]
    assert (model(swapped, lengths) - model(inputs, lengths)).abs().max() > 1e-6


def test_a_transformer_says_how_far_its_positions_reach() -> None:
    with pytest.raises(ValueError, match="sequences of 11 steps: positions reach 10"):
        classifier("transformer", max_length=10)(*symbols(11))


@torch.no_grad()
def test_a_tcn_sees_as_far_as_it_says() -> None:
    """Two layers: 2 ** 4 - 3 = 13 steps."""
    model = classifier("tcn").double()
    inputs, lengths = symbols(30)
    last = model.encode(inputs, lengths)[0, -1]
    for lag in range(30):
        changed = inputs.clone()
        changed[0, 29 - lag] = (changed[0, 29 - lag] + 1) % 8
        moved = (model.encode(changed, lengths)[0, -1] - last).abs().max().item()
        assert (moved > 0) == (lag < 13), lag


@torch.no_grad()
def test_an_fcn_looks_as_far_ahead_as_back() -> None:
    """Two layers of five steps: four either way."""
    model = classifier("fcn").double()
    inputs, lengths = symbols(20)
    here = model.encode(inputs, lengths)[0, 10]
    for step in range(20):
        changed = inputs.clone()
        changed[0, step] = (changed[0, step] + 1) % 8
        moved = (model.encode(changed, lengths)[0, 10] - here).abs().max().item()
        assert (moved > 0) == (abs(step - 10) <= 4), step


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
def test_gradients_reach_every_parameter(encoder: EncoderName, pooling: PoolingName) -> None:
    model = classifier(encoder, pooling).train()
    model(*symbols(9, 5, 12)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith(("score.bias", "project.bias")):  # softmax forgets what all share
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("encoder", "pooling"), PAIRS)
def test_eight_sequences_are_learnt_by_heart(encoder: EncoderName, pooling: PoolingName) -> None:
    model = classifier(encoder, pooling, num_layers=1).train()
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
    model = classifier(encoder, num_symbols=0, num_channels=8)
    inputs, lengths = symbols(6, 4)
    one_hot = F.one_hot(inputs, 8).float()
    expected = classifier(encoder)(inputs, lengths)
    torch.testing.assert_close(model(one_hot, lengths), expected)


@torch.no_grad()
def test_pooling_is_what_it_says() -> None:
    features, lengths = torch.randn(2, 5, 4), torch.tensor([3, 5])
    for kind in POOLINGS:
        pool = Pooling(kind, 4)
        for row, length in enumerate(lengths.tolist()):
            steps = features[row, :length]
            if kind == "last":
                expected = steps[-1]
            elif kind == "mean":
                expected = steps.mean(0)
            elif kind == "max":
                expected = steps.max(0).values
            else:
                assert pool.score is not None
                scores = [math.exp(float(pool.score(step))) for step in steps]
                expected = sum(s / sum(scores) * x for s, x in zip(scores, steps, strict=True))
            torch.testing.assert_close(pool(features, lengths)[row], expected)
    weights = Pooling("attention", 4).weights(features, lengths)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert (weights[0, 3:] == 0).all()


@pytest.mark.parametrize(
    ("encoder", "num_symbols"), [(e, 8 * (i % 2)) for i, e in enumerate(ENCODERS)]
)
@torch.no_grad()
def test_exported_it_takes_any_number_of_padded_sequences(
    encoder: EncoderName, num_symbols: int
) -> None:
    model = classifier(encoder, "attention", num_symbols=num_symbols, num_channels=8 - num_symbols)

    def pack(*lengths: int) -> tuple[Tensor, Tensor]:
        inputs, ends = symbols(*lengths)
        padding = torch.arange(inputs.shape[1]) >= ends.unsqueeze(1)
        if num_symbols:
            return inputs.masked_fill(padding, -1), model(inputs, ends)
        channels = F.one_hot(inputs, 8).float()
        packed = channels.masked_fill(padding.unsqueeze(-1), math.nan)
        return packed, model(channels, ends)

    predictor = SequencePredictor(model).eval()
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    exported = torch.export.export(predictor, (pack(9, 4)[0],), dynamic_shapes=shapes).module()
    for lengths in ((5,), (30, 12, 3)):
        inputs, expected = pack(*lengths)
        torch.testing.assert_close(exported(inputs), expected, rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(7, 6)
    for position, feature in itertools.product(range(7), range(6)):
        angle = position / 10_000 ** (2 * (feature // 2) / 6)
        expected = math.sin(angle) if feature % 2 == 0 else math.cos(angle)
        assert table[position, feature].item() == pytest.approx(expected, abs=1e-6)


def test_recurrent_encoders_are_known() -> None:
    assert [e for e in ENCODERS if is_recurrent(e)] == ["rnn", "lstm", "gru", "mingru"]

"""What encoders see: the past, the future, and how far."""

import itertools
import math

import pytest
import torch

from models.choices import ENCODERS, EncoderName
from models.sequence_encoders import ENCODER_CONSTRUCTORS, sinusoids
from tests.models.small import random_symbols as symbols
from tests.models.small import sequence_classifier

# A new encoder that is not causal belongs here.
NOT_CAUSAL = ("fcn", "transformer")
CAUSAL = [encoder for encoder in ENCODERS if encoder not in NOT_CAUSAL]


def test_every_encoder_has_a_constructor() -> None:
    missing = set(ENCODERS) - set(ENCODER_CONSTRUCTORS)
    assert not missing, f"add {missing} to ENCODER_CONSTRUCTORS in models/sequence_encoders.py"


@pytest.mark.parametrize("encoder", CAUSAL)
@torch.no_grad()
def test_a_causal_encoder_does_not_look_ahead(encoder: EncoderName) -> None:
    model = sequence_classifier(encoder).double()
    inputs, lengths = symbols(20)
    changed = inputs.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 8
    before, after = model.encode(inputs, lengths), model.encode(changed, lengths)
    torch.testing.assert_close(after[:, :12], before[:, :12], rtol=0, atol=1e-12)
    assert (after[:, 12] - before[:, 12]).abs().max() > 1e-6


@torch.no_grad()
def test_a_transformer_sees_the_whole_sequence_and_knows_its_order() -> None:
    model = sequence_classifier("transformer", "mean").double()
    inputs, lengths = symbols(10)
    features = model.encode(inputs, lengths)
    changed = inputs.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 8
    assert (model.encode(changed, lengths)[:, 0] - features[:, 0]).abs().max() > 1e-6
    swapped = inputs[:, torch.tensor([1, 0, *range(2, 10)])]
    assert (model(swapped, lengths) - model(inputs, lengths)).abs().max() > 1e-6


def test_a_transformer_says_how_far_its_positions_reach() -> None:
    with pytest.raises(ValueError, match="sequences of 11 steps: positions reach 10"):
        sequence_classifier("transformer", max_length=10)(*symbols(11))


@torch.no_grad()
def test_a_tcn_has_the_receptive_field_of_its_docstring() -> None:
    """Two layers: 2 ** 4 - 3 = 13 steps."""
    model = sequence_classifier("tcn").double()
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
    model = sequence_classifier("fcn").double()
    inputs, lengths = symbols(20)
    here = model.encode(inputs, lengths)[0, 10]
    for step in range(20):
        changed = inputs.clone()
        changed[0, step] = (changed[0, step] + 1) % 8
        moved = (model.encode(changed, lengths)[0, 10] - here).abs().max().item()
        assert (moved > 0) == (abs(step - 10) <= 4), step


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(7, 6)
    for position, feature in itertools.product(range(7), range(6)):
        angle = position / 10_000 ** (2 * (feature // 2) / 6)
        expected = math.sin(angle) if feature % 2 == 0 else math.cos(angle)
        assert table[position, feature].item() == pytest.approx(expected, abs=1e-6)

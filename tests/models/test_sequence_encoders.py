"""What encoders see: the past, the future, and how far."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.choices import CELLS, ENCODERS, CellName, EncoderName
from models.sequence_classifier import ExportableSequenceClassifier
from models.sequence_encoders import (
    ENCODER_CONSTRUCTORS,
    BidirectionalEncoder,
    Inception,
    sinusoids,
)
from tests.models.small import random_symbols as symbols
from tests.models.small import sequence_classifier

# A new encoder that is not causal belongs here.
NOT_CAUSAL = ("fcn", "inception", "transformer", "hydra", "multirocket_hydra")
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


@torch.no_grad()
def test_a_causal_transformer_is_one_that_has_not_read_on() -> None:
    """The features of each step are those of the sequence's beginning alone, up to that step."""
    model = sequence_classifier("causal_transformer").double()
    inputs, lengths = symbols(12, 7)
    features = model.encode(inputs, lengths)
    for steps in range(1, 13):
        beginning = model.encode(inputs[:, :steps], lengths.clamp(max=steps))
        torch.testing.assert_close(features[:, :steps], beginning, rtol=0, atol=1e-12)
    full = sequence_classifier("transformer").double()
    full.load_state_dict(model.state_dict())
    assert (full.encode(inputs, lengths) - features).abs()[0, 0].max() > 1e-6


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


@torch.no_grad()
def test_inception_sees_what_its_longest_kernel_does_and_adds_what_it_began_with() -> None:
    """One module of 39 steps: 19 either way; the shortcut of the third skips all three."""
    model = sequence_classifier("inception", num_layers=1).double()
    inputs, lengths = symbols(60)
    here = model.encode(inputs, lengths)[0, 30]
    for step in range(60):
        changed = inputs.clone()
        changed[0, step] = (changed[0, step] + 1) % 8
        moved = (model.encode(changed, lengths)[0, 30] - here).abs().max().item()
        assert (moved > 0) == (abs(step - 30) <= 19), step
    encoder = sequence_classifier("inception", num_layers=7).encoder
    assert isinstance(encoder, Inception)
    assert len(encoder.shortcuts) == 2
    for norm in encoder.norms[:3]:  # the three modules say nothing
        nn.init.zeros_(norm.get_parameter("weight"))
    channels, length = torch.rand(1, 5, 8), torch.tensor([5])
    after_three = nn.Sequential(encoder.shortcuts[0], nn.ReLU())(channels)
    later: list[Tensor] = []
    encoder.inception_modules[3].register_forward_hook(lambda _, given, __: later.append(given[0]))
    encoder(channels, length)
    torch.testing.assert_close(later[0], after_three)


@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_a_bidirectional_encoder_is_torchs_on_packed_sequences(num_layers: int) -> None:
    encoder = sequence_classifier("gru", bidirectional=True, num_layers=num_layers).encoder
    assert isinstance(encoder, BidirectionalEncoder)
    theirs = nn.GRU(8, 8, num_layers, batch_first=True, bidirectional=True)
    for name, weights in encoder.named_parameters():  # such as backwards.1.layers.bias_hh_l0
        direction, layer, _, parameter = name.split(".")
        suffix = "_reverse" if direction == "backwards" else ""
        theirs.get_parameter(parameter.replace("_l0", f"_l{layer}{suffix}")).copy_(weights)
    channels, lengths = torch.randn(3, 9, 8), torch.tensor([9, 1, 5])
    packed = nn.utils.rnn.pack_padded_sequence(
        channels, lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    features = encoder(channels, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(features[row, :length], expected[row, :length])


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_padding_changes_nothing_of_what_is_read_from_both_ends(cell: CellName) -> None:
    model = sequence_classifier(cell, "mean", bidirectional=True, num_layers=1).double()
    inputs, lengths = symbols(3, 11, 1)
    together = model(inputs, lengths)
    longer = torch.cat([inputs, torch.full((3, 9), 5)], dim=1)
    torch.testing.assert_close(model(longer, lengths), together, rtol=0, atol=1e-12)
    alone = model(inputs[:1, :3], lengths[:1])
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-12)
    changed = inputs.clone()
    changed[1, 10] = (changed[1, 10] + 1) % 8
    moved = model.encode(changed, lengths) - model.encode(inputs, lengths)
    assert (moved[1, 0, 8:] != 0).any()  # half of the features come from the end
    assert (moved[1, 0, :8] == 0).all()


@pytest.mark.slow
def test_what_is_read_from_both_ends_is_exported() -> None:
    model = sequence_classifier("gru", "max", bidirectional=True, num_layers=1)
    exportable = ExportableSequenceClassifier(model).eval()
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    exported = torch.export.export(exportable, (symbols(9, 9)[0],), dynamic_shapes=shapes).module()
    inputs, lengths = symbols(12, 4, 7)
    marked = inputs.masked_fill(torch.arange(12) >= lengths.unsqueeze(1), -1)
    torch.testing.assert_close(exported(marked), model(inputs, lengths), rtol=1e-4, atol=1e-5)


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(7, 6)
    for position, feature in itertools.product(range(7), range(6)):
        angle = position / 10_000 ** (2 * (feature // 2) / 6)
        expected = math.sin(angle) if feature % 2 == 0 else math.cos(angle)
        assert table[position, feature].item() == pytest.approx(expected, abs=1e-6)

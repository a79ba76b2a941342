"""Gradients and states on networks whose result is known."""

import pytest
import torch
from torch import nn

from models.choices import ENCODERS, CellName, EncoderName
from models.inspection.sequential import gradient_by_lag, gradient_times_input, lstm_cell_states
from models.sequence_encoders import RecurrentEncoder
from tests.models.small import recurrent_network, sequence_classifier


@pytest.mark.parametrize(("cell", "num_conditions"), [("gru", 0), ("lstm", 3)])
@torch.no_grad()
def test_gradients_by_lag_are_finite_differences(cell: CellName, num_conditions: int) -> None:
    torch.manual_seed(0)
    network = recurrent_network(cell, num_conditions=num_conditions).double()
    symbols, conditions = torch.randint(0, 5, (1, 6)), torch.tensor([2])
    targets = torch.tensor([3])
    with torch.enable_grad():
        norms = gradient_by_lag(network, symbols, targets, conditions)
    inputs = network.encode(symbols, conditions)

    def loss(values: torch.Tensor) -> float:
        hidden, _ = network.recurrence(values)
        last = network.decode(hidden, conditions)[:, -1]
        return nn.functional.cross_entropy(last, targets).item()

    for lag in range(6):
        slope = []
        for unit in range(inputs.shape[-1]):
            change = torch.zeros_like(inputs)
            change[0, 5 - lag, unit] = 1e-5
            slope.append((loss(inputs + change) - loss(inputs - change)) / 2e-5)
        assert norms[lag].item() == pytest.approx(torch.tensor(slope).norm().item(), rel=1e-4)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_gradient_times_input_is_exact_where_the_output_is_linear(num_outputs: int) -> None:
    """The mean of linear features: each step adds its own share of the output."""
    torch.manual_seed(0)
    model = sequence_classifier(
        "tcn", "mean", num_symbols=0, num_channels=2, num_layers=0, num_outputs=num_outputs
    )
    nn.init.zeros_(model.encoder.get_parameter("input_projection.bias"))
    inputs, lengths = torch.randn(2, 6, 2), torch.tensor([6, 4])
    labels = torch.tensor([0, num_outputs - 1])
    shares = gradient_times_input(model, inputs, lengths, labels)
    outputs = model(inputs, lengths)[torch.arange(2), labels] - model.head.bias[labels]
    torch.testing.assert_close(shares.sum(1), outputs.detach(), rtol=1e-4, atol=1e-6)
    assert (shares[1, 4:] == 0).all()


@pytest.mark.parametrize("encoder", ENCODERS)
@torch.no_grad()
def test_cell_states_are_those_of_an_lstm_after_each_step(encoder: EncoderName) -> None:
    model = sequence_classifier(encoder)
    inputs = torch.randint(0, 8, (1, 7))
    cells = lstm_cell_states(model, inputs)
    if encoder != "lstm":
        assert cells is None
        return
    assert isinstance(model.encoder, RecurrentEncoder)
    assert cells is not None
    assert cells.shape == (7, 16)
    for step in range(1, 8):
        _, (_, expected) = model.encoder.layers(model.to_channels(inputs[:, :step]))
        torch.testing.assert_close(cells[step - 1], expected[-1, 0])

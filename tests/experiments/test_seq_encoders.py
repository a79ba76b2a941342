"""Encoders side by side: fair recipes, honest counts."""

import math

import numpy as np
import pytest
import torch

from experiments import seq_classification, seq_encoders
from experiments.harness.config import construct
from experiments.seq_encoders import ENCODERS, EncodersConfig
from models.sequence_classifier import EncoderName


def small(**changes: object) -> EncodersConfig:
    return construct(EncodersConfig, {**EncodersConfig.tiny, **changes})


@pytest.mark.parametrize("encoder", ENCODERS)
def test_each_encoder_has_about_the_same_number_of_parameters(encoder: EncoderName) -> None:
    config = small(match_parameters=20_000, level="hard")
    material = seq_classification.prepare(config)
    recipe = seq_encoders.recipe_of(config, encoder, material)
    network = seq_classification.build(recipe, material)
    assert sum(w.numel() for w in network.parameters()) == pytest.approx(20_000, rel=0.1)


def test_convolutions_reach_back_to_the_first_step_of_the_longest_sequence() -> None:
    config = small(level="moderate")
    material = seq_classification.prepare(config)
    network = seq_classification.build(
        seq_encoders.recipe_of(config, "tcn", material), material
    ).eval()
    longest = seq_classification.longest_of(config, material)
    channels = torch.rand(1, longest, len(material.symbols), requires_grad=True)
    features = network.read(channels, torch.tensor([longest]))
    (gradient,) = torch.autograd.grad(features[0, -1].square().sum(), channels)
    assert gradient[0, 0].abs().sum() > 0


def test_what_was_never_solved_needs_infinitely_many_sequences() -> None:
    solved = np.array([1000.0, math.inf])
    network = seq_classification.build(small(), seq_classification.prepare(small()))
    accuracies = np.array([[0.5, 1.0], [0.5, 0.9]])
    numbers = seq_encoders.in_numbers("gru", network, accuracies, solved)
    assert numbers["by_encoder/gru_seeds_solved"] == 1
    assert numbers["by_encoder/gru_val_accuracy_mean"] == pytest.approx(0.95)
    assert "by_encoder/gru_sequences_to_solve_mean" not in numbers


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 3)])
def test_time_is_taken_with_sequences_of_the_length_asked_for(shape: tuple[int, ...]) -> None:
    lengths_seen = []

    class Network(torch.nn.Module):
        def forward(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            lengths_seen.append((inputs.shape[1], lengths.tolist()))
            return inputs

    assert seq_encoders.cost(Network(), torch.zeros(shape), 20) > 0  # type: ignore[arg-type]
    assert set(map(str, lengths_seen)) == {str((20, [20] * 4))}

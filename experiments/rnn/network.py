"""Recurrent networks over characters: how they are built, looked into and exported."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.characters import ALPHABET, VOCABULARY_SIZE, Vocabulary
from experiments.rnn.config import RecurrentConfig
from experiments.rnn.figures import BLANK
from harness.experiment import ModelExport, Trained
from models.choices import default_initialisation, suits
from models.inspection.sequential import gradient_by_lag
from models.recurrent import ExportableRNN, RecurrentNetwork

NUM_LAGS = 100
"""Steps over which gradients are followed back."""
VISIBLE = Vocabulary(ALPHABET.replace(" ", BLANK))
"""The 27 characters as figures show them."""


def build_network(
    config: RecurrentConfig, *, horizon: int, num_conditions: int = 0
) -> RecurrentNetwork:
    """Return a network over the 27 characters, freshly initialised; see `RecurrentNetwork`."""
    initialisation = config.initialisation
    if initialisation == "auto":
        is_defined = suits(config.cell, "orthogonal")
        initialisation = "orthogonal" if is_defined else default_initialisation(config.cell)
    return RecurrentNetwork(
        num_symbols=VOCABULARY_SIZE,
        cell=config.cell,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        embedding_size=config.embedding_size,
        num_conditions=num_conditions,
        dropout_rate=config.dropout_rate,
        initialisation=initialisation,
        horizon=max(3, horizon),  # the fewest steps that chrono is defined for
    )


def gradient_norms(
    trained: Trained, symbols: Tensor, targets: Tensor, conditions: Tensor | None = None
) -> dict[str, np.ndarray]:
    """Return `gradient_by_lag`, (T,), of the network before and after training."""
    networks = {"untrained": trained.untrained, "trained": trained.model}
    return {
        name: gradient_by_lag(network, symbols, targets, conditions).numpy()
        for name, network in networks.items()
    }


@torch.inference_mode()
def hidden_units(
    network: RecurrentNetwork, symbols: Tensor, conditions: Tensor | None = None
) -> tuple[np.ndarray, str, str]:
    """Read one sequence: symbols (1, T) int64, and its condition (1,) where there are any.

    Returns:
        The hidden units (T, H) of the last layer, the sequence and the predictions as texts.

    """
    hidden, _ = network.recurrence(network.encode(symbols, conditions))
    predicted = network.decode(hidden, conditions).argmax(-1)
    return hidden[0].numpy(), VISIBLE.decode(symbols[0]), VISIBLE.decode(predicted[0])


def export_network(
    network: RecurrentNetwork, example_input: Tensor, **metadata: Any
) -> ModelExport:
    """Return a network as it is logged: integers (B, T) to logits (B, T, 27)."""
    return ModelExport(
        module=ExportableRNN(network),
        example_input=example_input.numpy(),
        dynamic_dims=(0, 1),
        weights_prefix="network.",
        metadata={"symbols": ALPHABET, **metadata},
    )

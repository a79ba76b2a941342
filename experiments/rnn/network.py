"""Recurrent networks over characters: how they are built, looked into and exported."""

import numpy as np
import torch
from torch import Tensor

from datasets.characters import ALPHABET, VOCABULARY_SIZE
from experiments.rnn.config import RecurrentConfig
from harness.experiment import ModelExport, Trained
from models.inspection.sequential import gradient_by_lag
from models.recurrent import ExportableRNN, RecurrentNetwork


def build_network(
    config: RecurrentConfig, *, horizon: int, num_conditions: int = 0
) -> RecurrentNetwork:
    """Return a network over the 27 characters, freshly initialised.

    Args:
        config: its cell and sizes.
        horizon: steps that the chrono initialisation is to remember.
        num_conditions: of a sequence, such as possible delays (0: none).

    """
    return RecurrentNetwork(
        num_symbols=VOCABULARY_SIZE,
        cell=config.cell,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        embedding_size=config.embedding_size,
        num_conditions=num_conditions,
        dropout_rate=config.dropout_rate,
        initialisation=config.initialisation,
        horizon=max(3, horizon),  # the fewest steps that chrono is defined for
    )


def gradient_norms(
    trained: Trained, symbols: Tensor, targets: Tensor, conditions: Tensor | None = None
) -> dict[str, np.ndarray]:
    """Return the gradient of the last step's loss at each input, before and after training.

    Args:
        trained: both networks.
        symbols: (B, T) int64.
        targets: (B,) int64, of the last step.
        conditions: (B,) int64, where the networks have conditions.

    Returns:
        By network, (T,): the norm at each lag from 0 on, averaged over the sequences.

    """
    networks = {"untrained": trained.untrained, "trained": trained.model}
    return {
        name: gradient_by_lag(network, symbols, targets, conditions).numpy()
        for name, network in networks.items()
    }


@torch.inference_mode()
def hidden_units(
    network: RecurrentNetwork, symbols: Tensor, conditions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the hidden units (T, H) of the last layer over one sequence, and predictions (T,).

    Args:
        network: in evaluation mode.
        symbols: (1, T) int64.
        conditions: (1,) int64, where the network has conditions.

    """
    hidden, _ = network.recurrence(network.encode(symbols, conditions))
    return hidden[0], network.decode(hidden, conditions)[0].argmax(-1)


def export_network(network: RecurrentNetwork, example_input: Tensor) -> ModelExport:
    """Return a network as it is logged: integers (B, T) to logits (B, T, 27)."""
    return ModelExport(
        module=ExportableRNN(network),
        example_input=example_input.numpy(),
        dynamic_dims=(0, 1),
        weights_prefix="network.",
        metadata={"symbols": ALPHABET},
    )

"""Recurrent networks over characters: how they are built, looked into and exported."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.characters import ALPHABET, Vocabulary
from experiments.rnn.config import RecurrentConfig
from experiments.rnn.figures import BLANK
from experiments.rnn.texts import ServedTexts
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from models.choices import default_initialisation, suits
from models.inspection.sequential import gradient_by_lag
from models.recurrent import ExportableRNN, RecurrentNetwork
from models.size import matching_width, num_parameters

NUM_LAGS = 100
"""Steps over which gradients are followed back."""
VISIBLE = Vocabulary(ALPHABET.replace(" ", BLANK))
"""The 27 characters as figures show them."""


def network_arguments(
    config: RecurrentConfig, *, num_symbols: int, horizon: int, num_conditions: int = 0
) -> dict[str, Any]:
    """Return what a configuration makes the arguments of `RecurrentNetwork`."""
    initialisation = config.initialisation
    if initialisation == "auto":
        is_defined = suits(config.cell, "orthogonal")
        initialisation = "orthogonal" if is_defined else default_initialisation(config.cell)
    return {
        "num_symbols": num_symbols,
        "cell": config.cell,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "embedding_size": config.embedding_size,
        "num_conditions": num_conditions,
        "dropout_rate": config.dropout_rate,
        "initialisation": initialisation,
        "horizon": max(3, horizon),  # the fewest steps that chrono is defined for
    }


def matching_units(arguments: Mapping[str, Any], count: int) -> int:
    """Return the hidden units with which `RecurrentNetwork` comes nearest to so many parameters."""
    return matching_width(lambda units: _of_size(arguments, units), count)


def check_size(arguments: Mapping[str, Any], count: int) -> None:
    """Raise a UserError if the smallest of these networks has more parameters than that."""
    with torch.device("meta"):  # shapes without numbers
        smallest = num_parameters(_of_size(arguments, 1))
    if count < smallest:
        cell = f"cell={arguments['cell']} has {smallest:,} parameters"
        raise UserError(f"match_parameters={count}: the smallest network with {cell}")


def _of_size(arguments: Mapping[str, Any], hidden_size: int) -> RecurrentNetwork:
    return RecurrentNetwork(**{**arguments, "hidden_size": hidden_size})


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
    network: RecurrentNetwork,
    symbols: Tensor,
    conditions: Tensor | None = None,
    *,
    names: Sequence[str],
) -> tuple[np.ndarray, list[str], list[str]]:
    """Read one sequence: symbols (1, T) int64, and its condition (1,) where there are any.

    Returns:
        The hidden units (T, H) of the last layer, and the names of symbols and predictions.

    """
    hidden, _ = network.recurrence(network.encode(symbols, conditions))
    predicted = (network.decode(hidden, conditions) + network.direct(symbols)).argmax(-1)
    read, said = ([names[index] for index in row[0].tolist()] for row in (symbols, predicted))
    return hidden[0].numpy(), read, said


def export_network(
    network: RecurrentNetwork,
    example_input: Tensor,
    served_class: type[ServedTexts[Any]],
    rows: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> ModelExport:
    """Return a network as it is logged: integers (B, T) to logits (B, T, S)."""
    return ModelExport(
        module=ExportableRNN(network),
        example_input=example_input.numpy(),
        dynamic_dims=(0, 1),
        weights_prefix="network.",
        metadata=metadata,
        served_class=served_class,
        raw_example=rows,
    )

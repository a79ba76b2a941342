"""Small models, in evaluation mode: what a test does not name is as here."""

from typing import Any

import torch
from torch import Tensor

from models.choices import CellName, EncoderName, PoolingName
from models.moe import MixtureOfExperts
from models.recurrent import RecurrentNetwork
from models.sequence_classifier import SequenceClassifier


def recurrent_network(cell: CellName = "gru", **changes: Any) -> RecurrentNetwork:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "num_symbols": 5,
        "hidden_size": 6,
        "num_layers": 1,
        "embedding_size": 0,
        "dropout_rate": 0.0,
        "initialisation": "default",
        "horizon": 3,
    }
    return RecurrentNetwork(cell=cell, **options | changes).eval()


def sequence_classifier(
    encoder: EncoderName, pooling: PoolingName = "last", **changes: Any
) -> SequenceClassifier:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "num_symbols": 8,
        "width": 16,
        "num_layers": 2,
        "num_outputs": 3,
        "dropout_rate": 0.0,
        "initialisation": "default",
        "horizon": 3,
        "max_length": 64,
        "noise": 0.0,
        "offset": 0.0,
    }
    return SequenceClassifier(encoder=encoder, pooling=pooling, **options | changes).eval()


def mixture_of_experts(num_experts: int, **changes: Any) -> MixtureOfExperts:
    """Build a mixture on points in the plane, from the current state of torch's generator."""
    options: dict[str, Any] = {
        "in_features": 2,
        "num_classes": 2,
        "mixing": "logits",
        "expert_hidden": 0,
        "gate": "softmax",
        "gate_hidden": 0,
        "top_k": 0,
        "routing": "top_k",
        "routing_noise": 0.0,
        "bias_update_rate": 0.0,
        "temperature": 1.0,
    }
    return MixtureOfExperts(num_experts=num_experts, **options | changes)


def random_symbols(*lengths: int) -> tuple[Tensor, Tensor]:
    """Return integers from 0 to 7, (B, T), and the lengths of the sequences, (B,)."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 8, (len(lengths), max(lengths)), generator=generator)
    return inputs, torch.tensor(lengths)

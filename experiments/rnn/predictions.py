"""What a network predicts for sequences of the memory tasks, and how much of it is correct.

Letters: B sequences, T steps.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.characters import BLANK
from datasets.memory_tasks import Sequences
from experiments.rnn.network import VISIBLE
from harness.training.metrics import fraction
from models.recurrent import RecurrentNetwork

STEPS_AT_ONCE = 2**17
"""Steps of all sequences together that are predicted at a time, which bounds the memory."""


class Predictions(NamedTuple):
    """What a network predicts for sequences."""

    sequences: Sequences
    symbols: Tensor
    """(B, T) int64."""
    loss: float
    """Mean over the scored symbols, in nats."""

    @property
    def correct(self) -> Tensor:
        """(B, T) bool; False where nothing is scored."""
        return (self.symbols == self.sequences.targets) & self.sequences.mask

    @property
    def accuracy(self) -> float:
        """Of all scored symbols."""
        return self.correct.sum().item() / self.sequences.mask.sum().item()

    @property
    def sequence_accuracy(self) -> float:
        """Fraction of the sequences in which every scored symbol is correct."""
        return fraction((self.correct | ~self.sequences.mask).all(-1)).item()


class Accuracies(NamedTuple):
    """What is left of predictions whose sequences would take much memory."""

    accuracy: float
    sequence_accuracy: float
    chance_accuracy: float
    """That of the best predictor without memory."""


@torch.inference_mode()
def predict(network: RecurrentNetwork, sequences: Sequences) -> Predictions:
    """Return the most probable symbol at every step."""
    size = max(1, STEPS_AT_ONCE // sequences.inputs.shape[1])
    symbols, loss = [], 0.0
    for inputs, targets, mask, delays in zip(
        *(each.split(size) for each in sequences), strict=True
    ):
        logits, _ = network(inputs, delays)
        symbols.append(logits.argmax(-1))
        loss += F.cross_entropy(logits[mask], targets[mask], reduction="sum").item()
    return Predictions(sequences, torch.cat(symbols), loss / sequences.mask.sum().item())


def as_texts(predictions: Predictions) -> dict[str, list[str]]:
    """Return the sequences as texts, with dots where nothing is scored."""
    inputs, targets, mask, _ = predictions.sequences
    columns = {
        "input": inputs,
        "target": targets.where(mask, BLANK),
        "prediction": predictions.symbols.where(mask, BLANK),
    }
    return {name: [VISIBLE.decode(row) for row in rows] for name, rows in columns.items()}

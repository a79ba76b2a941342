"""Encoders side by side: as many parameters for each, the same task, several seeds.

    python -m experiments.seq_encoders
    python -m experiments.seq_encoders --level moderate --num-marks 3

Trains one network as `experiments.seq_classification` does, then one with each encoder for each of
several seeds, and shows how their accuracy on validation rises, after how many sequences each had
solved the task, and what a sequence costs each of them as it grows longer.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from experiments import seq_classification
from experiments.figures import seq_classification as figures
from experiments.figures import training
from experiments.harness.config import STRICT, Count
from experiments.harness.device import Hardware
from experiments.harness.experiment import Experiment, learn_with_seeds
from experiments.harness.launch import launch
from experiments.harness.loop import History
from experiments.harness.tracking import Run, spread
from experiments.seq_classification import LearntClassifier, Material, SequenceConfig
from models.sequence_classifier import (
    EncoderName,
    PoolingName,
    SequenceClassifier,
    is_recurrent,
)

ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)
LENGTHS = (32, 64, 128, 256, 512, 1024)
"""Steps of the sequences that time is taken with."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EncodersConfig(SequenceConfig):
    """Train a network to classify sequences, and compare encoders over seeds."""

    entry_point: ClassVar[str] = "seq_encoders"

    match_parameters: Count = 5_000
    pooling: PoolingName = "max"
    seeds_of_each: Count = 3
    """Networks with each encoder to compare, with seeds from `seed` upwards."""


def judge(
    config: EncodersConfig, hardware: Hardware, learnt: LearntClassifier, run: Run
) -> dict[str, float]:
    """Judge the one network, then compare encoders, on validation: the test has been read."""
    metrics = seq_classification.judge(config, hardware, learnt, run)
    accuracies: dict[str, np.ndarray] = {}
    solved: dict[str, np.ndarray] = {}
    milliseconds: dict[str, np.ndarray] = {}
    compared: dict[str, float] = {}
    samples = learnt.material.validation.inputs[:20].cpu()
    for encoder in ENCODERS:
        recipe = recipe_of(config, encoder, learnt.material)
        networks = learn_with_seeds(
            seq_classification.learn, recipe, hardware, config.seeds_of_each
        )
        histories = [network.history for network in networks]
        accuracies[encoder] = np.stack([history.column("val/accuracy") for history in histories])
        solved[encoder] = needed(config, histories)
        network = seq_classification.build(recipe, learnt.material).eval()
        milliseconds[encoder] = np.array([cost(network, samples, each) for each in LENGTHS])
        compared |= in_numbers(encoder, network, accuracies[encoder], solved[encoder])
    run.log_metrics(compared)

    x, per_epoch = "epoch", 1
    if config.is_drawn:
        x, per_epoch = "training sequences seen", seq_classification.drawn_per_epoch(config)
        most = per_epoch * config.num_epochs
        run.log_figure("sequences_to_solve", figures.sequences_to_solve(solved, most))
    y = f"validation accuracy, {config.task}"
    run.log_figure("encoders", training.compared(accuracies, y, x=x, step=per_epoch))
    run.log_figure("time_by_length", figures.time_by_length(LENGTHS, milliseconds))
    return metrics | compared


def recipe_of(config: EncodersConfig, encoder: EncoderName, material: Material) -> EncodersConfig:
    """Return how a network with an encoder is trained, so that it can learn the task at all."""
    changes: dict[str, Any] = {}
    if encoder == "tcn":  # as deep as it takes to see the longest sequence
        longest = seq_classification.longest_of(config, material)
        changes["num_layers"] = max(1, math.ceil(math.log2(longest + 3)) - 2)
    elif encoder == "mingru":  # the gates of one layer alone do not know what came before
        changes["num_layers"] = max(2, config.num_layers)
    elif encoder == "fcn":
        changes["num_layers"] = 3
    elif encoder == "transformer":
        changes["num_layers"] = 2
    if not is_recurrent(encoder):  # the others diverge where recurrences learn best
        changes["learning_rate"] = config.learning_rate / 3
    return config.replace(
        encoder=encoder,
        initialisation="auto",
        early_stopping_epochs=0,  # curves of one length
        **changes,
    )


def needed(config: EncodersConfig, histories: Sequence[History]) -> np.ndarray:
    """Return the sequences until the task was solved, (seeds,), infinite where it never was."""
    counts = [seq_classification.sequences_to_solve(config, history) for history in histories]
    return np.array([math.inf if count is None else count for count in counts])


def in_numbers(
    encoder: EncoderName, network: SequenceClassifier, accuracies: np.ndarray, solved: np.ndarray
) -> dict[str, float]:
    """Return an encoder's metrics."""
    last = accuracies[:, -1]
    numbers = {
        "num_parameters": float(sum(weights.numel() for weights in network.parameters())),
        "val_accuracy_mean": float(last.mean()),
        "val_accuracy_std": spread(last.tolist()),
        "seeds_solved": float(np.isfinite(solved).sum()),
    }
    if np.isfinite(solved).all():
        numbers["sequences_to_solve_mean"] = float(solved.mean())
    return {f"by_encoder/{encoder}_{name}": value for name, value in numbers.items()}


@torch.inference_mode()
def cost(network: SequenceClassifier, inputs: Tensor, length: int) -> float:
    """Return the milliseconds that a sequence of so many steps takes, the median of five tries.

    Args:
        network: what reads them.
        inputs: sequences (B, T, ...) side by side, read over and over up to `length`.
        length: steps.

    """
    inputs = inputs[:, torch.arange(length) % inputs.shape[1]]
    lengths = torch.full((len(inputs),), length)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        network(inputs, lengths)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[1:])) / len(inputs)  # the first one warms up


EXPERIMENT = Experiment(EncodersConfig, seq_classification.learn, judge, seq_classification.prepare)


if __name__ == "__main__":
    launch(EXPERIMENT)

"""Comparison of encoders: the same task, about as many parameters for each, several seeds.

One network is trained and evaluated as in `experiments.seq_classification`; then one with each
encoder for each of several seeds. Compared are the validation accuracy, the training sequences
until the task was solved, and the time of prediction as sequences become longer. All have one
recipe, or nearly so; `python -m tuning.compare seq_classification encoder` tunes each instead.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import figures
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.lesson import (
    SequenceClassification,
    SequenceEvaluation,
    sequences_to_solve,
)
from experiments.seq_classification.tasks import TASKS, SequenceData
from experiments.seq_encoders.config import EncodersConfig
from harness.evaluation import sample_std
from harness.execution.train_all import train_all
from harness.experiment import NamedFigure, Trained
from harness.figures import training
from models.choices import ENCODERS, SCANNED, TRANSFORMERS, UNTRAINED, EncoderName, is_recurrent
from models.size import num_parameters

LENGTHS = (32, 64, 128, 256, 512, 1024)
"""Steps of the sequences whose prediction is timed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodersEvaluation(SequenceEvaluation):
    """The evaluation of the one network, and the comparison, by encoder."""

    accuracies: dict[str, np.ndarray]
    """(seeds, epochs), on validation."""
    solved: dict[str, np.ndarray]
    """(seeds,): training sequences until the task was solved, infinite where it never was."""
    milliseconds: dict[str, np.ndarray]
    """(len(LENGTHS),): time of prediction for a sequence of each length."""


def recipe(config: EncodersConfig, encoder: EncoderName, data: SequenceData) -> EncodersConfig:
    """Return the configuration with which a network with this encoder can learn the task."""
    changes: dict[str, Any] = {}
    if encoder == "tcn":  # layers whose receptive field covers the longest sequence
        changes["num_layers"] = max(1, math.ceil(math.log2(data.horizon + 3)) - 2)
    elif encoder in SCANNED:  # the gates of the first layer depend on the current input alone
        changes["num_layers"] = max(2, config.num_layers)
    elif encoder in ("fcn", "inception"):
        changes["num_layers"] = 3
    elif encoder in TRANSFORMERS:
        changes["num_layers"] = 2
    elif encoder in UNTRAINED:  # kernels up to the length of the longest sequence
        changes["num_layers"] = max(1, math.floor(math.log2(max(1, data.horizon - 1))) - 2)
    if not is_recurrent(encoder):  # they diverge at learning rates that are best for recurrent ones
        changes["learning_rate"] = config.learning_rate / 3
    return config.replace(
        encoder=encoder,
        bidirectional=config.bidirectional and is_recurrent(encoder),
        initialisation="auto",
        early_stopping_epochs=0,  # curves of one length
        refit=False,  # they are compared on validation
        seeds_of_each=1,
        **changes,
    )


@torch.inference_mode()
def milliseconds(model: nn.Module, inputs: Tensor, length: int) -> float:
    """Return the time of prediction for a sequence, the median of five measurements on the CPU.

    The inputs (B, T, ...) are repeated or cut to `length` steps.
    """
    inputs = inputs[:, torch.arange(length) % inputs.shape[1]]
    lengths = torch.full((len(inputs),), length)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        model(inputs, lengths)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[1:])) / len(inputs)  # the first one warms up


def encoder_metrics(accuracies: np.ndarray, solved: np.ndarray) -> dict[str, float]:
    """Return what is logged of an encoder: see `EncodersEvaluation`."""
    last = accuracies[:, -1]
    metrics = {
        "val_accuracy_mean": float(last.mean()),
        "val_accuracy_std": sample_std(last.tolist()),
        "seeds_solved": float(np.isfinite(solved).sum()),
    }
    if np.isfinite(solved).all():
        metrics["sequences_to_solve_mean"] = float(solved.mean())
    return metrics


class OneOfTheEncoders(SequenceClassification):
    """A network of the comparison, which its progress bar names."""

    config_class = EncodersConfig

    def title(self, config: SequenceConfig) -> str:
        """Return what the progress bar says."""
        return f"{self.name}, {config.encoder}, seed {config.seed}"


class EncoderComparison(OneOfTheEncoders):
    """Which encoder solves a task from the fewest sequences, and which is fastest."""

    # 1 Data

    def load_data(self, config: Any) -> SequenceData:
        """Return the splits; a UserError where an encoder cannot be as small as is asked for."""
        data = super().load_data(config)
        for encoder in ENCODERS:
            self.check_size(recipe(config, encoder, data), data)
        return data

    # 4 Evaluation: encoders are compared on validation; the test split is for the one network.

    def evaluate(
        self, config: Any, trained: Trained, test: LabelledSequences
    ) -> EncodersEvaluation:
        """Evaluate the network, and train and compare those with each encoder."""
        evaluation = super().evaluate(config, trained, test)
        data, metrics = trained.data, dict(evaluation.metrics)
        accuracies, solved, times = {}, {}, {}
        seeds = range(config.seed, config.seed + config.seeds_of_each)
        recipes = {
            (encoder, seed): recipe(config, encoder, data).replace(seed=seed)
            for encoder in ENCODERS
            for seed in seeds
        }
        networks = train_all(OneOfTheEncoders(), recipes, config)
        for encoder in ENCODERS:
            histories = [networks[encoder, seed].history for seed in seeds]
            accuracies[encoder] = np.stack([each.column("val/accuracy") for each in histories])
            solved[encoder] = np.array([sequences_to_solve(config, each) for each in histories])
            model, inputs = networks[encoder, config.seed].model, data.validation.inputs[:20]
            times[encoder] = np.array([milliseconds(model, inputs, steps) for steps in LENGTHS])
            measured = encoder_metrics(accuracies[encoder], solved[encoder])
            measured["num_parameters"] = num_parameters(model)
            metrics |= {f"by_encoder/{encoder}_{name}": v for name, v in measured.items()}
        compared = {"accuracies": accuracies, "solved": solved, "milliseconds": times}
        return EncodersEvaluation(**{**vars(evaluation), **compared, "metrics": metrics})

    # 5 Figures: those of the one network, then the comparison.

    def figures(
        self, config: SequenceConfig, trained: Trained, evaluation: Any
    ) -> Iterator[NamedFigure]:
        """Draw the network, and how the encoders compare."""
        yield from super().figures(config, trained, evaluation)
        x, per_epoch = "epoch", 1
        new_sequences = TASKS[config.source].new_sequences_per_epoch(config)
        if new_sequences:
            x, per_epoch = "training sequences", new_sequences
            total = per_epoch * config.num_epochs
            yield "sequences_to_solve", figures.sequences_to_solve(evaluation.solved, total)
        y = f"validation accuracy, {trained.data.name}"
        yield "encoders", training.compared(evaluation.accuracies, y, x=x, step=per_epoch)
        yield "time_by_length", figures.time_by_length(LENGTHS, evaluation.milliseconds)


EXPERIMENT = EncoderComparison()

"""The tasks: each is one object with its sequences, its targets, and how outputs are measured.

A task is added by its name in config.py and an entry in TASKS.

Letters: B sequences, T steps, C channels, K outputs.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from datasets import sequence_datasets, sequence_tasks
from datasets.errors import DataError
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import figures
from experiments.seq_classification.config import SequenceConfig
from harness.errors import UserError
from harness.evaluation import confusion_matrix
from harness.experiment import NamedFigure, Splits
from harness.figures import classification
from harness.training.batches import GeneratedSamples

MIN_POSITIONS = 1024
"""Of a transformer, also for sequences longer than those it is trained on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceData(Splits[LabelledSequences]):
    """Splits of labelled sequences, and what their numbers stand for."""

    classes: tuple[str, ...]
    """Names of the classes; empty in regression."""
    symbols: tuple[str, ...]
    """What the integers of the inputs index; empty where inputs are channels."""
    num_positions: int
    """Positions of a transformer, at least as many as the longest sequence has steps."""
    horizon: int
    """Steps to be remembered: the longest sequence that can be generated, or that validation has.

    Initialisation and depth depend on it, and so the test split has no part in it.
    """
    channel_names: tuple[str, ...] = ()
    """Of real inputs from a file; else empty."""

    @property
    def num_channels(self) -> int:
        """Channels C of real inputs; 0 where inputs are symbols."""
        return 0 if self.symbols else self.validation.inputs.shape[-1]


@dataclasses.dataclass(frozen=True)
class Task:
    """A classification: logits (B, K) are measured against classes (B,)."""

    dataset: Callable[[SequenceConfig], Any]
    """Returns what generates the sequences, or those that were collected once."""
    is_generated: bool = False
    """Whether every epoch has new sequences, in batches that are all full."""
    loss_unit: ClassVar[str] = "nats per sequence"

    def load(self, config: SequenceConfig) -> SequenceData:
        """Return the splits, on the CPU; a UserError if they cannot be had."""
        try:
            dataset = self.dataset(config)
        except DataError as error:
            parameter = {"file": "data", "archive": "data_set"}.get(config.source, "task")
            given = f"{parameter}={getattr(config, parameter)}"
            raise UserError(f"{given}: {error}") from None
        meaning: dict[str, Any] = {
            "name": dataset.name if config.source in ("archive", "file") else config.task,
            "classes": dataset.classes,
            "symbols": dataset.symbols,
            "num_positions": max(MIN_POSITIONS, dataset.max_length),
        }
        if not self.is_generated:
            counts = dataset.counts
            if config.refit:
                dataset = dataset.refit()
                counts = {"train": dataset.counts["train"], "test": counts["test"]}
            return SequenceData(
                train=dataset.train,
                validation=dataset.validation,
                load_test=lambda: dataset.test,
                horizon=int(dataset.validation.lengths.max()),
                counts=counts,
                skipped=dataset.skipped,
                channel_names=dataset.channels,
                fingerprints=dataset.fingerprints,
                **meaning,
            )
        size, seed = config.batch_size, config.seed
        return SequenceData(
            train=GeneratedSamples(
                lambda _, number, device: dataset.generate(size, seed, "train", number, device),
                num_batches=math.ceil(config.num_train / size),
            ),
            validation=dataset.generate(config.num_validation, seed, "validation"),
            load_test=lambda: dataset.generate(config.num_test, seed, "test"),
            horizon=dataset.max_length,
            **meaning,
        )

    def data_bytes(self, config: SequenceConfig) -> int:
        """Return the size of generated sequences, 8 bytes a step; collected ones count nothing."""
        if not self.is_generated:
            return 0
        count = config.batch_size + config.num_validation + config.num_test
        return int(8 * count * self.dataset(config).max_length)

    def new_sequences_per_epoch(self, config: SequenceConfig) -> int:
        """Return the training sequences of an epoch that none had before."""
        num_batches = math.ceil(config.num_train / config.batch_size)
        return num_batches * config.batch_size if self.is_generated else 0

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(outputs, labels)

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return which sequences are predicted correctly, (B,) bool."""
        return outputs.argmax(-1) == labels

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the predicted probabilities of the classes, (B, K)."""
        return outputs.softmax(-1)

    def examples(self, sequences: LabelledSequences) -> list[int]:
        """Return the indices of sequences worth a close look: the shortest of each class."""
        labels = sequences.labels.numpy()
        by_length = np.argsort(sequences.lengths.numpy(), kind="stable")
        return [int(by_length[labels[by_length] == label][0]) for label in np.unique(labels)]

    def title(self, label: Tensor, data: SequenceData) -> str:
        """Return what a target () is called in figures."""
        return f"class {data.classes[int(label)]}"

    def figure(self, outputs: Tensor, labels: Tensor, data: SequenceData) -> NamedFigure:
        """Draw predictions against targets."""
        predicted = outputs.argmax(-1).numpy()
        counts = confusion_matrix(labels.numpy(), predicted, num_classes=len(data.classes))
        return "confusion", classification.confusion(counts, data.classes)


class AddingTask(Task):
    """A regression: predicted sums (B, 1) are measured against the actual ones (B,)."""

    loss_unit = "mean squared error"
    tolerance = sequence_tasks.Adding.tolerance

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:  # noqa: D102
        return F.mse_loss(outputs.squeeze(-1), labels)

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return which sums are predicted within the tolerance, (B,) bool."""
        return (outputs.squeeze(-1) - labels).abs() < self.tolerance

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the predicted sums, (B, 1)."""
        return outputs

    def examples(self, sequences: LabelledSequences) -> list[int]:  # noqa: D102
        return [0]

    def title(self, label: Tensor, data: SequenceData) -> str:  # noqa: D102
        return f"sum {label.item():.2f}"

    def figure(self, outputs: Tensor, labels: Tensor, data: SequenceData) -> NamedFigure:  # noqa: D102
        sums, predicted = labels.numpy(), outputs.squeeze(-1).numpy()
        return "predictions", figures.predictions(sums, predicted, tolerance=self.tolerance)


TASKS: dict[str, Task] = {
    "temporal_order": Task(
        lambda config: sequence_tasks.TemporalOrder(config.num_marks, config.level),
        is_generated=True,
    ),
    "adding": AddingTask(lambda config: sequence_tasks.Adding(config.length), is_generated=True),
    "digits": Task(
        lambda config: sequence_datasets.digits(
            config.order, shuffled=config.shuffled, seed=config.seed
        )
    ),
    "japanese_vowels": Task(lambda _: sequence_datasets.japanese_vowels()),
    "archive": Task(lambda config: sequence_datasets.archive(config.data_set, config.seed)),
    "file": Task(
        lambda config: sequence_datasets.from_file(config.data, config.format, config.seed)
    ),
}

"""The tasks: their sequences, their targets, and how outputs are measured against the targets.

A task is added by a class in TASKS, and by its name in config.py.

Letters: B sequences, T steps, C channels, K outputs.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from datasets import sequence_datasets, sequence_tasks
from datasets.errors import DataError
from datasets.sequence_datasets import SequenceDataset
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import figures
from experiments.seq_classification.config import SequenceConfig, TaskName
from harness.errors import UserError
from harness.evaluation import confusion_matrix
from harness.experiment import NamedFigure, Splits
from harness.figures import classification
from harness.training.batches import GeneratedSamples


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceData(Splits[LabelledSequences]):
    """Splits of labelled sequences, and what their numbers stand for."""

    classes: tuple[str, ...]
    """Names of the classes; empty in regression."""
    symbols: str
    """Characters that the integers of the inputs index; empty where inputs are channels."""
    max_length: int
    """Steps of the longest sequence of all splits."""
    horizon: int
    """Steps to be remembered: the longest sequence that can be generated, or that validation has.

    Initialisation and depth depend on it, and so the test split has no part in it.
    """

    @property
    def num_channels(self) -> int:
        """Channels C of real inputs; 0 where inputs are symbols."""
        return 0 if self.symbols else self.validation.inputs.shape[-1]

    @property
    def recorded_channels(self) -> tuple[Tensor, Tensor] | None:
        """Channels (N, T, C) and lengths (N,) of training, unless inputs are symbols or generated.

        They have units of their own, and are standardized by these.
        """
        if self.symbols or not isinstance(self.train, LabelledSequences):
            return None
        return self.train.inputs, self.train.lengths

    @property
    def num_positions(self) -> int:
        """Positions of a transformer, also for sequences longer than those it is trained on."""
        return max(1024, self.max_length)

    @property
    def num_outputs(self) -> int:
        """K: the logits of the classes, or one number."""
        return len(self.classes) or 1


class Task(ABC):
    """Classification of sequences; a regression overrides the methods about targets."""

    loss_unit: ClassVar[str] = "nats per sequence"

    def __init__(self, config: SequenceConfig):
        self.config = config

    @abstractmethod
    def load(self) -> SequenceData:
        """Return the splits, on the CPU.

        Raises:
            UserError: they cannot be had.

        """

    @property
    def new_sequences_per_epoch(self) -> int:
        """Training sequences of an epoch that no epoch had before; 0 if all have the same."""
        return 0

    def augment(self, inputs: Tensor, lengths: Tensor, labels: Tensor) -> LabelledSequences:
        """Return a training batch, changed at random if the configuration says so."""
        return LabelledSequences(inputs, lengths, labels)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, K) and labels (B,)."""
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
        """Draw predictions against targets: outputs (N, K), labels (N,)."""
        counts = confusion_matrix(
            labels.numpy(), outputs.argmax(-1).numpy(), num_classes=len(data.classes)
        )
        return "confusion", classification.confusion(counts, data.classes)


class GeneratedTask(Task):
    """Sequences are generated, new ones in every epoch."""

    dataset: sequence_tasks.TemporalOrder | sequence_tasks.Adding
    classes: tuple[str, ...] = ()
    symbols: ClassVar[str] = ""

    def load(self) -> SequenceData:  # noqa: D102
        config, dataset = self.config, self.dataset
        return SequenceData(
            name=config.task,
            train=GeneratedSamples(
                lambda epoch, number, device: dataset.generate(
                    config.batch_size, config.seed, "train", number, device
                ),
                num_batches=self.num_batches,
            ),
            validation=dataset.generate(config.num_validation, config.seed, "validation"),
            load_test=lambda: dataset.generate(config.num_test, config.seed, "test"),
            classes=self.classes,
            symbols=self.symbols,
            max_length=dataset.max_length,
            horizon=dataset.max_length,
        )

    @property
    def num_batches(self) -> int:
        """Of an epoch; all of them are full."""
        return math.ceil(self.config.num_train / self.config.batch_size)

    @property
    def new_sequences_per_epoch(self) -> int:  # noqa: D102
        return self.num_batches * self.config.batch_size


class TemporalOrder(GeneratedTask):
    """The class is the order of two or three marks among distractors."""

    symbols = sequence_tasks.SYMBOLS

    def __init__(self, config: SequenceConfig):
        super().__init__(config)
        self.dataset = sequence_tasks.TemporalOrder(config.num_marks, config.level)
        self.classes = self.dataset.classes


class Adding(GeneratedTask):
    """The target is the sum of two marked numbers: a regression."""

    loss_unit = "mean squared error"
    tolerance = sequence_tasks.Adding.tolerance

    def __init__(self, config: SequenceConfig):
        super().__init__(config)
        self.dataset = sequence_tasks.Adding(config.length)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared error of outputs (B, 1) and targets (B,)."""
        return F.mse_loss(outputs.squeeze(-1), labels)

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return which sums are predicted within the tolerance, (B,) bool."""
        return (outputs.squeeze(-1) - labels).abs() < self.tolerance

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the predicted sums, (B, 1)."""
        return outputs

    def examples(self, sequences: LabelledSequences) -> list[int]:
        """Return the first index."""
        return [0]

    def title(self, label: Tensor, data: SequenceData) -> str:  # noqa: D102
        return f"sum {label.item():.2f}"

    def figure(self, outputs: Tensor, labels: Tensor, data: SequenceData) -> NamedFigure:
        """Draw predicted sums against actual ones."""
        predicted = outputs.squeeze(-1).numpy()
        return "predictions", figures.predictions(
            labels.numpy(), predicted, tolerance=self.tolerance
        )


class RecordedTask(Task):
    """Sequences were collected once, and come in another order in each epoch."""

    parameter: ClassVar[str] = "task"
    """What an error about the data names."""

    @abstractmethod
    def read(self) -> SequenceDataset:
        """Return the sequences.

        Raises:
            DataError: they are missing or invalid.

        """

    def load(self) -> SequenceData:  # noqa: D102
        try:
            dataset = self.read()
        except DataError as error:
            value = getattr(self.config, self.parameter)
            raise UserError(f"{self.parameter}={value}: {error}") from None
        return SequenceData(
            name=self.config.task,
            train=dataset.train,
            validation=dataset.validation,
            load_test=lambda: dataset.test,
            classes=dataset.classes,
            symbols=dataset.symbols,
            max_length=dataset.max_length,
            horizon=int(dataset.validation.lengths.max()),
        )


class Digits(RecordedTask):
    """Handwritten digits, row by row or pixel by pixel."""

    def read(self) -> SequenceDataset:  # noqa: D102
        config = self.config
        return sequence_datasets.digits(config.order, shuffled=config.shuffled, seed=config.seed)

    def augment(self, inputs: Tensor, lengths: Tensor, labels: Tensor) -> LabelledSequences:
        """Distort each digit by a random affine map of its own."""
        if self.config.distortion:
            inputs = sequence_datasets.random_affine(inputs, self.config.distortion)
        return LabelledSequences(inputs, lengths, labels)


class JapaneseVowels(RecordedTask):
    """Two vowels by nine speakers; the class is the speaker."""

    def read(self) -> SequenceDataset:  # noqa: D102
        return sequence_datasets.japanese_vowels()


class CSV(RecordedTask):
    """Sequences of symbols from a file."""

    parameter = "csv"

    def read(self) -> SequenceDataset:  # noqa: D102
        return sequence_datasets.from_csv(self.config.csv, self.config.seed)


TASKS: dict[TaskName, type[Task]] = {
    "temporal_order": TemporalOrder,
    "adding": Adding,
    "digits": Digits,
    "japanese_vowels": JapaneseVowels,
    "csv": CSV,
}


def task_of(config: SequenceConfig) -> Task:
    """Return the task that a configuration names."""
    return TASKS[config.task](config)

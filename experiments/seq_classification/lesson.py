"""Sequence classification: one prediction for a whole sequence.

In B a c X d ... Y b E the class is the order of the two marks, XY; everything between them is a
distractor, dozens of steps long. An encoder computes features of every step, pooling makes one
vector of them, and a linear layer maps it to the outputs; a recurrent encoder has to keep the first
mark in its state until the last step.

    S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997, experiments 4 and 6

Letters: N sequences of a split, B of a batch, T steps, C channels, K outputs.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from datasets.sequence_datasets import random_affine
from datasets.sequence_tasks import LabelledSequences
from experiments.ensemble.teacher import TaughtExperiment
from experiments.seq_classification import baselines, figures, random_features
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.inspection import inspect
from experiments.seq_classification.tasks import TASKS, SequenceData
from harness.errors import UserError
from harness.evaluation import Predictions
from harness.experiment import Evaluation, ImagesByEpoch, NamedFigure, Trained
from harness.figures import classification, training
from harness.training.batches import Batches, MappedBatches, TensorBatches
from harness.training.history import History
from harness.training.metrics import StepOutput, confusion_matrix, fraction
from harness.wording import plural
from models.choices import WIDTH_STEPS, default_initialisation
from models.sequence_classifier import SequenceClassifier
from models.size import matching_width, num_parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceEvaluation(Evaluation):
    """Metrics on the test split, and the outputs there."""

    test: LabelledSequences
    outputs: Tensor
    """(N, K)."""


@torch.inference_mode()
def predict(model: nn.Module, sequences: LabelledSequences) -> Tensor:
    """Return the outputs for all sequences, (N, K)."""
    batches = TensorBatches(*sequences, batch_size=100)
    return torch.cat([model(inputs, lengths) for inputs, lengths, _ in batches])


def sequences_to_solve(config: SequenceConfig, history: History) -> float:
    """Return how many sequences were trained on when validation accuracy first was 1, or inf."""
    if not (count := TASKS[config.source].new_sequences_per_epoch(config)):
        return math.inf
    solved = np.flatnonzero(history.column("val/accuracy") == 1)
    return float(solved[0] + 1) * count if len(solved) else math.inf


def width_step(config: SequenceConfig) -> int:
    """Return what a width that matches a number of parameters is a multiple of, at least 4."""
    return WIDTH_STEPS.get(config.encoder, 4)


class SequenceClassification(TaughtExperiment[SequenceConfig]):
    """Predict from whole sequences, in which the steps that matter lie far apart.

    The tasks are the temporal order of marks, the adding problem, scikit-learn's digits read as
    sequences, Japanese vowels, sets of the UCR and UEA archives, and files of one's own. Each is
    one object (tasks.py) that loads its sequences and measures outputs: classes by cross-entropy,
    the sums of the adding problem by squared error (correct within 0.04).

    A GRU of 16 units learns the order of two marks among 100 to 110 steps from 2,300 sequences, and
    among 300 to 500 steps from 2,800; it makes no error in 1,000 others with any of 20 seeds.
    """

    config_class = SequenceConfig

    # 1 Data: sequences of different lengths, padded at their end.

    def load_data(self, config: SequenceConfig) -> SequenceData:
        """Return symbols (N, T) or channels (N, T, C), lengths (N,) and labels (N,) by split."""
        data = TASKS[config.source].load(config)
        self.check_size(config, data)
        if config.baselines:
            baselines.check(config, data)
        return data

    def data_bytes(self, config: SequenceConfig) -> int:
        """Return the size of generated sequences: one int64, or two float32, for each step."""
        return TASKS[config.source].data_bytes(config)

    # 2 Model: encoder, pooling, linear layer.

    def build_model(self, config: SequenceConfig, data: SequenceData) -> SequenceClassifier:
        """Return a network of the width that is given, or that matches a number of parameters."""
        build = partial(self.build_network, config, data)
        width = config.width
        if config.match_parameters:
            step = width_step(config)
            width = matching_width(build, config.match_parameters, multiple_of=step)
        model = build(width)
        if isinstance(data.train, LabelledSequences):
            inputs, lengths, _ = data.train
            if not data.symbols:
                # Pixels, like coefficients of speech, have one unit; other channels have their own.
                same_unit = config.source in ("digits", "japanese_vowels")
                model.standardize.fit(inputs, lengths, same_unit=same_unit)
            random_features.fit(model, data.train)  # where the encoder is not trained
        return model

    def build_network(
        self, config: SequenceConfig, data: SequenceData, width: int
    ) -> SequenceClassifier:
        """Return a network of a width, freshly initialised."""
        initialisation = config.initialisation
        if initialisation == "auto":
            initialisation = default_initialisation(config.encoder)
        return SequenceClassifier(
            num_symbols=len(data.symbols),
            num_channels=data.num_channels,
            encoder=config.encoder,
            bidirectional=config.bidirectional,
            pooling=config.pooling,
            width=width,
            num_layers=config.num_layers,
            num_outputs=len(data.classes) or 1,
            dropout_rate=config.dropout_rate,
            initialisation=initialisation,
            horizon=max(3, data.horizon),
            max_length=data.num_positions,
            noise=config.noise,
            offset=config.offset,
        )

    def check_size(self, config: SequenceConfig, data: SequenceData) -> None:
        """Raise a UserError if no network is as narrow as `match_parameters` asks for."""
        if not (given := config.match_parameters):
            return
        with torch.device("meta"):  # shapes without numbers
            narrowest = num_parameters(self.build_network(config, data, width_step(config)))
        if given < narrowest:
            smallest = f"encoder={config.encoder} has {narrowest:,} parameters"
            raise UserError(f"match_parameters={given}: the narrowest network with {smallest}")

    # 3 Training: the loss of the task, on batches in which digits may be distorted.

    def loss(
        self, config: SequenceConfig, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]
    ) -> StepOutput:
        """Return loss and accuracy: inputs (B, T) or (B, T, C), lengths (B,), labels (B,)."""
        task = TASKS[config.source]
        inputs, lengths, labels = batch
        outputs = model(inputs, lengths)  # (B, K)
        loss = task.loss(outputs, labels)
        accuracy = fraction(task.correct(outputs, labels))
        metrics = {"loss": loss, "accuracy": accuracy}
        if not model.training and 1 < outputs.shape[1] <= classification.MAX_NUMBERED:
            metrics["confusion"] = confusion_matrix(labels, outputs.argmax(-1), outputs.shape[1])
        return StepOutput(loss, metrics, len(labels))

    def training_batches(self, config: SequenceConfig, data: SequenceData, epoch: int) -> Batches:
        """Return the batches of an epoch; each digit may be distorted by a map of its own."""

        def distort(inputs: Tensor, lengths: Tensor, labels: Tensor) -> LabelledSequences:
            return LabelledSequences(random_affine(inputs, config.distortion), lengths, labels)

        batches = super().training_batches(config, data, epoch)
        return MappedBatches(batches, distort) if config.distortion else batches

    def has_validation(self, config: SequenceConfig) -> bool:
        """Return whether the validation split is no part of that for training."""
        return not config.refit

    def validation_batches(self, config: SequenceConfig, data: SequenceData) -> TensorBatches:
        """Return the validation split, 100 sequences at a time."""
        return TensorBatches(*data.validation, batch_size=100)

    # 4 Evaluation: accuracy, and how many sequences it took to solve the task.

    def predictions(self, trained: Trained, split: LabelledSequences) -> Predictions | None:
        """Return what the network predicts for sequences; None for numbers."""
        if not (classes := trained.data.classes):
            return None
        probabilities = predict(trained.model, split).double().softmax(1).numpy()
        return Predictions(split.labels.numpy(), probabilities, classes)

    def evaluate(
        self, config: SequenceConfig, trained: Trained, test: LabelledSequences
    ) -> SequenceEvaluation:
        """Evaluate the network on the test split."""
        task, outputs = TASKS[config.source], predict(trained.model, test)
        metrics = {
            "test/accuracy": fraction(task.correct(outputs, test.labels)).item(),
            "test/loss": task.loss(outputs, test.labels).item(),
        }
        headline = (
            f"{config.encoder}, {num_parameters(trained.model):,} parameters, {trained.data.name}: "
            f"test accuracy {metrics['test/accuracy']:.4f} "
            f"on {plural(len(test.labels), 'sequence')}"
        )
        solved = sequences_to_solve(config, trained.history)
        if solved < math.inf:
            metrics["best/sequences_to_solve"] = solved
            headline += f", solved after {solved:,.0f} training sequences"
        if config.refit:
            headline += ", trained on the validation split, too: there is no validation"
        if config.baselines:
            of_baselines = baselines.accuracies(config, trained.data, test)
            metrics |= of_baselines
            headline += baselines.as_words(of_baselines)
        headline += "."
        return SequenceEvaluation(metrics=metrics, headline=headline, test=test, outputs=outputs)

    # 5 Figures: how training went, what is predicted, and what the network does step by step.

    def figures(
        self, config: SequenceConfig, trained: Trained, evaluation: SequenceEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw predictions on the test split, and look closely at up to eight sequences."""
        task, data = TASKS[config.source], trained.data
        test, outputs = evaluation.test, evaluation.outputs
        correct = task.correct(outputs, test.labels)

        yield "curves", training.curves(**trained.history.as_curves(), loss_unit=task.loss_unit)
        lengths = test.lengths.numpy()
        if lengths.min() < lengths.max():
            yield "accuracy_by_length", figures.accuracy_by_length(lengths, correct.numpy())
        yield task.figure(outputs, test.labels, data)
        examples = task.examples(test)[:8]
        inspections = [inspect(trained.model, task, data, test, index) for index in examples]
        yield "states", figures.states(inspections)
        yield "importance", figures.importance(inspections)
        if not data.symbols:
            yield "importance_on_series", figures.importance_on_series(inspections)
        yield "prediction_by_step", figures.prediction_by_step(inspections, data.classes)

    def images(self, config: SequenceConfig, trained: Trained) -> ImagesByEpoch:
        """Draw the confusion matrix on the validation split as training goes on."""
        names, count = trained.data.classes, len(trained.data.validation.labels)
        return classification.confusion_by_epoch(trained.history, names, count)


EXPERIMENT = SequenceClassification()

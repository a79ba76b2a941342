"""Recurrent networks and memory: repeat what was read some steps ago.

An echo with a delay of d steps takes a memory of d letters in their order. To copy, ten symbols are
read, held over many blanks, and repeated after a marker. In selective tasks, the sequence itself
says what is worth remembering, and when it is asked for. Nothing tells a network how to remember:
it is trained on its errors alone.

    S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997

Letters: B sequences, T steps, S = 27 symbols (the blank and a to z).
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.characters import VOCABULARY_SIZE
from datasets.memory_tasks import Echo, Sequences
from datasets.selective_tasks import SelectiveTask
from experiments.rnn import figures, tasks
from experiments.rnn.config import RNNConfig
from experiments.rnn.network import (
    NUM_LAGS,
    VISIBLE,
    check_size,
    gradient_norms,
    hidden_units,
    matching_units,
    network_arguments,
)
from experiments.rnn.predictions import Accuracies, Predictions, as_texts, predict
from harness.experiment import Evaluation, Experiment, ImagesByEpoch, NamedFigure, Splits, Trained
from harness.figures import style, training
from harness.training.batches import GeneratedSamples
from harness.training.metrics import StepOutput, fraction, wide_dtype
from harness.wording import plural
from models.recurrent import RecurrentNetwork

FACTORS = (1, 2, 4, 8, 16)
"""How many times as long as in training the sequences of the last evaluation are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEvaluation(Evaluation):
    """Metrics on the test split, and the predictions there and on longer sequences."""

    predictions: Predictions
    by_factor: Mapping[int, Accuracies]
    """On sequences `FACTORS` times as long."""


class MemoryTasks(Experiment[RNNConfig]):
    """Recurrent networks learn how long to remember, also for sequences longer than in training.

    The default GRU echoes every letter after 4 steps, in sequences sixteen times as long as in
    training with an accuracy of 0.999997 (5 seeds). An LSTM of 128 units copies 10 symbols over 200
    blanks with 0.99996, and fails over 3,200 (0.134; chance is 1/8). Two layers of S6, whose step
    size can be exactly 0, copy over 3,200 without an error (5 seeds of 200 sequences). Both are
    trained on few blanks first, and then on more and more (curriculum.py); without, the LSTM
    learned nothing in the same time. An LSTM of 64 units trained on parities of 40
    bits makes no error in those of 640 (5 seeds).
    """

    config_class = RNNConfig

    # 1 Data: sequences are generated, new ones for each epoch unless the configuration fixes them.

    def load_data(self, config: RNNConfig) -> Splits[Sequences]:
        """Generate inputs and targets (B, T), a mask of what is scored (B, T), delays (B,)."""
        if config.match_parameters:
            check_size(self.network_arguments(config), config.match_parameters)

        def generate(epoch: int, number: int, device: torch.device) -> Sequences:
            task = tasks.for_training(config, epoch, number)
            return task.generate(config.batch_size, config.seed, "train", number, device)

        task, seed = tasks.for_validation(config), config.seed
        num_batches = math.ceil(config.num_train / config.batch_size)
        return Splits(
            name=config.task,
            train=GeneratedSamples(generate, num_batches)
            if config.resample_each_epoch
            else task.generate(config.num_train, seed, "train"),
            validation=task.generate(config.num_validation, seed, "validation"),
            load_test=lambda: tasks.for_test(config).generate(config.num_test, seed, "test"),
        )

    def data_bytes(self, config: RNNConfig) -> int:
        """Return the size of inputs and targets, int64, with their mask; as long as in the test."""
        count = config.batch_size if config.resample_each_epoch else config.num_train
        in_training = (count + config.num_validation) * tasks.for_validation(config).max_length
        tested = tasks.for_test(config), tasks.for_validation(config, FACTORS[-1])
        in_test = config.num_test * max(task.max_length for task in tested)
        return 17 * in_training + (17 + 8) * in_test  # with the predictions, int64

    # 2 Model: symbols -> recurrent layers -> logits at every step.

    def build_model(self, config: RNNConfig, data: object) -> nn.Module:
        """Return a network, which is given the delay of a sequence where delays vary."""
        arguments = self.network_arguments(config)
        if config.match_parameters:
            arguments["hidden_size"] = matching_units(arguments, config.match_parameters)
        return RecurrentNetwork(**arguments)

    def network_arguments(self, config: RNNConfig) -> dict[str, Any]:
        """Return the arguments of `RecurrentNetwork`."""
        return network_arguments(
            config,
            num_symbols=VOCABULARY_SIZE,
            horizon=tasks.for_training(config, epoch=1).max_length,
            num_conditions=config.max_delay + 1 if config.task == "variable_echo" else 0,
        )

    # 3 Training: only symbols that have to be remembered are scored; blanks would be too easy.

    def loss(
        self, config: RNNConfig, model: RecurrentNetwork, batch: Sequence[Tensor]
    ) -> StepOutput:
        """Return the mean cross-entropy of the scored symbols, and how many are correct."""
        inputs, targets, mask, delays = batch
        logits, _ = model(inputs, delays)  # (B, T, S)
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")  # (B, T)
        num_scored = mask.sum()
        loss = (losses * mask).sum() / num_scored
        correct = logits.argmax(-1) == targets
        metrics = {
            "loss": loss,
            "accuracy": (correct & mask).sum().to(wide_dtype(mask.device)) / num_scored,
            "sequence_accuracy": fraction((correct | ~mask).all(-1)),
        }
        if not model.training:
            by_position = torch.stack([(correct & mask).sum(0), mask.sum(0)])  # (2, T)
            metrics["by_position"] = by_position.to(wide_dtype(mask.device)) / num_scored
        name, _ = tasks.length_parameter(config)
        if model.training and name != "length":  # it may grow from epoch to epoch
            shorter = tasks.for_validation(config).max_length - inputs.shape[1]
            metrics[name] = loss.new_full((), getattr(config, name) - shorter)
        return StepOutput(loss, metrics, num_scored)

    # 4 Evaluation: on the test split, whose echoes are up to `test_length` letters long; then on
    # sequences once to sixteen times as long as in training.

    def evaluate(self, config: RNNConfig, trained: Trained, test: Sequences) -> MemoryEvaluation:
        """Predict the test split and the longer sequences."""
        predictions, by_factor = predict(trained.model, test), {}
        metrics = {
            "test/accuracy": predictions.accuracy,
            "test/sequence_accuracy": predictions.sequence_accuracy,
            "test/loss": predictions.loss,
            "test/chance_accuracy": tasks.for_test(config).chance_accuracy,
        }
        for factor in FACTORS:
            task = tasks.for_validation(config, factor)
            longer = task.generate(config.num_test, config.seed, "test", batch=factor)
            there = predict(trained.model, longer)
            accuracies = there.accuracy, there.sequence_accuracy, task.chance_accuracy
            by_factor[factor] = Accuracies(*accuracies)
            if factor > 1:
                metrics[f"test/accuracy_{factor}x_length"] = there.accuracy
        units = trained.model.output[-1].in_features
        headline = (
            f"{config.cell} with {plural(units, 'unit')}, {config.task}: test "
            f"accuracy {predictions.accuracy:.5f} (without memory: "
            f"{metrics['test/chance_accuracy']:.4f}), "
            f"{predictions.sequence_accuracy:.4f} of whole sequences; "
            f"{there.accuracy:.5f} at {factor} times the length."
        )
        table = {"delay": test.delays.tolist(), **as_texts(predictions)}
        return MemoryEvaluation(
            metrics=metrics,
            headline=headline,
            tables={"test_predictions": table},
            predictions=predictions,
            by_factor=by_factor,
        )

    # 5 Figures: accuracy by length, position and delay; what is remembered, and from how far back.

    def figures(
        self, config: RNNConfig, trained: Trained, evaluation: MemoryEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw what the network remembers."""
        test, correct = evaluation.predictions.sequences, evaluation.predictions.correct
        name, unit = tasks.length_parameter(config)
        at_length = np.array(list(evaluation.by_factor.values()))  # (M, 3)
        lengths = getattr(config, name) * np.array(list(evaluation.by_factor))
        yield "accuracy_by_length", figures.accuracy_by_length(lengths, *at_length.T, unit=unit)

        by_position = [values.sum(0).numpy() for values in (correct, test.mask)]
        task = tasks.for_test(config)
        yield (
            "accuracy_by_position",
            figures.accuracy_by_position(*by_position, chance=task.chance_accuracy),
        )
        if config.task == "variable_echo":
            counts = [values.sum(1).double() for values in (correct, test.mask)]
            hits, scored = (torch.bincount(test.delays, c).long().numpy() for c in counts)
            chances = np.array([Echo(d, d, d + 1, d + 1).chance_accuracy for d in range(len(hits))])
            yield "accuracy_by_delay", figures.accuracy_by_delay(hits, scored, chances)

        # From how many steps back a gradient reaches the network's input, trained and untrained.
        random_letters = Echo(0, 0, min_length=NUM_LAGS, max_length=NUM_LAGS)
        letters = random_letters.generate(64, config.seed, "test", batch=len(FACTORS)).inputs
        conditions = torch.full((len(letters),), config.max_delay)
        norms = gradient_norms(trained, letters, letters[:, 0], conditions)
        delay = config.delay if config.task == "echo" else None
        yield "reach", figures.reach(norms, delay)

        first = test.inputs[:1], test.delays[:1]
        hidden = hidden_units(trained.model, *first, names=VISIBLE.symbols)
        yield "memory", figures.memory(*hidden, scored=test.mask[0].tolist())
        if isinstance(task, SelectiveTask):
            to_remember = task.to_remember(first[0])[0].numpy()
            yield "writing", figures.writing(hidden[0], to_remember, test.mask[0].numpy())
        rows = zip(*as_texts(evaluation.predictions).values(), strict=True)
        yield "predictions", figures.predictions(list(rows)[:8])
        curves = training.curves(**trained.history.as_curves(), loss_unit="nats per symbol")
        yield "curves", curves

    def images(self, config: RNNConfig, trained: Trained) -> ImagesByEpoch:
        """Draw the accuracy by position on the validation split as training goes on."""
        if "val/by_position" not in trained.history.raw[0]:  # it was trained by an earlier version
            return {}
        count = trained.data.validation.mask.sum().item()
        shares = trained.history.stacked("val/by_position")  # (epochs, 2, T)
        by_epoch, chance = {}, tasks.for_validation(config).chance_accuracy
        for epoch in trained.history.milestones():
            by_position = (count * shares[epoch - 1]).round().astype(int)
            figure = figures.accuracy_by_position(*by_position, chance=chance, epoch=epoch)
            by_epoch[epoch] = style.drawn(figure)
        return by_epoch


EXPERIMENT = MemoryTasks()

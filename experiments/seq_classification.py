"""Sequence classification: one answer after a whole sequence, by encoders that can be exchanged.

    python -m experiments.seq_classification                          the order of two marks
    python -m experiments.seq_classification --num-marks 3            of three
    python -m experiments.seq_classification --encoder tcn --num-layers 6
    python -m experiments.seq_classification --task digits --width 64
    python -m experiments.seq_classification --task csv --csv sequences.csv

Between the marks lie dozens of steps that mean nothing. A network that forgets them forgets the
marks with them; one that has learnt what to keep answers as well after three hundred steps.
"""

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le, Lt
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from datasets import labelled
from datasets.errors import DataError
from datasets.labelled import DigitsOrder, Labelled
from datasets.sequences import SYMBOLS, Adding, LabelledSequences, LevelName, TemporalOrder
from datasets.splits import Split
from experiments.figures import classification, training
from experiments.figures import seq_classification as figures
from experiments.harness import scores
from experiments.harness.batches import DrawnBatches, MappedBatches, TensorBatches
from experiments.harness.config import (
    STRICT,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    TrainingConfig,
)
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment, Learnt
from experiments.harness.launch import launch
from experiments.harness.loop import Callback, History, TrainingBatches, fit
from experiments.harness.metrics import Outcome, size_of
from experiments.harness.optimizers import OptimizerName, build_optimizer
from experiments.harness.tracking import Run
from models.inspection import gradient_times_input
from models.recurrent import Initialisation
from models.sequence_classifier import (
    EncoderName,
    PoolingName,
    SequenceClassifier,
    SequencePredictor,
    can_start,
    suited,
)

TaskName = Literal["temporal_order", "adding", "digits", "japanese_vowels", "csv"]
MOST_POSITIONS = 1024
"""Steps that a transformer can read where nothing longer is to be learnt."""
MOST_PREFIXES = 120
"""Beginnings of a sequence after which an answer is asked for."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SequenceConfig(TrainingConfig):
    """Train a network to classify whole sequences."""

    family: ClassVar[str] = "seq_classification"
    entry_point: ClassVar[str] = "seq_classification"
    tiny: ClassVar[Mapping[str, Any]] = {
        "level": "easy",
        "num_epochs": 2,
        "batch_size": 20,
        "width": 8,
        "num_train": 100,
        "num_validation": 40,
        "num_test": 60,
    }

    num_epochs: Count = 16
    batch_size: Count = 20
    learning_rate: Positive = 1e-2
    gradient_clip_norm: NotNegative = 1.0
    task: TaskName = "temporal_order"
    """What is to be classified."""
    level: LevelName = "hard"
    """temporal_order: how long sequences are."""
    num_marks: Annotated[int, Ge(2), Le(3)] = 2
    """temporal_order: marks whose order is the class (2: four classes, 3: eight)."""
    length: Annotated[int, Ge(2)] = 200
    """adding: steps of a sequence."""
    order: DigitsOrder = "rows"
    """digits: eight steps of a row each, or 64 of a pixel each."""
    shuffled: bool = False
    """digits: mix the writers of training and test, which is easier."""
    distortion: Annotated[float, Ge(0), Le(4)] = 0.0
    """digits: pixels that edges are moved by in training, by turning, stretching, slanting."""
    csv: str = ""
    """csv: path of the labelled sequences, a class and its symbols in each line."""
    encoder: EncoderName = "gru"
    """What reads the sequence."""
    pooling: PoolingName = "last"
    """What becomes of the steps that were read."""
    width: Count = 16
    """Features of each layer."""
    match_parameters: CountOrNone = 0
    """Choose the width with which the network comes nearest to so many parameters (0: `width`)."""
    num_layers: Count = 1
    """Layers of the encoder."""
    dropout_rate: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Part of the features that is hidden in training."""
    noise: NotNegative = 0.0
    """Noise that is added to real channels in training, in their standard deviations."""
    offset: NotNegative = 0.0
    """What is added to all steps of a channel alike in training, in the same unit."""
    initialisation: Literal["auto", Initialisation] = "auto"
    """How recurrent weights start (auto: chrono where there are gates, orthogonal for rnn)."""
    optimizer: OptimizerName = "adamw"
    """Optimiser; SGD has Nesterov's momentum of 0.9."""
    num_train: Count = 500
    """Sequences of an epoch, new ones in each (temporal_order, adding)."""
    num_validation: Count = 500
    """Sequences to choose the epoch by (temporal_order, adding)."""
    num_test: Count = 1000
    """Sequences to judge the chosen network by (temporal_order, adding)."""

    @property
    def is_drawn(self) -> bool:
        """Whether there are as many sequences as wanted, rather than what somebody collected."""
        return self.task in ("temporal_order", "adding")

    @model_validator(mode="after")
    def _agree(self) -> "SequenceConfig":
        if self.initialisation != "auto" and not can_start(self.encoder, self.initialisation):
            raise ValueError(
                f"initialisation={self.initialisation}: means nothing to encoder={self.encoder}"
            )
        if self.distortion and self.task != "digits":
            raise ValueError(f"distortion={self.distortion}: means nothing to task={self.task}")
        if bool(self.csv) != (self.task == "csv"):
            given = f"csv={self.csv}" if self.csv else "csv is empty"
            raise ValueError(f"{given}: belongs to task=csv, and the task is {self.task}")
        if self.encoder == "transformer" and self.width % 4 and not self.match_parameters:
            raise ValueError(f"width={self.width}: a transformer needs a multiple of 4")
        return self


class Material(NamedTuple):
    """What is learnt from, chosen and judged by, and what its numbers stand for."""

    train: TrainingBatches
    validation: LabelledSequences
    test: Callable[[], LabelledSequences]
    """Called once, when everything is chosen."""
    classes: tuple[str, ...]
    """Empty where the answer is a number."""
    symbols: str
    """Empty where inputs are channels."""

    @property
    def num_channels(self) -> int:
        """Channels of the inputs, 0 where they are symbols."""
        return 0 if self.symbols else self.validation.inputs.shape[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearntClassifier(Learnt):
    """The network at its best epoch, and what it learnt from."""

    model: SequencePredictor
    material: Material


def learn(
    config: SequenceConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> LearntClassifier:
    """Train a network, and keep its best epoch by validation loss."""
    # Data: drawn as it is needed, or collected by somebody.
    material = prepare(config, hardware.device)
    if run is not None:
        log_split(config, "train", first_of(material.train), run)
        log_split(config, "validation", material.validation, run)

    # Model.
    network = build(config, material)
    if isinstance(material.train, TensorBatches) and material.num_channels:
        network.standardise.measure(*material.train.tensors[:2])
    hardware.prepare(network)

    # Training.
    history = fit(
        network,
        config,
        train=distorted(config, material.train),
        validation=TensorBatches(*material.validation, batch_size=100),
        loss_function=answer_loss,
        optimizer=build_optimizer(config.optimizer, network, config),
        hardware=hardware,
        callbacks=callbacks,
        run=run,
        title=f"{config.task}, {config.encoder}",
    )
    return LearntClassifier(
        model=SequencePredictor(copy.deepcopy(network).cpu()).eval(),
        history=history,
        example=packed(material.validation)[:2],
        varying=(0, 1),
        meaning={
            "classes": material.classes,
            "symbols": material.symbols,
            "channels": material.num_channels,
            "max_length": reach(config, material),
        },
        material=material,
    )


def judge(
    config: SequenceConfig, hardware: Hardware, learnt: LearntClassifier, run: Run
) -> dict[str, float]:
    """Measure the chosen network on the test split, which is read here, and look inside."""
    test = learnt.material.test()
    log_split(config, "test", test, run)
    answers = answer(learnt.model.classifier, test)
    best = learnt.history.best
    metrics = {
        "best/val_accuracy": best["val/accuracy"],
        "best/val_loss": best["val/loss"],
        "best/epoch": learnt.history.best_epoch,
        "test/accuracy": is_right(answers, test.labels).double().mean().item(),
        "test/loss": loss_of(answers, test.labels).item(),
        **size_of(learnt.model, torch.from_numpy(learnt.example)),
    }
    solved = sequences_to_solve(config, learnt.history)
    if solved is not None:
        metrics["best/sequences_to_solve"] = solved
    run.log_metrics(metrics)
    run.describe(
        f"{config.encoder}, {metrics['num_parameters']:,.0f} parameters, {config.task}: "
        f"test accuracy {metrics['test/accuracy']:.4f} on {len(test.labels):,} sequences"
        + (f", solved after {solved:,}." if solved is not None else ".")
    )
    draw_pictures(config, learnt, test, answers, run)
    return metrics


def prepare(config: SequenceConfig, device: torch.device | str = "cpu") -> Material:
    """Return what the configuration asks for.

    Raises:
        UserError: it cannot be had.

    """
    if config.is_drawn:
        return drawn(config, device)
    try:
        return collected(config, device)
    except DataError as error:
        name = "csv" if config.csv else "task"
        raise UserError(f"{name}={getattr(config, name)}: {error}") from None


EXPERIMENT = Experiment(SequenceConfig, learn, judge, prepare)


def drawn(config: SequenceConfig, device: torch.device | str) -> Material:
    """Return tasks of which sequences are drawn, new ones in each epoch."""
    task: TemporalOrder | Adding = Adding(config.length)
    classes: tuple[str, ...] = ()
    symbols = ""
    if config.task == "temporal_order":
        task = TemporalOrder(config.num_marks, config.level)
        classes, symbols = task.classes, SYMBOLS
    num_batches = math.ceil(config.num_train / config.batch_size)

    def batch(number: int) -> LabelledSequences:
        return task.draw(config.batch_size, config.seed, "train", number, device)

    return Material(
        train=lambda epoch: DrawnBatches(batch, epoch, num_batches),
        validation=task.draw(config.num_validation, config.seed, "validation", device=device),
        test=lambda: task.draw(config.num_test, config.seed, "test"),
        classes=classes,
        symbols=symbols,
    )


def collected(config: SequenceConfig, device: torch.device | str) -> Material:
    """Return sequences that somebody has collected, in another order in each epoch."""
    data: Labelled
    if config.task == "digits":
        data = labelled.digits(config.order, shuffled=config.shuffled, seed=config.seed)
    elif config.task == "japanese_vowels":
        data = labelled.japanese_vowels()
    else:
        data = labelled.from_csv(config.csv, config.seed)
    train, validation = (
        LabelledSequences(*(tensor.to(device) for tensor in split))
        for split in (data.train, data.validation)
    )
    return Material(
        train=TensorBatches(*train, batch_size=config.batch_size, shuffle=True),
        validation=validation,
        test=lambda: data.test,
        classes=data.classes,
        symbols=data.symbols,
    )


def distorted(config: SequenceConfig, train: TrainingBatches) -> TrainingBatches:
    """Return batches of digits that are changed at random each time, and any others as they are."""
    if not (config.distortion and isinstance(train, TensorBatches)):
        return train

    def change(inputs: Tensor, lengths: Tensor, labels: Tensor) -> LabelledSequences:
        return LabelledSequences(labelled.distort(inputs, config.distortion), lengths, labels)

    return MappedBatches(train, change)


def first_of(train: TrainingBatches) -> LabelledSequences:
    """Return the first batch of the first epoch."""
    batches = train(1) if callable(train) else train
    return LabelledSequences(*next(iter(batches)))


def log_split(config: SequenceConfig, split: Split, part: LabelledSequences, run: Run) -> None:
    """Log what the run is trained on or judged by; of what is drawn, the first batch."""
    run.log_dataset(config.task, split, part.inputs.cpu().numpy(), part.labels.cpu().numpy())


def build(config: SequenceConfig, material: Material) -> SequenceClassifier:
    """Build the network that `config` asks for, freshly initialised."""
    how = config.initialisation
    make = partial(
        SequenceClassifier,
        num_symbols=len(material.symbols),
        num_channels=material.num_channels,
        encoder=config.encoder,
        pooling=config.pooling,
        num_layers=config.num_layers,
        num_answers=max(1, len(material.classes)),
        dropout_rate=config.dropout_rate,
        initialisation=suited(config.encoder) if how == "auto" else how,
        horizon=max(3, longest_of(config, material)),
        max_length=reach(config, material),
        noise=config.noise,
        offset=config.offset,
    )
    if not config.match_parameters:
        return make(width=config.width)
    widths = range(4, 513, 4)
    return make(
        width=min(widths, key=lambda w: abs(num_parameters(make, w) - config.match_parameters))
    )


def reach(config: SequenceConfig, material: Material) -> int:
    """Return the steps that a transformer has positions for; other encoders have no bound."""
    return max(MOST_POSITIONS, longest_of(config, material))


def longest_of(config: SequenceConfig, material: Material) -> int:
    """Return the steps of the longest sequence that there may be."""
    if config.task == "temporal_order":
        return TemporalOrder(config.num_marks, config.level).longest
    return material.validation.inputs.shape[1]


def num_parameters(make: Callable[..., SequenceClassifier], width: int) -> int:
    """Count the parameters of a network of this width, without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make(width=width).parameters())


def answer_loss(model: SequenceClassifier, batch: Sequence[Tensor]) -> Outcome:
    """Return cross-entropy, or the squared error where the answer is a number; and accuracy."""
    inputs, lengths, labels = batch
    answers = model(inputs, lengths)
    loss = loss_of(answers, labels)
    accuracy = is_right(answers, labels).double().mean()
    return Outcome(loss, {"loss": loss, "accuracy": accuracy}, len(labels))


def loss_of(answers: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of answers (B, K) to labels (B,)."""
    if labels.is_floating_point():
        return F.mse_loss(answers.squeeze(-1), labels)
    return F.cross_entropy(answers, labels)


def is_right(answers: Tensor, labels: Tensor) -> Tensor:
    """Return which answers (B, K) are right, (B,) bool: the class, or the number within 0.04."""
    if labels.is_floating_point():
        return (answers.squeeze(-1) - labels).abs() < Adding.tolerance
    return answers.argmax(-1) == labels


@torch.inference_mode()
def answer(network: SequenceClassifier, part: LabelledSequences) -> Tensor:
    """Return the answers to a split, (N, K)."""
    batches = TensorBatches(*part, batch_size=100)
    return torch.cat([network(inputs, lengths) for inputs, lengths, _ in batches])


def sequences_to_solve(config: SequenceConfig, history: History) -> int | None:
    """Return the sequences seen until validation was right to the last one, if it ever was."""
    if not config.is_drawn:
        return None
    solved = np.flatnonzero(history.column("val/accuracy") == 1)
    return int(solved[0] + 1) * drawn_per_epoch(config) if len(solved) else None


def drawn_per_epoch(config: SequenceConfig) -> int:
    """Return the sequences of an epoch, all batches being full."""
    return math.ceil(config.num_train / config.batch_size) * config.batch_size


def packed(part: LabelledSequences) -> np.ndarray:
    """Return sequences as the logged model takes them: padded with -1, channels with NaN."""
    inputs, lengths, _ = (tensor.cpu() for tensor in part)
    padding = torch.arange(inputs.shape[1]) >= lengths.unsqueeze(1)
    if inputs.is_floating_point():
        return inputs.masked_fill(padding.unsqueeze(-1), math.nan).numpy()
    return inputs.masked_fill(padding, -1).numpy()


def draw_pictures(
    config: SequenceConfig,
    learnt: LearntClassifier,
    test: LabelledSequences,
    answers: Tensor,
    run: Run,
) -> None:
    """Log every picture of the network that was chosen."""
    material, network = learnt.material, learnt.model.classifier
    loss_unit = "nats per sequence" if material.classes else "mean squared error"
    curves = training.curves(**learnt.history.as_curves(), loss_unit=loss_unit)
    run.log_figure("curves", curves)
    right = is_right(answers, test.labels).numpy()
    run.log_figure("accuracy_by_length", figures.accuracy_by_length(test.lengths.numpy(), right))
    if not material.classes:
        sums = (test.labels.numpy(), answers.squeeze(-1).numpy())
        run.log_figure("answers", figures.answers(*sums, tolerance=Adding.tolerance))
        log_look_inside(material, network, test, [0], run)
        return
    labels, said = test.labels.numpy(), answers.argmax(-1).numpy()
    counts = scores.confusion_matrix(labels, said, len(material.classes))
    run.log_figure("confusion", classification.confusion(counts, material.classes))
    shortest = np.argsort(test.lengths.numpy(), kind="stable")
    chosen = [next(i for i in shortest if labels[i] == c) for c in np.unique(labels)]
    log_look_inside(material, network, test, chosen, run)


def log_look_inside(
    material: Material,
    network: SequenceClassifier,
    test: LabelledSequences,
    chosen: Sequence[int],
    run: Run,
) -> None:
    """Log what some sequences do to the network, step by step."""
    looks = [look_inside(material, network, test, int(index)) for index in chosen]
    run.log_figure("states", figures.states(looks[:8]))
    run.log_figure("importance", figures.importance(looks[:8]))
    if material.classes:
        run.log_figure("while_reading", figures.while_reading(looks[:8], material.classes))


def look_inside(
    material: Material, network: SequenceClassifier, test: LabelledSequences, index: int
) -> figures.Look:
    """Return what one sequence does to the network at each of its steps."""
    length = int(test.lengths[index])
    inputs, lengths = test.inputs[index : index + 1, :length], test.lengths[index : index + 1]
    label = test.labels[index]
    steps = torch.linspace(1, length, min(length, MOST_PREFIXES)).round().long()
    with torch.inference_mode():
        features = network.encode(inputs, lengths)
        # What it would say if the sequence ended there.
        said = torch.cat([network(inputs[:, :step], step.view(1)) for step in steps])
        attention = None
        if network.pool.score is not None:
            attention = network.pool.weights(features, lengths)[0].numpy()
        cells = cell_states(network, inputs)
    mattered = gradient_times_input(network, inputs, lengths, label.unsqueeze(0))[0].numpy()
    return figures.Look(
        title=material.classes[int(label)] if material.classes else f"sum {label.item():.2f}",
        text="".join(material.symbols[i] for i in inputs[0]) if material.symbols else "",
        features=features[0].numpy(),
        cells=None if cells is None else cells.numpy(),
        steps=steps.numpy(),
        said=said.softmax(-1).numpy() if material.classes else said.numpy(),
        mattered=mattered,
        attention=attention,
    )


def cell_states(network: SequenceClassifier, inputs: Tensor) -> Tensor | None:
    """Return the last layer's cell states of an LSTM at each step of one sequence, (T, F)."""
    if not isinstance(network.encoder, nn.LSTM):
        return None
    state, cells = None, []
    for channels in network.to_channels(inputs).split(1, dim=1):
        _, state = network.encoder(channels, state)
        cells.append(state[1][-1, 0])
    return torch.stack(cells)


if __name__ == "__main__":
    launch(EXPERIMENT)

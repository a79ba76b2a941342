"""Recurrent networks: what they can hold in memory, and what English lets them foresee.

    python -m experiments.rnn                            echo what came four steps ago
    python -m experiments.rnn --task variable_echo       each sequence tells its own delay
    python -m experiments.rnn --task copy                remember ten symbols over a long wait
    python -m experiments.rnn --task next_character      say what letter comes next

Symbols are the integers from 0 to 26, the blank and the letters. An echo of d steps takes a memory
of d letters and a place to queue them in; nothing tells the network so but its mistakes.
"""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from matplotlib.figure import Figure
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from datasets import characters
from datasets.characters import (
    NUM_SYMBOLS,
    Copy,
    Corpus,
    Echo,
    Sequences,
    TaskName,
    Vocabulary,
)
from datasets.errors import DataError
from datasets.splits import Split
from datasets.tasks import Task
from experiments import text
from experiments.figures import rnn as figures
from experiments.figures import training
from experiments.harness import scores
from experiments.harness.batches import DrawnBatches, TensorBatches
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
from experiments.harness.loop import Batches, Callback, LossFunction, fit
from experiments.harness.metrics import Outcome, size_of
from experiments.harness.optimizers import OptimizerName, build_optimizer
from experiments.harness.tracking import Run
from models.inspection import gradient_by_lag
from models.recurrent import FOR_CELLS, CellName, Initialisation, Predictor, RecurrentNetwork

FACTORS = (1, 2, 4, 8, 16)
"""How many times as long as in training the sequences are that memory is tried on."""
STEPS_BACK = 100
"""How far back gradients are followed."""
TEMPERATURES = (0.5, 0.8, 1.1)
"""How boldly a network writes."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNConfig(TrainingConfig):
    """Train a recurrent network on sequences of characters."""

    family: ClassVar[str] = "rnn"
    entry_point: ClassVar[str] = "rnn"
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "batch_size": 20,
        "hidden_size": 8,
        "num_train": 100,
        "num_validation": 40,
        "num_test": 40,
    }

    num_epochs: Count = 6
    learning_rate: Positive = 1e-2
    weight_decay: NotNegative = 0.3
    gradient_clip_norm: NotNegative = 1.0
    task: TaskName = "echo"
    """What the network is to do."""
    cell: CellName = "gru"
    """Kind of recurrent cell."""
    hidden_size: Count = 64
    """Hidden units of each layer."""
    num_layers: Count = 1
    """Recurrent layers, one above the other."""
    embedding_size: CountOrNone = 0
    """Size of the learnt vectors that stand for characters (0: one-hot vectors)."""
    dropout_rate: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Part of embedding, hidden units between layers, and output that is hidden in training."""
    initialisation: Initialisation = "orthogonal"
    """How recurrent weights start."""
    optimizer: OptimizerName = "adamw"
    """Optimiser; SGD has Nesterov's momentum of 0.9."""
    delay: CountOrNone = 4
    """echo: steps between a letter and its echo."""
    max_delay: CountOrNone = 8
    """variable_echo: largest delay; each sequence has one from 0 on."""
    length: Count = 15
    """Letters of a sequence; next_character: steps that gradients go back."""
    min_length: CountOrNone = 0
    """Letters of the shortest sequence in training, padded to `length` (0: all have `length`)."""
    test_length: CountOrNone = 25
    """Letters of the longest sequence in the test, the shortest having `length` (0: `length`)."""
    wait: Count = 200
    """copy: steps from the last symbol to the marker that asks for them."""
    first_wait: CountOrNone = 5
    """copy: the same in the first epochs of an endless training (0: `wait` from the first on)."""
    text: str = ""
    """next_character: path of a text (empty: the documentation that comes with Python)."""
    num_train: Count = 12_800
    """Sequences of an epoch (next_character: as many as the text has)."""
    endless: bool = True
    """Draw new sequences for each epoch, rather than learn from the same again."""
    num_validation: Count = 500
    """Sequences to choose the epoch by."""
    num_test: Count = 500
    """Sequences to judge the chosen network by, of each length."""

    @property
    def reads_text(self) -> bool:
        """Whether characters come from a text, rather than from chance."""
        return self.task == "next_character"

    @model_validator(mode="after")
    def _agree(self) -> "RNNConfig":
        if self.cell not in FOR_CELLS[self.initialisation]:
            cells = ", ".join(FOR_CELLS[self.initialisation])
            raise ValueError(
                f"initialisation={self.initialisation}: means nothing to cell={self.cell}; "
                f"allowed for {cells}"
            )
        echoes = self.task in ("echo", "variable_echo")
        if echoes and self.min_length > self.length:
            raise ValueError(f"min_length={self.min_length}: exceeds length={self.length}")
        if echoes and 0 < self.test_length < self.length:
            raise ValueError(
                f"test_length={self.test_length}: falls short of length={self.length}; "
                "0 stands for the same"
            )
        for task, name in (("echo", "delay"), ("variable_echo", "max_delay")):
            shortest, delay = self.min_length or self.length, getattr(self, name)
            if self.task == task and delay >= shortest:
                raise ValueError(
                    f"{name}={delay}: has to be below {shortest}, the length of a sequence"
                )
        if self.text and not self.reads_text:
            raise ValueError(f"text={self.text}: means nothing to task={self.task}")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearntNetwork(Learnt):
    """The network at its best epoch, and as it was before training."""

    model: Predictor
    untrained: RecurrentNetwork

    @property
    def network(self) -> RecurrentNetwork:
        """The network itself."""
        return self.model.network


def learn(
    config: RNNConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> LearntNetwork:
    """Train a network, and keep its best epoch by validation loss."""
    # Data: sequences that are drawn as they are needed, or streams of a text.
    material = of_text(config, hardware) if config.reads_text else of_task(config, hardware)
    if run is not None:
        for split in ("train", "validation"):
            log_split(config, split, run)

    # Model.
    network = build(config)
    untrained = copy.deepcopy(network)
    hardware.prepare(network)

    # Training.
    history = fit(
        network,
        config,
        train=material.train,
        validation=material.validation,
        loss_function=material.loss_function,
        optimizer=build_optimizer(config.optimizer, network, config),
        hardware=hardware,
        callbacks=callbacks,
        run=run,
        title=f"{config.task}, {config.cell}",
    )
    best = copy.deepcopy(network).cpu().eval()
    return LearntNetwork(
        model=Predictor(best).eval(),
        history=history,
        example=example_of(config),
        varying=(0, 1),
        meaning={"symbols": characters.ALPHABET},
        untrained=untrained.eval(),
    )


def judge(
    config: RNNConfig, hardware: Hardware, learnt: LearntNetwork, run: Run
) -> dict[str, float]:
    """Measure the chosen network on the test split, which is read here, and picture its memory."""
    log_split(config, "test", run)
    best = learnt.history.best
    metrics = {
        "best/val_accuracy": best["val/accuracy"],
        "best/val_loss": best["val/loss"],
        "best/epoch": learnt.history.best_epoch,
        **size_of(learnt.model, torch.from_numpy(learnt.example)),
    }
    if config.reads_text:
        metrics |= judge_text(config, learnt, run)
    else:
        metrics |= judge_memory(config, learnt, run)
    run.log_metrics(metrics)
    curves = training.curves(**learnt.history.as_curves(), loss_unit="nats per symbol")
    run.log_figure("curves", curves)
    return metrics


def prepare(config: RNNConfig) -> None:
    """Read the text, if there is one to be read.

    Raises:
        UserError: it cannot be read, or is too short.

    """
    if config.reads_text:
        corpus_of(config)


EXPERIMENT = Experiment(RNNConfig, learn, judge, prepare)


class Material(NamedTuple):
    """What is learnt from."""

    train: Any
    """Batches of an epoch."""
    validation: Batches
    loss_function: LossFunction


# Echo and copy: sequences without end.


def task_of(config: RNNConfig, factor: int = 1, *, test: bool = False) -> Task[Sequences]:
    """Return the task, of sequences that are `factor` times as long as in training."""
    if config.task == "copy":
        return Copy(config.wait * factor)
    delays = (config.delay, config.delay) if config.task == "echo" else (0, config.max_delay)
    if test:
        return Echo(*delays, config.length, config.test_length or config.length)
    if factor > 1:
        return Echo(*delays, factor * config.length, factor * config.length)
    return Echo(*delays, config.min_length or config.length, config.length)


def of_task(config: RNNConfig, hardware: Hardware) -> Material:
    """Return batches of sequences: new ones in each epoch, or the same in another order."""
    task, seed, device = task_of(config), config.seed, hardware.device
    validation = task.draw(config.num_validation, seed, "validation", device=device)
    in_order = TensorBatches(*validation, batch_size=500)
    if not config.endless:
        sequences = task.draw(config.num_train, seed, "train", device=device)
        shuffled = TensorBatches(*sequences, batch_size=config.batch_size, shuffle=True)
        return Material(shuffled, in_order, echo_loss)

    def new_in_each(epoch: int) -> DrawnBatches:
        lesson = Copy(wait_in(config, epoch)) if config.task == "copy" else task

        def draw(batch: int) -> Sequences:
            return lesson.draw(config.batch_size, seed, "train", batch, device)

        return DrawnBatches(draw, epoch, num_batches)

    num_batches = math.ceil(config.num_train / config.batch_size)
    return Material(new_in_each, in_order, echo_loss)


def wait_in(config: RNNConfig, epoch: int) -> int:
    """Return the steps to wait in an epoch, counted from 1: short ones first, all of them last.

    To hold ten symbols is hard to learn, and over a long wait no gradient tells how. To hold them
    longer is easy once they are held: so the first four tenths of the epochs wait for `first_wait`
    steps, and then each for so much longer than the one before that the last tenth waits for all
    (a curriculum: Bengio et al. 2009).
    """
    first = min(config.first_wait, config.wait) or config.wait
    progress = (epoch - 1) / max(1, config.num_epochs - 1)
    grown = min(max(0.0, (progress - 0.4) / 0.5), 1.0)
    factor: float = (config.wait / first) ** grown
    return round(first * factor)


def echo_loss(model: RecurrentNetwork, batch: Sequence[Tensor]) -> Outcome:
    """Return the mean cross-entropy over the symbols that count, and how many are right."""
    inputs, targets, counted, delays = batch
    logits, _ = model(inputs, delays)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")  # (B, T)
    right = logits.argmax(-1) == targets
    number = counted.sum()
    loss = (losses * counted).sum() / number
    metrics = {
        "loss": loss,
        "accuracy": (right & counted).sum().double() / number,
        "sequence_accuracy": (right | ~counted).all(-1).double().mean(),
    }
    return Outcome(loss, metrics, number)


class Answers(NamedTuple):
    """What a network says to sequences, on the CPU."""

    sequences: Sequences
    predictions: Tensor
    """(B, T) int64."""
    loss: float
    """Mean over the symbols that count."""

    @property
    def right(self) -> Tensor:
        """(B, T) bool; False where nothing counts."""
        return (self.predictions == self.sequences.targets) & self.sequences.counted

    @property
    def accuracy(self) -> float:
        """Over all symbols that count."""
        return self.right.sum().item() / self.sequences.counted.sum().item()

    @property
    def sequence_accuracy(self) -> float:
        """Part of the sequences in which every symbol that counts is right."""
        return (self.right | ~self.sequences.counted).all(-1).double().mean().item()


@torch.inference_mode()
def answer(network: RecurrentNetwork, sequences: Sequences) -> Answers:
    """Let a network answer sequences."""
    logits, _ = network(sequences.inputs, sequences.delays)
    counted = sequences.counted
    loss = F.cross_entropy(logits[counted], sequences.targets[counted]).item()
    return Answers(sequences, logits.argmax(-1), loss)


def judge_memory(config: RNNConfig, learnt: LearntNetwork, run: Run) -> dict[str, float]:
    """Measure and picture what the network holds, and for how long."""
    network = learnt.network
    test = task_of(config, test=True).draw(config.num_test, config.seed, "test")
    answers = answer(network, test)
    by_factor = {}
    for factor in FACTORS:
        longer = task_of(config, factor).draw(config.num_test, config.seed, "test", factor)
        by_factor[factor] = answer(network, longer)
    metrics = {
        "test/accuracy": answers.accuracy,
        "test/sequence_accuracy": answers.sequence_accuracy,
        "test/loss": answers.loss,
    }
    for factor in FACTORS[1:]:
        metrics[f"test/accuracy_{factor}x_length"] = by_factor[factor].accuracy
    run.describe(
        f"{config.cell} of {config.hidden_size} units, {config.task}: test accuracy "
        f"{answers.accuracy:.5f}, {answers.sequence_accuracy:.4f} of whole sequences; "
        f"{by_factor[FACTORS[-1]].accuracy:.5f} at {FACTORS[-1]} times the length."
    )
    draw_memories(config, learnt, answers, by_factor, run)
    return metrics


def draw_memories(
    config: RNNConfig,
    learnt: LearntNetwork,
    answers: Answers,
    by_factor: Mapping[int, Answers],
    run: Run,
) -> None:
    """Log every picture of what is remembered."""
    test, right = answers.sequences, answers.right
    unit, length = (
        ("steps to wait", config.wait) if config.task == "copy" else ("letters", config.length)
    )
    accuracies = {
        "symbols": np.array([each.accuracy for each in by_factor.values()]),
        "whole sequences": np.array([each.sequence_accuracy for each in by_factor.values()]),
    }
    lengths = length * np.array(list(by_factor))
    run.log_figure("accuracy_by_length", figures.accuracy_by_length(lengths, accuracies, unit))
    at_each_step = [values.sum(0).numpy() for values in (right, test.counted)]
    run.log_figure("accuracy_by_position", figures.accuracy_by_position(*at_each_step))
    if config.task == "variable_echo":
        counts = [values.sum(1).double() for values in (right, test.counted)]
        by_delay = [torch.bincount(test.delays, count).long().numpy() for count in counts]
        run.log_figure("accuracy_by_delay", figures.accuracy_by_delay(*by_delay))
    letters = Echo(0, 0, STEPS_BACK, STEPS_BACK).draw(64, config.seed, "test", len(FACTORS)).inputs
    delay = config.delay if config.task == "echo" else None
    run.log_figure("reach", draw_reach(learnt, letters, letters[:, 0], config.max_delay, delay))
    run.log_figure("memory", draw_memory(learnt.network, test.inputs[:1], test.delays[:1]))
    rows = [
        as_text(*row)
        for row in zip(test.inputs, test.targets, answers.predictions, test.counted, strict=True)
    ]
    run.log_figure("answers", figures.strips(rows[:8]))
    columns = zip(("input", "target", "prediction"), zip(*rows, strict=True), strict=True)
    run.log_table("test_answers", {"delay": test.delays.tolist(), **dict(columns)})


def as_text(
    inputs: Tensor, targets: Tensor, predictions: Tensor, counted: Tensor
) -> tuple[str, str, str]:
    """Return one sequence as text, what does not count as blanks."""
    shown = [inputs, targets.where(counted, 0), predictions.where(counted, 0)]
    first, second, third = (Vocabulary().decode(row).replace(" ", figures.BLANK) for row in shown)
    return first, second, third


# Next character: a text.


def corpus_of(config: RNNConfig) -> Corpus:
    """Read the text.

    Raises:
        UserError: it cannot be read, or each third is shorter than the streams of a batch.

    """
    try:
        return characters.corpus(config.text, shortest=config.length + config.batch_size)
    except DataError as error:
        raise UserError(f"text={config.text or 'of Python'}: {error}") from None


def of_text(config: RNNConfig, hardware: Hardware) -> Material:
    """Return streams of the text, which a network reads from their beginning to their end."""
    corpus = corpus_of(config)
    train, validation = (part.to(hardware.device) for part in (corpus.train, corpus.validation))
    shape = (config.batch_size, config.length)
    return Material(
        train=partial(text.training_chunks, train, *shape, config.seed),
        validation=text.chunks(validation, *shape),
        loss_function=text.TextLoss(),
    )


def judge_text(config: RNNConfig, learnt: LearntNetwork, run: Run) -> dict[str, float]:
    """Measure bits per character beside compressors on the same characters, and let it write."""
    corpus = corpus_of(config)
    logits, targets = text.read_through(learnt.network, corpus.test), corpus.test.long()
    loss, predictions = F.cross_entropy(logits, targets).item(), logits.argmax(-1)
    dynamic = F.cross_entropy(text.learn_while_reading(learnt.network, corpus.test), targets)
    metrics = {
        "best/val_bits_per_character": learnt.history.best["val/bits_per_character"],
        "test/loss": loss,
        "test/accuracy": (predictions == targets).double().mean().item(),
        "test/bits_per_character": loss / math.log(2),
        "test/dynamic_bits_per_character": dynamic.item() / math.log(2),
        **{f"test/{name}": bits for name, bits in text.compressors(corpus).items()},
    }
    run.describe(
        f"{config.cell} of {config.num_layers} x {config.hidden_size} units: "
        f"{metrics['test/bits_per_character']:.3f} bits per character on the test third, "
        f"{metrics['test/dynamic_bits_per_character']:.3f} if it learns while it reads; "
        f"{text.NGRAM_ORDER}-gram {metrics['test/ngram_bits_per_character']:.3f} and "
        f"{metrics['test/dynamic_ngram_bits_per_character']:.3f}, "
        f"xz {metrics['test/xz_bits_per_character']:.3f}."
    )
    counts = scores.confusion_matrix(targets.numpy(), predictions.numpy(), NUM_SYMBOLS)
    names = [figures.BLANK, *characters.ALPHABET[1:]]
    run.log_figure("letters", figures.letters(counts, names))
    written = text.write(learnt.network, TEMPERATURES, config.seed)
    run.log_table("written", {"temperature": TEMPERATURES, "text": written})
    run.log_figure("written", figures.written(dict(zip(TEMPERATURES, written, strict=True))))
    run.log_figure("bits", draw_bits(config, learnt, metrics))
    draw_text_memory(learnt, corpus.test, run)
    return metrics


def draw_bits(config: RNNConfig, learnt: LearntNetwork, metrics: Mapping[str, float]) -> Figure:
    """Draw bits per character over the steps, beside what compressors need."""
    ngrams = f"{text.NGRAM_ORDER}-gram"
    lines = {
        ngrams: metrics["test/ngram_bits_per_character"],
        f"{ngrams}, dynamic": metrics["test/dynamic_ngram_bits_per_character"],
        "xz": metrics["test/xz_bits_per_character"],
        "xz after the training third": metrics["test/xz_after_training_bits_per_character"],
    }
    bits = learnt.history.of_both_splits("bits_per_character")
    train, shape = corpus_of(config).train, (config.batch_size, config.length)
    steps = len(text.training_chunks(train, *shape, config.seed, epoch=1))
    tested = {
        "test": metrics["test/bits_per_character"],
        "test, dynamic": metrics["test/dynamic_bits_per_character"],
    }
    return figures.bits(bits, steps, lines, learnt.history.best_epoch, tested)


def draw_text_memory(learnt: LearntNetwork, symbols: Tensor, run: Run) -> None:
    """Log how far back learning reaches in a text, and what is held while its beginning is read."""
    steps = min(STEPS_BACK, len(symbols) - 1)
    windows = symbols.long().unfold(0, steps + 1, steps)[:64]
    run.log_figure("reach", draw_reach(learnt, windows[:, :-1], windows[:, -1]))
    run.log_figure("memory", draw_memory(learnt.network, symbols[:60].long().unsqueeze(0)))


# Both.


def draw_reach(
    learnt: LearntNetwork,
    symbols: Tensor,
    targets: Tensor,
    condition: int = 0,
    delay: int | None = None,
) -> Figure:
    """Draw how strongly what is said last depends on each step before, trained and untrained."""
    conditions = torch.full((len(symbols),), condition)
    curves = {
        name: gradient_by_lag(network, symbols, targets, conditions).numpy()
        for name, network in (("untrained", learnt.untrained), ("trained", learnt.network))
    }
    return figures.reach(curves, delay)


@torch.inference_mode()
def draw_memory(network: RecurrentNetwork, inputs: Tensor, delays: Tensor | None = None) -> Figure:
    """Draw the hidden units over one sequence, (1, T), beside what is read and said."""
    hidden, _ = network.recurrence(network.encode(inputs, delays))
    said = network.decode(hidden, delays).argmax(-1)
    letters = [Vocabulary().decode(row[0]).replace(" ", figures.BLANK) for row in (inputs, said)]
    return figures.memory(hidden[0].numpy(), *letters)


def build(config: RNNConfig) -> RecurrentNetwork:
    """Build the network that `config` asks for, freshly initialised."""
    horizon = config.wait + 20 if config.task == "copy" else config.length
    return RecurrentNetwork(
        num_symbols=NUM_SYMBOLS,
        cell=config.cell,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        embedding_size=config.embedding_size,
        num_conditions=config.max_delay + 1 if config.task == "variable_echo" else 0,
        dropout_rate=config.dropout_rate,
        initialisation=config.initialisation,
        horizon=max(3, horizon),
    )


def example_of(config: RNNConfig) -> np.ndarray:
    """Return two samples of what the logged model takes: the delay first, if it varies."""
    if config.reads_text:
        words = Vocabulary().encode("the quick brown fox jumps over the lazy dog ")
        return words.view(2, -1).numpy()
    drawn = task_of(config).draw(2, config.seed, "validation")
    if config.task == "variable_echo":
        return torch.cat([drawn.delays.unsqueeze(1), drawn.inputs], dim=1).numpy()
    return drawn.inputs.numpy()


def log_split(config: RNNConfig, split: Split, run: Run) -> None:
    """Log what the run is trained on or judged by; of sequences without end, the first ones."""
    if config.reads_text:
        part = getattr(corpus_of(config), split).numpy()
        run.log_dataset("text", split, part[:-1], part[1:])
        return
    counts = {
        "train": config.batch_size if config.endless else config.num_train,
        "validation": config.num_validation,
        "test": config.num_test,
    }
    drawn = task_of(config, test=split == "test").draw(counts[split], config.seed, split)
    run.log_dataset(config.task, split, drawn.inputs.numpy(), drawn.targets.numpy())


if __name__ == "__main__":
    launch(EXPERIMENT)

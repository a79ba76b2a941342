"""The only training loop. It knows batches, a loss function and a schedule, and no task."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from experiments.harness import checkpoint, signals
from experiments.harness.averaging import WeightAverage
from experiments.harness.config import TrainingConfig
from experiments.harness.device import Hardware
from experiments.harness.metrics import (
    LossWatch,
    Outcome,
    Totals,
    check_finite,
    decimal,
    scalars,
)
from experiments.harness.schedules import Schedule

if TYPE_CHECKING:
    from experiments.harness.tracking import Run


class Batches(Protocol):
    """Any iterable of batches that knows how many there are."""

    def __iter__(self) -> Any: ...
    def __len__(self) -> int: ...


TrainingBatches = Batches | Callable[[int], Batches]
"""Those of every epoch, or a function that makes those of an epoch, counted from 1."""

SHOWN_IN_BAR = ("train/loss", "val/loss", "val/accuracy")

LossFunction = Callable[[Any, Any], Outcome]
Summary = Callable[[dict[str, Tensor]], dict[str, float]]


@dataclass
class History:
    """What was measured, epoch by epoch. Epochs are counted from 1."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """The logged scalars of each epoch."""
    raw: list[dict[str, Tensor]] = field(default_factory=list)
    """The metrics of each epoch as the loss function shapes them, before `summarise`."""
    best_epoch: int = 0

    @property
    def best(self) -> dict[str, float]:
        """The scalars of the best epoch by validation."""
        return self.rows[self.best_epoch - 1]

    def column(self, name: str) -> np.ndarray:
        """Return one scalar over the epochs, (epochs,) float64."""
        return np.array([row[name] for row in self.rows])

    def of_both_splits(self, name: str) -> dict[str, np.ndarray]:
        """Return one scalar over the epochs in training and in validation, (epochs,) each."""
        splits = {"training": "train", "validation": "val"}
        return {split: self.column(f"{prefix}/{name}") for split, prefix in splits.items()}

    def as_curves(self) -> dict[str, Any]:
        """Return what `figures.training.curves` draws of any training."""
        return {
            "losses": self.of_both_splits("loss"),
            "accuracies": self.of_both_splits("accuracy"),
            "learning_rate": self.column("learning_rate"),
            "best_epoch": self.best_epoch,
        }

    def stacked(self, name: str) -> np.ndarray:
        """Return one unsummarised metric over the epochs, (epochs, ...)."""
        return torch.stack([metrics[name] for metrics in self.raw]).numpy()


@dataclass
class Progress:
    """The state of a training run, as callbacks see it at the end of an epoch."""

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    history: History
    average: WeightAverage | None = None
    """The moving average of the weights, if one is kept: it is what is judged."""
    epoch: int = 0
    best_value: tuple[float, float] = (math.inf, math.inf)
    """What is to be low, and the validation loss, which decides between equals."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def judged(self) -> nn.Module:
        """The model that is validated: with averaged weights if there are any."""
        return self.model if self.average is None else self.average.model

    def step(self) -> None:
        """Let the optimiser take its step, and all that follows it theirs."""
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update()

    def close_epoch(
        self, metrics: dict[str, Tensor], row: dict[str, float], monitor: str, maximise: bool
    ) -> None:
        """Record an epoch, and keep the weights if it is the best so far."""
        self.epoch += 1
        self.history.raw.append(metrics)
        self.history.rows.append(row)
        self.schedule.end_epoch(row["val/loss"])
        value = (-row[monitor] if maximise else row[monitor], row["val/loss"])
        if value < self.best_value or self.epoch == 1:
            self.best_value, self.history.best_epoch = value, self.epoch
            self.best_weights = copy.deepcopy(self.judged.state_dict())

    def state_dict(self) -> checkpoint.State:
        """Return everything that going on needs."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rows": self.history.rows,
            "raw": self.history.raw,
            "best_epoch": self.history.best_epoch,
            "epoch": self.epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
            "random": checkpoint.random_state(),
        }

    def load_state_dict(self, state: checkpoint.State) -> None:
        """Go on where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history.rows, self.history.raw = state["rows"], state["raw"]
        self.history.best_epoch = state["best_epoch"]
        self.epoch, self.best_value = state["epoch"], state["best_value"]
        self.best_weights = state["best_weights"]
        checkpoint.set_random_state(state["random"])


Callback = Callable[[Progress], None]
"""Called at the end of each epoch: it may record, draw, or raise to end the training."""


@runtime_checkable
class Stateful(Protocol):
    """A callback whose memory belongs in the checkpoint."""

    def __call__(self, progress: Progress, /) -> None: ...  # noqa: D102
    def state_dict(self) -> checkpoint.State: ...  # noqa: D102
    def load_state_dict(self, state: checkpoint.State) -> None: ...  # noqa: D102


def fit(
    model: nn.Module,
    config: TrainingConfig,
    *,
    train: TrainingBatches,
    validation: Batches,
    loss_function: LossFunction,
    optimizer: Optimizer,
    hardware: Hardware,
    monitor: str = "val/loss",
    maximise: bool = False,
    summarise: Summary = scalars,
    clip: Callable[[nn.Module, float], Any] | None = None,
    callbacks: Sequence[Callback] = (),
    run: "Run | None" = None,
    title: str = "training",
) -> History:
    """Train `model`, and leave it with its best weights by validation.

    Args:
        model: trained in place.
        config: number of epochs, schedule, clipping, early stopping.
        train: on the device, and equally many in each epoch.
        validation: batches of the validation split, on the device.
        loss_function: maps model and batch to an `Outcome`, in training and in evaluation.
        optimizer: holds the highest learning rate in its parameter groups.
        hardware: device and precision.
        monitor: the scalar that decides which epoch is best.
        maximise: whether more of it is better.
        summarise: turns an epoch's metrics into the scalars that are logged.
        clip: clips the gradients to a norm; by default over all parameters together.
        callbacks: called at the end of each epoch.
        run: where epochs are logged and checkpoints kept; None trains untracked.
        title: what the progress bar says.

    Raises:
        DivergedError: the loss is NaN or infinite.
        UserError: the run to be resumed has a damaged checkpoint.

    """
    clip = clip or (lambda model, norm: nn.utils.clip_grad_norm_(model.parameters(), norm))
    batches_of = train if callable(train) else lambda epoch: train
    num_steps = len(batches_of(1))
    schedule = Schedule(optimizer, config, num_steps)
    decay = config.weight_average_decay
    average = WeightAverage(model, decay) if decay > 0 else None
    progress = Progress(model, optimizer, schedule, History(), average)
    stateful = [callback for callback in callbacks if isinstance(callback, Stateful)]
    if run is not None:
        _go_on(progress, stateful, run)
    total, done = config.num_epochs * num_steps, progress.epoch * num_steps
    try:
        # disable=None: silent where stderr is no terminal.
        with tqdm(desc=title, total=total, initial=done, unit="step", disable=None) as bar:
            while progress.epoch < config.num_epochs and not _stalled(progress, config):
                began, rate = time.perf_counter(), progress.schedule.learning_rate
                batches = batches_of(progress.epoch + 1)
                trained = _train_epoch(
                    progress, config, batches, loss_function, hardware, clip, bar
                )
                train_seconds = time.perf_counter() - began
                validated = evaluate(progress.judged, validation, loss_function, hardware)
                metrics = _named("train/", trained.means()) | _named("val/", validated.means())
                row = summarise(metrics) | {
                    "learning_rate": rate,
                    "epoch_seconds": time.perf_counter() - began,
                    "samples_per_second": trained.num_samples / train_seconds,
                }
                check_finite(row["val/loss"], progress.epoch + 1, "after its last step", rate)
                progress.close_epoch(metrics, row, monitor, maximise)
                for callback in callbacks:
                    callback(progress)
                if run is not None:
                    memories = [callback.state_dict() for callback in stateful]
                    run.checkpoint.offer({**progress.state_dict(), "callbacks": memories})
                    # Last, so that an interrupted run can go on from every epoch it has logged.
                    run.log_epoch(progress.epoch, row)
                bar.set_postfix({name: decimal(row[name]) for name in SHOWN_IN_BAR if name in row})
    finally:
        if run is not None:
            run.checkpoint.flush()
    model.load_state_dict(progress.best_weights)
    return progress.history


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Batches, loss_function: LossFunction, hardware: Hardware
) -> Totals:
    """Run `loss_function` over all batches in evaluation mode, and leave the mode as it was."""
    was_training = model.training
    model.eval()
    totals = Totals()
    for batch in batches:
        with hardware.autocast():
            totals.add(loss_function(model, batch))
    model.train(was_training)
    return totals


def _train_epoch(
    progress: Progress,
    config: TrainingConfig,
    batches: Batches,
    loss_function: LossFunction,
    hardware: Hardware,
    clip: Callable[[nn.Module, float], Any],
    bar: "tqdm[Any]",
) -> Totals:
    """Zero, forward, backward, clip, step: here and nowhere else."""
    model, optimizer, schedule = progress.model, progress.optimizer, progress.schedule
    model.train()
    totals = Totals()
    watch = LossWatch(progress.epoch + 1, interval=1 if hardware.device.type == "cpu" else 50)
    for step, batch in enumerate(batches, start=1):
        signals.check()
        optimizer.zero_grad(set_to_none=True)
        with hardware.autocast():
            outcome = loss_function(model, batch)
        watch.look(step, schedule.learning_rate, outcome.loss)
        outcome.loss.backward()
        if config.gradient_clip_norm > 0:
            clip(model, config.gradient_clip_norm)
        progress.step()
        totals.add(outcome)
        bar.update()
    watch.check()
    return totals


def _stalled(progress: Progress, config: TrainingConfig) -> bool:
    waited = progress.epoch - progress.history.best_epoch
    return 0 < config.early_stopping_epochs <= waited


def _named(prefix: str, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in metrics.items()}


def _go_on(progress: Progress, stateful: Sequence[Stateful], run: "Run") -> None:
    """Take up the run's checkpoint, if it has one."""
    saved = run.checkpoint.load()
    if saved is None:
        return
    progress.load_state_dict(saved)
    for callback, memory in zip(stateful, saved["callbacks"], strict=True):
        callback.load_state_dict(memory)
    # The process may have died after the checkpoint and before the epoch was logged.
    for epoch, row in enumerate(progress.history.rows, start=1):
        run.log_epoch(epoch, row)

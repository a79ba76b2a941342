"""The only training loop. It knows batches, a loss and a schedule, and no task."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from harness import signals
from harness.config import TrainingConfig
from harness.training import checkpoint
from harness.training.averaging import exponential_moving_average
from harness.training.batches import Batches
from harness.training.device import Hardware
from harness.training.history import History
from harness.training.metrics import (
    FiniteLossCheck,
    MetricAverager,
    StepOutput,
    check_finite,
    decimal,
    scalars,
)
from harness.training.schedules import Schedule

SHOWN_IN_BAR = ("train/loss", "val/loss", "val/accuracy")

LossFunction = Callable[[Any, Any], StepOutput]
Summary = Callable[[dict[str, Tensor]], dict[str, float]]
ClipFunction = Callable[[nn.Module, float], Any]


class Recorder:
    """Where epochs are logged and checkpoints kept. This one records nothing; a run does."""

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an epoch, counted from 1."""

    def load_checkpoint(self) -> checkpoint.State | None:
        """Return the state to resume from, or None where there is none."""

    def offer_checkpoint(self, state: checkpoint.State) -> None:
        """Take the state after an epoch, and keep it if it is time to."""

    def flush_checkpoint(self) -> None:
        """Keep the newest state that was offered."""


@dataclass
class Progress:
    """The state of a training run, as callbacks see it at the end of an epoch."""

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    history: History
    average: AveragedModel | None = None
    """The moving average of the weights, if one is kept: it is what is evaluated."""
    epoch: int = 0
    best_value: tuple[float, float] = (math.inf, math.inf)
    """What is to be low, and the validation loss, which decides between equals."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated: with averaged weights if there are any."""
        return self.model if self.average is None else self.average.module

    def step(self) -> None:
        """Let the optimiser take its step, and all that follows it theirs."""
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

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
            self.best_weights = copy.deepcopy(self.eval_model.state_dict())

    def take_snapshot(self) -> None:
        """Keep a copy of the weights of this epoch in the history."""
        state = self.model.state_dict()
        self.history.snapshots[self.epoch] = {k: v.detach().cpu().clone() for k, v in state.items()}

    def state_dict(self) -> checkpoint.State:
        """Return everything that resuming needs."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history.state_dict(),
            "epoch": self.epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
            "random": checkpoint.random_state(),
        }

    def load_state_dict(self, state: checkpoint.State) -> None:
        """Resume where `state_dict` was taken."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = History(**state["history"])
        self.epoch, self.best_value = state["epoch"], state["best_value"]
        self.best_weights = state["best_weights"]
        checkpoint.set_random_state(state["random"])


Callback = Callable[[Progress], None]
"""Called at the end of each epoch: it may report, or raise to end the training."""


def fit(
    model: nn.Module,
    config: TrainingConfig,
    *,
    train: Callable[[int], Batches],
    validation: Batches,
    loss_function: LossFunction,
    optimizer: Optimizer,
    hardware: Hardware,
    monitor: str = "val/loss",
    maximise: bool = False,
    summarise: Summary = scalars,
    clip: ClipFunction | None = None,
    snapshot_epochs: Sequence[int] | set[int] = (),
    callbacks: Sequence[Callback] = (),
    recorder: Recorder | None = None,
    title: str = "training",
) -> History:
    """Train `model`, and leave it with its best weights by validation.

    Args:
        model: trained in place.
        config: number of epochs, schedule, clipping, early stopping.
        train: returns the batches of an epoch, counted from 1: on the device, and equally many
            in each.
        validation: batches of the validation split, on the device.
        loss_function: maps model and batch to a `StepOutput`, in training and in evaluation.
        optimizer: holds the highest learning rate in its parameter groups.
        hardware: device and precision.
        monitor: the scalar that decides which epoch is best.
        maximise: whether more of it is better.
        summarise: turns an epoch's metrics into the scalars that are logged.
        clip: clips the gradients to a norm; by default over all parameters together.
        snapshot_epochs: after these the weights are kept in the history.
        callbacks: called at the end of each epoch.
        recorder: where epochs are logged and checkpoints kept.
        title: what the progress bar says.

    Raises:
        DivergedError: the loss is NaN or infinite.
        UserError: the run to be resumed has a damaged checkpoint.

    """
    clip = clip or (lambda model, norm: nn.utils.clip_grad_norm_(model.parameters(), norm))
    recorder = recorder or Recorder()
    num_steps = len(train(1))
    schedule = Schedule(optimizer, config, num_steps)
    average = exponential_moving_average(model, config.ema_decay) if config.ema_decay else None
    progress = Progress(model, optimizer, schedule, History(), average)
    _resume(progress, recorder)
    total, done = config.num_epochs * num_steps, progress.epoch * num_steps
    try:
        # disable=None: silent where stderr is no terminal.
        with tqdm(desc=title, total=total, initial=done, unit="step", disable=None) as bar:
            while progress.epoch < config.num_epochs and not _stalled(progress, config):
                began, rate = time.perf_counter(), progress.schedule.learning_rate
                trained = _train_epoch(
                    progress, config, train(progress.epoch + 1), loss_function, hardware, clip, bar
                )
                train_seconds = time.perf_counter() - began
                validated = evaluate(progress.eval_model, validation, loss_function, hardware)
                metrics = _named("train/", trained.means()) | _named("val/", validated.means())
                row = summarise(metrics) | {
                    "learning_rate": rate,
                    "epoch_seconds": time.perf_counter() - began,
                    "samples_per_second": trained.num_samples / train_seconds,
                }
                check_finite(row["val/loss"], progress.epoch + 1, "after its last step", rate)
                progress.close_epoch(metrics, row, monitor, maximise)
                if progress.epoch in snapshot_epochs:
                    progress.take_snapshot()
                for callback in callbacks:
                    callback(progress)
                recorder.offer_checkpoint(progress.state_dict())
                # Last, so that an interrupted run can resume from every epoch it has logged.
                recorder.log_epoch(progress.epoch, row)
                bar.set_postfix({name: decimal(row[name]) for name in SHOWN_IN_BAR if name in row})
    finally:
        recorder.flush_checkpoint()
    model.load_state_dict(progress.best_weights)
    return progress.history


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Batches, loss_function: LossFunction, hardware: Hardware
) -> MetricAverager:
    """Run `loss_function` over all batches in evaluation mode, and leave the mode as it was."""
    was_training = model.training
    model.eval()
    averager = MetricAverager()
    for batch in batches:
        with hardware.autocast():
            averager.add(loss_function(model, batch))
    model.train(was_training)
    return averager


def _train_epoch(
    progress: Progress,
    config: TrainingConfig,
    batches: Batches,
    loss_function: LossFunction,
    hardware: Hardware,
    clip: ClipFunction,
    bar: "tqdm[Any]",
) -> MetricAverager:
    """Zero, forward, backward, clip, step: here and nowhere else."""
    model, optimizer, schedule = progress.model, progress.optimizer, progress.schedule
    model.train()
    averager = MetricAverager()
    interval = 1 if hardware.device.type == "cpu" else 50
    check = FiniteLossCheck(progress.epoch + 1, interval)
    for step, batch in enumerate(batches, start=1):
        signals.check()
        optimizer.zero_grad(set_to_none=True)
        with hardware.autocast():
            output = loss_function(model, batch)
        check.add(step, schedule.learning_rate, output.loss)
        output.loss.backward()
        if config.gradient_clip_norm > 0:
            clip(model, config.gradient_clip_norm)
        progress.step()
        averager.add(output)
        bar.update()
    check.finish()
    return averager


def _stalled(progress: Progress, config: TrainingConfig) -> bool:
    waited = progress.epoch - progress.history.best_epoch
    return 0 < config.early_stopping_epochs <= waited


def _named(prefix: str, metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in metrics.items()}


def _resume(progress: Progress, recorder: Recorder) -> None:
    """Take up the checkpoint, if there is one."""
    saved = recorder.load_checkpoint()
    if saved is None:
        return
    progress.load_state_dict(saved)
    # The process may have died after the checkpoint and before the epoch was logged.
    for epoch, row in enumerate(progress.history.rows, start=1):
        recorder.log_epoch(epoch, row)

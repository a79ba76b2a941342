"""The only training loop. It knows an experiment's batches and loss, and no task."""

import copy
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from harness import signals
from harness.experiment import AnyExperiment, Experiment
from harness.training import checkpoint
from harness.training.averaging import MovingAverage
from harness.training.batches import Batches
from harness.training.config import C, TrainingConfig
from harness.training.data_parallel import ALONE, Processes
from harness.training.device import Hardware
from harness.training.distillation import distilled
from harness.training.history import History
from harness.training.metrics import MetricAverager, StepOutput, check_finite, check_losses, decimal
from harness.training.schedules import Schedule

Row = dict[str, float]
"""The scalars that are logged of an epoch."""
SHOWN_IN_BAR = ("train/loss", "val/loss", "val/accuracy")


class Recorder(Protocol):
    """Where epochs are logged and checkpoints kept: a run."""

    checkpoint: checkpoint.Checkpoint

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch, counted from 1; once only per epoch."""


@dataclass
class Progress:
    """A training run and its state, as callbacks see it at the end of an epoch."""

    experiment: AnyExperiment
    config: TrainingConfig
    hardware: Hardware
    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    history: History
    processes: Processes = ALONE
    average: AveragedModel | None = None
    """The moving average of the weights, if one is kept: it is what is evaluated."""
    teacher: nn.Module | None = None
    """The network whose probabilities are learned, too, if there is one."""
    epoch: int = 0
    best_value: tuple[float, float] = (math.inf, math.inf)
    """What is to be low, and the validation loss, which decides between equals."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated: with averaged weights if there are any."""
        return self.model if self.average is None else self.average.module

    def close_epoch(self, metrics: dict[str, Tensor], row: Row) -> None:
        """Record an epoch, and keep the weights if it is the best so far."""
        self.epoch += 1
        self.history.raw.append(metrics)
        self.history.rows.append(row)
        value = (-float(self.epoch), 0.0)  # without validation, the last epoch counts as the best
        if "val/loss" in row:
            self.schedule.end_epoch(row["val/loss"])
            sign = -1 if self.experiment.maximise else 1
            value = (sign * row[self.experiment.monitor], row["val/loss"])
        if value < self.best_value or self.epoch == 1:
            self.best_value, self.history.best_epoch = value, self.epoch
            self.best_weights = copy.deepcopy(self.eval_model.state_dict())
        if self.epoch in self.experiment.snapshot_epochs(self.config):
            weights = self.eval_model.state_dict()
            self.history.snapshots[self.epoch] = {k: v.cpu().clone() for k, v in weights.items()}

    def state_dict(self) -> checkpoint.State:
        """Return everything that resuming needs."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": vars(self.history),
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
    experiment: Experiment[C],
    config: C,
    model: nn.Module,
    data: Any,
    hardware: Hardware,
    callbacks: Sequence[Callback] = (),
    recorder: Recorder | None = None,
    processes: Processes = ALONE,
    teacher: nn.Module | None = None,
) -> History:
    """Train `model`, and leave it with its best weights by validation, or without that its last.

    Model, teacher and data are on the device; the experiment has equally many batches in each
    epoch. Of several processes that train one model, the first alone has a recorder.

    Raises:
        DivergedError: the loss is NaN or infinite.
        UserError: the run to be resumed has a damaged checkpoint.

    """
    validation = (
        experiment.validation_batches(config, data) if experiment.has_validation(config) else None
    )
    optimizer = experiment.optimizer(config, model)
    num_steps = len(experiment.training_batches(config, data, epoch=1))
    schedule = Schedule(optimizer, config, num_steps)
    average = MovingAverage(model, config.ema_decay) if config.ema_decay else None
    progress = Progress(
        experiment,
        config,
        hardware,
        model,
        optimizer,
        schedule,
        History(),
        processes,
        average,
        teacher,
    )
    saved = processes.from_first(recorder.checkpoint.load() if recorder else None)
    if saved:
        progress.load_state_dict(saved)
    if recorder and saved:
        # The process may have died after the checkpoint and before the epoch was logged.
        for epoch, row in enumerate(progress.history.rows, start=1):
            recorder.log_epoch(epoch, row)
    patience = config.early_stopping_epochs or config.num_epochs
    total, done = config.num_epochs * num_steps, progress.epoch * num_steps
    title = experiment.title(config)
    try:
        # disable=None: silent where stderr is neither a terminal nor a notebook's.
        hidden = None if processes.is_first else True
        with tqdm(desc=title, total=total, initial=done, unit="step", disable=hidden) as bar:
            while progress.epoch < min(config.num_epochs, progress.history.best_epoch + patience):
                row = _epoch(progress, data, validation, bar)
                for callback in callbacks:
                    callback(progress)
                if recorder:
                    recorder.checkpoint.offer(progress.state_dict())
                    # Last, so that an interrupted run can resume from every epoch it has logged.
                    recorder.log_epoch(progress.epoch, row)
                bar.set_postfix({name: decimal(row[name]) for name in SHOWN_IN_BAR if name in row})
    finally:
        if recorder:
            recorder.checkpoint.flush()
    model.load_state_dict(progress.best_weights)
    return progress.history


def _epoch(progress: Progress, data: Any, validation: Batches | None, bar: "tqdm[Any]") -> Row:
    """Train and validate for one epoch, and return what is logged of it."""
    experiment, config = progress.experiment, progress.config
    began, rate = time.perf_counter(), progress.schedule.learning_rate
    batches = experiment.training_batches(config, data, progress.epoch + 1)
    trained = _train_epoch(progress, batches, bar)
    train_seconds = time.perf_counter() - began
    metrics = trained.means("train/")
    if validation is not None:
        loss = functools.partial(experiment.loss, config)
        metrics |= evaluate(
            progress.eval_model, validation, loss, progress.hardware, progress.processes
        ).means("val/")
    row = experiment.summarise(metrics) | {
        "learning_rate": rate,
        "epoch_seconds": time.perf_counter() - began,
        "samples_per_second": int(trained.num_samples) / train_seconds,
    }
    if validation is not None:
        check_finite(row["val/loss"], progress.epoch + 1, "after its last step", rate)
    progress.close_epoch(metrics, row)
    return row


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Batches,
    loss: Callable[[Any, Any], StepOutput],
    hardware: Hardware,
    processes: Processes = ALONE,
) -> MetricAverager:
    """Average the loss's metrics over all batches in evaluation mode, and leave the mode."""
    was_training = model.training
    model.eval()
    averager = MetricAverager()
    for batch in batches:
        signals.check()
        with hardware.autocast():
            averager.add(processes.loss(functools.partial(loss, model), batch, seed=0))
    processes.sum_metrics(averager)
    model.train(was_training)
    return averager


def _train_epoch(progress: Progress, batches: Batches, bar: "tqdm[Any]") -> MetricAverager:
    """Zero, forward, backward, clip, step: here and nowhere else."""
    experiment, config, model = progress.experiment, progress.config, progress.model
    optimizer, schedule = progress.optimizer, progress.schedule
    processes = progress.processes
    loss = functools.partial(distilled(experiment.loss, progress.teacher), config, model)
    model.train()
    averager = MetricAverager()
    # To read a loss is to wait for the GPU: several are read together.
    interval = 1 if progress.hardware.device.type == "cpu" else 50
    unchecked: list[tuple[int, float, Tensor]] = []
    for step, batch in enumerate(batches, start=1):
        signals.check()
        optimizer.zero_grad(set_to_none=True)
        with progress.hardware.autocast():
            output = processes.loss(loss, batch, seed=progress.epoch * len(batches) + step)
        output.loss.backward()
        whole_loss = processes.sum_gradients(model, output.loss)
        unchecked.append((step, schedule.learning_rate, whole_loss))
        if len(unchecked) == interval:
            check_losses(unchecked, progress.epoch + 1)
        if config.gradient_clip_norm > 0:
            experiment.clip_gradients(model, config.gradient_clip_norm)
        experiment.step(optimizer, batch)
        schedule.step()
        if progress.average is not None:
            progress.average.update_parameters(model)
        averager.add(output)
        bar.update()
    check_losses(unchecked, progress.epoch + 1)
    processes.sum_metrics(averager)
    return averager

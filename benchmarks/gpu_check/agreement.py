"""What a device computes against what the CPU does, for every experiment; nothing is tracked."""

import contextlib
import copy
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import experiments
from benchmarks.gpu_check.result import Result, within
from harness.config import TrainingConfig
from harness.experiment import AnyExperiment
from harness.training.checkpoint import Checkpoint, State
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Progress, evaluate
from harness.training.train import train

STEP_BOUND = 1e-3
"""Of relative differences in float32, which come from sums in another order."""
RESUMED_BOUND = 5e-2
"""Kernels that add in no fixed order drift apart over epochs; on a CPU the difference is 0."""


def check_agreement(device: str) -> Iterator[Result]:
    """Yield for every experiment whether steps, metrics and resumed runs agree with the CPU's."""
    for name in experiments.names():
        experiment = experiments.find(name)
        tiny = {**experiment.config_class.tiny, "num_epochs": 2, "precision": "fp32"}
        config = experiment.config_class(**tiny, device=device)
        yield within(f"{name}: gradient of a step", step_difference(experiment, config), STEP_BOUND)
        yield within(f"{name}: validation", metric_difference(experiment, config), STEP_BOUND)
        difference = resumed_difference(experiment, config)
        yield within(f"{name}: resumed after an epoch", difference, RESUMED_BOUND)


def step_difference(experiment: AnyExperiment, config: TrainingConfig) -> float:
    """Return the relative difference of the gradients of one batch without dropout."""
    if hasattr(config, "dropout_rate"):
        config = config.replace(dropout_rate=0.0)  # its noise differs from device to device
    data = experiment.load_data(config)
    seed_everything(config.seed)
    model = experiment.build_model(config, data)
    on_cpu, on_device = (
        gradient(experiment, config.replace(device=name), copy.deepcopy(model), data)
        for name in ("cpu", config.device)
    )
    return float((on_device - on_cpu).norm() / on_cpu.norm())


def gradient(
    experiment: AnyExperiment, config: TrainingConfig, model: nn.Module, data: Any
) -> Tensor:
    """Return the gradient of the first batch's loss, one parameter after the other, on the CPU."""
    hardware = Hardware.choose(config)
    hardware.prepare(model).train()
    seed_everything(config.seed)
    batch = next(iter(experiment.training_batches(config, data, 1)))  # drawn on the CPU for both
    batch = pytree.tree_map_only(Tensor, lambda part: part.to(hardware.device), batch)
    experiment.loss(config, model, batch).loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(gradients).cpu()


def metric_difference(experiment: AnyExperiment, config: TrainingConfig) -> float:
    """Return how far the CPU is from the validation loss that the device has logged."""
    last: dict[str, nn.Module] = {}

    def keep(progress: Progress) -> None:
        last["model"] = copy.deepcopy(progress.eval_model).cpu()

    trained = train(experiment, config, callbacks=[keep])
    on_cpu = Hardware(torch.device("cpu"), "fp32")
    batches = experiment.validation_batches(config, trained.data)
    loss = functools.partial(experiment.loss, config)
    metrics = evaluate(last["model"], batches, loss, on_cpu).means("val/")
    expected = trained.history.rows[-1]["val/loss"]
    return abs(experiment.summarise(metrics)["val/loss"] - expected) / expected


class KeptInMemory(Checkpoint):
    """A checkpoint of every epoch that stays in memory."""

    state: State | None = None

    def load(self) -> State | None:
        """Return the newest state."""
        return self.state

    def offer(self, state: State) -> None:
        """Keep a copy of an epoch's final state."""
        self.state = copy.deepcopy(state)


class InterruptedOnce:
    """A recorder that logs nothing, and interrupts training after its first epoch."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint = KeptInMemory(Path(), math.inf)
        self.interrupted = False

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Raise a `KeyboardInterrupt` once."""
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt


def resumed_difference(experiment: AnyExperiment, config: TrainingConfig) -> float:
    """Return how far a run that was interrupted after an epoch ends from one that was not."""
    recorder = InterruptedOnce()
    with contextlib.suppress(KeyboardInterrupt):
        train(experiment, config, recorder=recorder)
    resumed, whole = (
        train(experiment, config, recorder=each).history.rows[-1]["val/loss"]
        for each in (recorder, None)
    )
    return abs(resumed - whole) / whole

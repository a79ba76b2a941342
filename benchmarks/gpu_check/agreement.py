"""What a device computes against what the CPU does, for every experiment; nothing is tracked."""

import contextlib
import copy
import functools
import io
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import experiments
from benchmarks.gpu_check.result import Part, Result, within
from harness.experiment import AnyExperiment, Trained
from harness.tracking.export import CheckedModel
from harness.training.checkpoint import Checkpoint, State
from harness.training.config import TrainingConfig
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Progress, evaluate
from harness.training.train import train

ROUNDING_BOUND = 1e-3
"""Of relative differences in float32, which come from sums in another order."""
STEPS_BOUND = 1e-2
"""Of losses, for the first steps make more of such a difference."""
NUM_STEPS = 4
RESUMED_BOUND = 5e-2
"""Kernels that add in no fixed order drift apart over epochs; on a CPU the difference is 0."""
BF16_BOUND = 1e-1
"""Numbers in bf16 have 8 bits: one rounding changes them by up to 0.4 %."""


def check_agreement(device: str, *, miniature: bool) -> Iterator[Part]:
    """Yield the parts of every experiment; compilation takes long, and is left to one of each kind.

    On the CPU, only the convolutional network is compiled.
    """
    for name in experiments.names():
        experiment = experiments.find(name)
        config_class = experiment.config_class
        tiny = {**config_class.tiny, "num_epochs": 2, "precision": "fp32", "device": device}
        config = config_class(**tiny)
        yield name, agreement(experiment, config)
        if name == ("cnn" if miniature else config_class.family):
            yield f"{name}, compiled", compiled_agreement(experiment, config)


def agreement(experiment: AnyExperiment, config: TrainingConfig) -> Iterator[Result]:
    """Yield how far an experiment's steps, epochs and exported model are from what they equal."""
    name, data = experiment.name, experiment.load_data(config)
    here, on_cpu = (
        first_steps(experiment, config.replace(device=each), data)
        for each in (config.device, "cpu")
    )
    difference = relative(here.gradient, on_cpu.gradient)
    yield within(f"{name}: gradient of a step, against the CPU", difference, ROUNDING_BOUND)
    difference = float(((here.losses - on_cpu.losses) / on_cpu.losses).abs().max())
    yield within(f"{name}: losses of {NUM_STEPS} steps, against the CPU", difference, STEPS_BOUND)
    if has_bf16(config):
        rounded = first_steps(experiment, config.replace(precision="bf16"), data)
        difference = relative(rounded.gradient, here.gradient)
        yield within(f"{name}: gradient in bf16, against fp32", difference, BF16_BOUND)
    last = Last()
    trained = train(experiment, config, data=data, callbacks=[last])
    difference = validation_difference(experiment, trained, last.model)
    yield within(f"{name}: validation loss, against the CPU", difference, ROUNDING_BOUND)
    difference = resumed_difference(experiment, trained)
    yield within(f"{name}: resumed after an epoch, against not", difference, RESUMED_BOUND)
    difference = export_difference(experiment, trained)
    yield within(f"{name}: exported model on the CPU", difference, ROUNDING_BOUND)


def compiled_agreement(experiment: AnyExperiment, config: TrainingConfig) -> Iterator[Result]:
    """Yield how far the gradient of a compiled network is from that of the same, not compiled."""
    data = experiment.load_data(config)
    compiled, not_compiled = (
        first_steps(experiment, config.replace(compile=each), data) for each in (True, False)
    )
    difference = relative(compiled.gradient, not_compiled.gradient)
    yield within(f"{experiment.name}: gradient compiled, against not", difference, ROUNDING_BOUND)


def relative(one: Tensor, other: Tensor) -> float:
    """Return the norm of the difference of two vectors, relative to that of the second."""
    return float((one - other).norm() / other.norm())


def has_bf16(config: TrainingConfig) -> bool:
    """Return whether a device computes in bf16; a CPU does so everywhere."""
    chosen = Hardware.choose(config.replace(precision="auto"))
    return chosen.device.type == "cpu" or chosen.precision == "bf16"


class FirstSteps(NamedTuple):
    """What the first batches lead to, on the CPU."""

    gradient: Tensor
    """Of the first loss by all parameters, one after the other."""
    losses: Tensor
    """(NUM_STEPS,), or fewer where an epoch has fewer."""


def first_steps(experiment: AnyExperiment, config: TrainingConfig, data: Any) -> FirstSteps:
    """Train for a few steps, at the highest learning rate, from weights of the same seed.

    Without dropout, whose noise differs from device to device; batches are drawn on the CPU.
    """
    if hasattr(config, "dropout_rate"):
        config = config.replace(dropout_rate=0.0)
    hardware = Hardware.choose(config)
    seed_everything(config.seed)
    model = experiment.build_model(config, data)
    hardware.prepare(model, experiment.compiled_method).train()
    optimizer = experiment.optimizer(config, model)
    seed_everything(config.seed)
    gradient, losses = torch.empty(0), list[Tensor]()
    for batch in islice(experiment.training_batches(config, data, 1), NUM_STEPS):
        batch = pytree.tree_map_only(Tensor, lambda part: part.to(hardware.device), batch)
        optimizer.zero_grad()
        with hardware.autocast():
            loss = experiment.loss(config, model, batch).loss
        loss.backward()
        if not losses:
            gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            gradient = torch.cat(gradients).cpu()
        losses.append(loss.detach().cpu())
        optimizer.step()
    return FirstSteps(gradient, torch.stack(losses))


class Last:
    """A callback that keeps the model of the last epoch, as it was validated, on the CPU."""

    model: nn.Module

    def __call__(self, progress: Progress) -> None:
        """Keep a copy."""
        self.model = copy.deepcopy(progress.eval_model).cpu()


def validation_difference(experiment: AnyExperiment, trained: Trained, last: nn.Module) -> float:
    """Return how far the CPU is from the last validation loss that the device has logged."""
    config, expected = trained.config, trained.history.rows[-1]["val/loss"]
    batches = experiment.validation_batches(config, trained.data)
    loss = functools.partial(experiment.loss, config)
    metrics = evaluate(last, batches, loss, Hardware(torch.device("cpu"), "fp32")).means("val/")
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


class Interruption(KeyboardInterrupt):
    """Ends a training as Ctrl-C does; Ctrl-C itself ends the whole check."""


class InterruptedOnce:
    """A recorder that logs nothing, and interrupts training after its first epoch."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint = KeptInMemory(Path(), math.inf)
        self.interrupted = False

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Raise an `Interruption` once."""
        if not self.interrupted:
            self.interrupted = True
            raise Interruption


def resumed_difference(experiment: AnyExperiment, trained: Trained) -> float:
    """Return how far a run that was interrupted after an epoch ends from one that was not."""
    recorder = InterruptedOnce()
    with contextlib.suppress(Interruption):
        train(experiment, trained.config, data=trained.data, recorder=recorder)
    resumed = train(experiment, trained.config, data=trained.data, recorder=recorder)
    whole = trained.history.rows[-1]["val/loss"]
    return abs(resumed.history.rows[-1]["val/loss"] - whole) / whole


@torch.inference_mode()
def export_difference(experiment: AnyExperiment, trained: Trained) -> float:
    """Return how far a model that was exported, saved and loaded on the CPU is from the device."""
    exported = experiment.export(trained.config, trained)
    example, file = torch.from_numpy(exported.example_input), io.BytesIO()
    torch.export.save(torch.export.export(CheckedModel(exported), (example.double(),)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    device = Hardware.choose(trained.config).device
    there = copy.deepcopy(exported.module).to(device).eval()(example.to(device)).cpu()
    return relative(loaded(example.double()).flatten(), there.flatten())

"""How fast networks train on a device, and what its options change; nothing is tracked."""

import dataclasses
import os
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F

import experiments
from benchmarks.augmentation import repeat, usual
from benchmarks.gpu_check.result import Part, Result
from datasets.photographs import Photographs
from experiments.data import load_photographs
from harness.experiment import AnyExperiment
from harness.training.batches import to_device
from harness.training.config import TrainingConfig
from harness.training.device import Hardware, seed_everything
from harness.training.train import train

UNTIMED_EPOCHS = 2
"""In these, kernels are chosen and compiled."""
NUM_TRAIN, NUM_VALIDATION = 2000, 500
"""As many photographs as there are of cats and dogs."""
MAX_EPOCH_SECONDS = 0.3
"""For so many of 128 pixels."""
MAX_SHARE_IN_INPUT = 0.05


def check_speed(device: str, data: str, *, miniature: bool) -> Iterator[Part]:
    """Yield the parts: the network for photographs at two sizes, and the others."""
    cnn = experiments.find("cnn")
    tiny: dict[str, Any] = {"width": 4, "batch_size": 100} if miniature else {}
    settings = {"device": device, "data": data, **tiny}
    settings |= {"initial_resolution": 1.0, "final_resolution": 1.0}  # no progressive resizing
    epochs = 3 if miniature else 12
    for size in (32,) if miniature else (128, 224):
        config = cnn.config_class(**settings, image_size=size, num_epochs=epochs)
        what = f"cnn, {size} pixels"
        yield what, photographs(cnn, config, what, has_aims=not miniature)
        if size <= 128:
            yield f"{what}, its options", options(cnn, config, what)
            yield (
                f"{what}, read as usual",
                input_as_usual(cnn, config, what, num_batches=5 if miniature else 60),
            )
    for name in ("rnn", "rnn_text", "moe", "seq_classification"):
        experiment = experiments.find(name)
        tiny = experiment.config_class.tiny if miniature else {}
        config = experiment.config_class(**{**tiny, "device": device, "num_epochs": 4})
        yield name, steps_per_second(experiment, config)


class Speed:
    """What training for some epochs takes, the first ones left out."""

    def __init__(self, experiment: AnyExperiment, config: TrainingConfig, data: Any):
        on_gpu = config.device == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        trained = train(experiment, config, data=data)
        self.peak_bytes = torch.cuda.max_memory_allocated() if on_gpu else 0
        rows = trained.history.rows[UNTIMED_EPOCHS:]
        self.epoch_seconds = statistics.median(row["epoch_seconds"] for row in rows)
        """Of training and validation."""
        self.samples_per_second = statistics.median(row["samples_per_second"] for row in rows)
        """Of training alone, as are the optimiser's steps."""
        batch = next(iter(experiment.training_batches(config, data, config.num_epochs)))
        step = experiment.loss(config, trained.untrained.train(), batch)
        self.steps_per_second = self.samples_per_second / int(step.num_samples)

    def peak(self, what: str) -> Iterator[Result]:
        """Yield the peak of memory, which is not measured on a CPU."""
        if self.peak_bytes:
            yield Result(f"{what}: peak of memory", f"{self.peak_bytes / 2**30:.2f} GiB")


def photographs(
    experiment: AnyExperiment, config: Any, what: str, *, has_aims: bool
) -> Iterator[Result]:
    """Yield how fast a network trains on photographs, and what its input costs."""
    data = load_many(experiment, config)
    speed = Speed(experiment, config, data)
    seconds = f"{what}: seconds per epoch of {NUM_TRAIN:,} photographs"
    if has_aims and config.pixels == 128:
        reached = speed.epoch_seconds < MAX_EPOCH_SECONDS
        aim = f"below {MAX_EPOCH_SECONDS}"
        yield Result(seconds, f"{speed.epoch_seconds:.3f}", aim, reached, is_check=False)
    else:
        yield Result(seconds, f"{speed.epoch_seconds:.3f}")
    yield Result(f"{what}: photographs per second in training", f"{speed.samples_per_second:,.0f}")
    yield from speed.peak(f"{what}")
    share = share_in_input(experiment, config, data)
    aim = f"below {MAX_SHARE_IN_INPUT:.0%}" if has_aims else ""
    reached = share < MAX_SHARE_IN_INPUT
    yield Result(f"{what}: share of time in input", f"{share:.1%}", aim, reached, is_check=False)


def load_many(experiment: AnyExperiment, config: Any) -> Any:
    """Return the data with so many photographs as are timed: each several times, or some."""

    def of_size(split: Photographs, count: int) -> Photographs:
        rows = torch.arange(count) % len(split.labels)
        images = split.images[rows].contiguous(memory_format=torch.channels_last)
        return Photographs(images, split.labels[rows], tuple(split.names[row] for row in rows))

    data = experiment.load_data(config)
    splits = {
        "train": of_size(data.train, NUM_TRAIN),
        "validation": of_size(data.validation, NUM_VALIDATION),
    }
    return dataclasses.replace(data, **splits)


def options(experiment: AnyExperiment, config: Any, what: str) -> Iterator[Result]:
    """Yield what larger batches, full precision and compilation change."""
    data = load_many(experiment, config)
    large = 4 * config.batch_size
    variants: dict[str, dict[str, Any]] = {
        f"batches of {large} instead of {config.batch_size}": {"batch_size": large},
        "fp32": {"precision": "fp32"},
        "compiled": {"compile": True},
    }
    for changed, changes in variants.items():
        speed = Speed(experiment, config.replace(**changes), data)
        yield Result(f"{what}, {changed}: seconds per epoch", f"{speed.epoch_seconds:.3f}")
        yield from speed.peak(f"{what}, {changed}")


def steps_per_second(experiment: AnyExperiment, config: TrainingConfig) -> Iterator[Result]:
    """Yield how fast an experiment trains with its defaults."""
    name, speed = experiment.name, Speed(experiment, config, experiment.load_data(config))
    yield Result(f"{name}: steps per second", f"{speed.steps_per_second:,.0f}")
    yield Result(f"{name}: seconds per epoch", f"{speed.epoch_seconds:.3f}")
    yield from speed.peak(f"{name}")


def share_in_input(experiment: AnyExperiment, config: Any, data: Any) -> float:
    """Return the share of an epoch that its batches, augmented on the device, take alone."""
    hardware = Hardware.choose(config)
    here = dataclasses.replace(data, train=to_device(data.train, hardware.device))
    model = hardware.prepare(experiment.build_model(config, data))
    optimizer = experiment.optimizer(config, model)
    seconds = {}
    for name in ("untimed", "input", "both"):
        wait(config.device)
        began = time.perf_counter()
        for batch in experiment.training_batches(config, here, config.num_epochs):
            if name == "input":
                continue
            optimizer.zero_grad()
            with hardware.autocast():
                loss = experiment.loss(config, model, batch).loss
            loss.backward()
            optimizer.step()
        wait(config.device)
        seconds[name] = time.perf_counter() - began
    return seconds["input"] / seconds["both"]


def wait(device: str) -> None:
    """Wait until the device has computed all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def input_as_usual(
    experiment: AnyExperiment, config: Any, what: str, num_batches: int
) -> Iterator[Result]:
    """Yield photographs per second of the same network, fed by `ImageFolder` and `DataLoader`.

    As many processes as there are cores decode and augment files, as strongly, in each epoch.
    """
    data, processes = load_many(experiment, config), os.cpu_count() or 1
    hardware = Hardware.choose(config)
    seed_everything(config.seed)
    model = hardware.prepare(experiment.build_model(config, data)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    batches = repeat(usual(load_photographs(config).folder, config, processes))
    seen, began = 0, 0.0
    for number, (images, labels) in enumerate(islice(batches, 2 * num_batches)):
        if number == num_batches:  # the first half fills the queues
            wait(config.device)
            seen, began = 0, time.perf_counter()
        optimizer.zero_grad()
        with hardware.autocast():
            logits = model(images.to(hardware.device, non_blocking=True))
            loss = F.cross_entropy(logits, labels.to(hardware.device, non_blocking=True))
        loss.backward()
        optimizer.step()
        seen += len(labels)
    wait(config.device)
    usual_speed = seen / (time.perf_counter() - began)
    ratio = Speed(experiment, config, data).samples_per_second / usual_speed
    reader = f"ImageFolder and DataLoader of {processes} processes, AdamW"
    yield Result(f"{what}, {reader}: photographs per second", f"{usual_speed:,.0f}")
    yield Result(f"{what}: as many times as fast as those", f"{ratio:.1f}")

"""How fast networks train on a device, and what its options change; nothing is tracked."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F

import experiments
from benchmarks.augmentation import repeat, usual
from benchmarks.gpu_check.result import Result
from experiments.data import load_photographs
from harness.config import TrainingConfig
from harness.experiment import AnyExperiment
from harness.training.batches import to_device
from harness.training.device import Hardware, seed_everything
from harness.training.train import train

UNTIMED_EPOCHS = 2
"""In these, kernels are chosen and compiled."""


class Utilisation(threading.Thread):
    """Samples, while it runs, the share of time in which the GPU computes."""

    def __init__(self, device: str):
        super().__init__(daemon=True)
        self.device, self.samples, self.done = torch.device(device), list[int](), threading.Event()

    def run(self) -> None:
        """Take a sample ten times a second."""
        while self.device.type == "cuda" and not self.done.wait(0.1):
            self.samples.append(torch.cuda.utilization(self.device))

    def stop(self) -> str:
        """Return the median in per cent."""
        self.done.set()
        self.join()
        return f"{statistics.median(self.samples):.0f} %" if self.samples else "not measured"


def check_speed(device: str, data: str, *, miniature: bool) -> Iterator[Result]:
    """Yield seconds per epoch, and what precision, compilation and input have to do with them."""
    cnn = experiments.find("cnn")
    tiny: dict[str, Any] = {"width": 4, "batch_size": 100} if miniature else {}
    whole = {"initial_resolution": 1.0, "final_resolution": 1.0}
    for size in (32,) if miniature else (128, 224):
        settings = {"device": device, "data": data, "image_size": size, **whole, **tiny}
        config = cnn.config_class(**settings, num_epochs=4 if miniature else 12)
        yield from network(cnn, config, f"cnn, {size} pixels", also=size <= 128)
    for name in ("moe", "rnn", "rnn_text", "seq_classification"):
        experiment = experiments.find(name)
        tiny = experiment.config_class.tiny if miniature else {}
        config = experiment.config_class(**{**tiny, "device": device, "num_epochs": 4})
        yield from times(experiment, config, None, f"{name}, defaults")


def times(
    experiment: AnyExperiment, config: TrainingConfig, data: Any, what: str
) -> Iterator[Result]:
    """Train, and yield seconds per epoch, validation included, and loss and peak of memory."""
    if config.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    utilisation = Utilisation(config.device)
    utilisation.start()
    rows = train(experiment, config, data=data).history.rows
    busy = utilisation.stop()
    seconds = statistics.median(row["epoch_seconds"] for row in rows[UNTIMED_EPOCHS:])
    speed = statistics.median(row["samples_per_second"] for row in rows[UNTIMED_EPOCHS:])
    yield Result(f"{what}: seconds per epoch", f"{seconds:.3f}")
    yield Result(f"{what}: training samples per second", f"{speed:,.0f}")
    if config.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield Result(f"{what}: peak of memory", f"{peak:.2f} GiB")
        yield Result(f"{what}: GPU utilisation", busy)
    loss = rows[-1]["val/loss"]
    yield Result(f"{what}: validation loss", f"{loss:.4f}", "finite", loss == loss)


def network(experiment: AnyExperiment, config: Any, what: str, *, also: bool) -> Iterator[Result]:
    """Yield the times of a network on photographs, and `also` with other options, and the usual."""
    data = experiment.load_data(config)
    yield from times(experiment, config, data, what)
    yield Result(
        f"{what}: share of time in input", f"{share_in_input(experiment, config, data):.1%}"
    )
    if not also:
        return
    large = config.replace(batch_size=4 * config.batch_size)
    yield from times(experiment, large, data, f"{what}, batches of {large.batch_size}")
    yield from times(experiment, config.replace(precision="fp32"), data, f"{what}, fp32")
    yield from times(experiment, config.replace(compile=True), data, f"{what}, compiled")
    speed = usual_speed(experiment, config, data)
    yield Result(f"{what}, ImageFolder and DataLoader: samples per second", f"{speed:,.0f}")


def share_in_input(experiment: AnyExperiment, config: Any, data: Any) -> float:
    """Return the share of an epoch that its batches, augmented on the device, take alone."""
    hardware = Hardware.choose(config)
    here = type(data)(**{**vars(data), "train": to_device(data.train, hardware.device)})
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


def usual_speed(experiment: AnyExperiment, config: Any, data: Any, num_batches: int = 60) -> float:
    """Return photographs per second of the same network, read by `ImageFolder` and `DataLoader`.

    Files are decoded and augmented in each epoch by as many processes as there are cores.
    """
    hardware = Hardware.choose(config)
    seed_everything(config.seed)
    model = hardware.prepare(experiment.build_model(config, data)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loader = usual(load_photographs(config), config.image_size, os.cpu_count() or 1)
    batches = repeat(loader)
    for count in (len(loader), num_batches):  # the first pass fills the queues
        wait(config.device)
        seen, began = 0, time.perf_counter()
        for images, labels in islice(batches, count):
            optimizer.zero_grad()
            with hardware.autocast():
                logits = model(images.to(hardware.device, non_blocking=True))
                loss = F.cross_entropy(logits, labels.to(hardware.device, non_blocking=True))
            loss.backward()
            optimizer.step()
            seen += len(labels)
        wait(config.device)
    return seen / (time.perf_counter() - began)

"""Photographs decoded once and augmented in batches, against decoded and augmented one by one.

    python -m benchmarks.augmentation photographs.zip

Measures augmented photographs per second from the cache, and the usual way, from `ImageFolder` with
PIL transforms. Both resize, crop, flip, rotate, blur and change colours by the same strengths. They
take turns, and the median of the ratios counts. Before each turn the workers of the usual way have
the time to fill their queues and become idle.
"""

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import experiments
from experiments.cnn.config import CNNConfig
from experiments.data import load_photographs
from harness.training.device import keep_freed_memory

ROUNDS = 5
IDLE_SECONDS = 1.5
STRENGTHS: dict[str, Any] = {
    "initial_resolution": 1.0,
    "final_resolution": 1.0,
    "crop_min_area": 0.5,
    "crop_max_aspect_ratio": 4 / 3,
    "rotation_degrees": 15.0,
    "color_jitter": 0.3,
    "blur_sigma": 1.0,
    "erasing_probability": 0.0,
    "mixup_alpha": 0.0,
}


def usual(folder: Path, config: CNNConfig, num_workers: int) -> "DataLoader[Any]":
    """Decode, resize and augment each photograph in every epoch, as most notebooks do."""
    ratio, jitter = config.crop_max_aspect_ratio, 3 * [config.color_jitter]
    steps = [
        transforms.RandomResizedCrop(config.pixels, (config.crop_min_area, 1), (1 / ratio, ratio)),
        transforms.RandomHorizontalFlip(config.flip_probability),
        transforms.RandomRotation(config.rotation_degrees),
        transforms.ColorJitter(*jitter),
        *([transforms.GaussianBlur(7, (0.1, config.blur_sigma))] if config.blur_sigma else []),
        transforms.ToTensor(),
        transforms.RandomErasing(config.erasing_probability),
    ]
    return DataLoader(
        ImageFolder(str(folder / "train"), transforms.Compose(steps)),
        config.batch_size,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def repeat(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches again and again."""
    while True:
        yield from batches


def rate(batches: Iterator[Any], count: int) -> float:
    """Return the photographs per second of `count` batches."""
    start = time.perf_counter()
    seen = sum(len(labels) for _, labels in islice(batches, count))
    return seen / (time.perf_counter() - start)


def main(data: str, size: int) -> None:
    """Measure in turns and print."""
    keep_freed_memory()
    config = CNNConfig(data=data, image_size=size, batch_size=64, **STRENGTHS)
    folder, cnn = load_photographs(config).folder, experiments.find("cnn")
    ours = cnn.training_batches(config, cnn.load_data(config), epoch=1)
    cores = torch.get_num_threads()
    ways = {
        "usual, one process": (repeat(usual(folder, config, 0)), 4),
        f"usual, {cores} workers": (repeat(usual(folder, config, cores)), 12),
        "ours": (repeat(ours), 40),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, (batches, count) in ways.items():
            time.sleep(IDLE_SECONDS)
            measured = rate(batches, count)
            if turn > 0:  # the first one warms up
                rates[name].append(measured)
    print(f"{size} x {size} pixels, {cores} cores, photographs a second, median of {ROUNDS} turns:")
    for name, each in rates.items():
        ratios = [a / b for a, b in zip(rates["ours"], each, strict=True)]
        print(
            f"{name:>20}: {statistics.median(each):8.0f}"
            f"   ours is {statistics.median(ratios):5.1f} times as fast"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="a zip or folder of photographs, or synthetic")
    parser.add_argument("size", nargs="?", type=int, default=128, help="pixels of width and height")
    main(**vars(parser.parse_args()))

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
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from datasets.augmentation import Augmentation
from datasets.photographs import PhotographDataset
from experiments.data import PhotographsConfig, load_photographs
from harness.training.batches import MappedBatches, TensorBatches
from harness.training.device import keep_freed_memory

BATCH_SIZE = 64
ROUNDS = 5
IDLE_SECONDS = 1.5
DEGREES, COLOR_JITTER, BLUR_SIGMA = 15, 0.3, 1.0
MIN_AREA, MAX_RATIO = 0.5, 4 / 3


def usual(photographs: PhotographDataset, size: int, num_workers: int) -> "DataLoader[Any]":
    """Decode, resize and augment each photograph in every epoch, as most notebooks do."""
    steps = [
        transforms.RandomResizedCrop(size, (MIN_AREA, 1), (1 / MAX_RATIO, MAX_RATIO)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(DEGREES),
        transforms.ColorJitter(COLOR_JITTER, COLOR_JITTER, COLOR_JITTER),
        transforms.GaussianBlur(7, (0.1, BLUR_SIGMA)),
        transforms.ToTensor(),
    ]
    folder = ImageFolder(str(photographs.folder / "train"), transforms.Compose(steps))
    persistent = num_workers > 0
    return DataLoader(
        folder, BATCH_SIZE, shuffle=True, num_workers=num_workers, persistent_workers=persistent
    )


def ours(photographs: PhotographDataset) -> MappedBatches:
    """Augment whole batches of decoded photographs, as `experiments.cnn` does."""
    augment = Augmentation(
        output_size=photographs.train.images.shape[-1],
        flip_probability=0.5,
        crop_min_area=MIN_AREA,
        crop_max_aspect_ratio=MAX_RATIO,
        rotation_degrees=DEGREES,
        color_jitter=COLOR_JITTER,
        blur_sigma=BLUR_SIGMA,
        erasing_probability=0.0,
    )
    shuffled = TensorBatches(*photographs.train, batch_size=BATCH_SIZE, shuffle=True)
    return MappedBatches(shuffled, lambda x, y: (augment(x), y))


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
    photographs = load_photographs(PhotographsConfig(data=data, image_size=size))
    cores = torch.get_num_threads()
    ways = {
        "usual, one process": (repeat(usual(photographs, size, 0)), 4),
        f"usual, {cores} workers": (repeat(usual(photographs, size, cores)), 12),
        "ours": (repeat(ours(photographs)), 40),
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

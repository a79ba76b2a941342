"""Decoded once and changed by whole batches, against read and changed one by one.

    python -m benchmarks.augmentation photographs.zip

How many augmented photographs a second come out of the cache, and how many the usual way, from
`ImageFolder` with PIL transforms. Both sides resize, crop, flip, rotate, blur and change
colours by the same strengths; they take turns, and the middle of the ratios is what counts.

Before each turn the workers of the usual way are given the time to fill their queues and fall idle.
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
from datasets.cats_and_dogs import Collection
from experiments.data import PhotographsConfig, collection
from experiments.harness.batches import MappedBatches, TensorBatches
from experiments.harness.device import keep_freed_memory

BATCH_SIZE = 64
ROUNDS = 5
SECONDS_TO_FALL_IDLE = 1.5
DEGREES, COLOUR, BLUR_SIGMA, CROP = 15, 0.3, 1.0, 0.5


def usual(photographs: Collection, size: int, num_workers: int) -> "DataLoader[Any]":
    """Return what most notebooks do: decode, resize and change each photograph, every epoch."""
    changes = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(1 - CROP, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(DEGREES),
            transforms.ColorJitter(COLOUR, COLOUR, COLOUR),
            transforms.GaussianBlur(7, (0.1, BLUR_SIGMA)),
            transforms.ToTensor(),
        ]
    )
    folder = ImageFolder(str(photographs.folder / "train"), changes)
    return DataLoader(
        folder,
        BATCH_SIZE,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def ours(photographs: Collection) -> MappedBatches:
    """Return what `experiments.cnn` does."""
    augment = Augmentation(
        flip_probability=0.5,
        crop=CROP,
        stretch=0.3,
        rotation_degrees=DEGREES,
        colour=COLOUR,
        blur_sigma=BLUR_SIGMA,
    )
    images, labels, _ = photographs.train
    shuffled = TensorBatches(images, labels, batch_size=BATCH_SIZE, shuffle=True)
    return MappedBatches(shuffled, lambda x, y: (augment(x), y))


def for_ever(batches: Iterable[Any]) -> Iterator[Any]:
    """Go through the batches again and again."""
    while True:
        yield from batches


def rate(batches: Iterator[Any], count: int) -> float:
    """Return how many photographs a second `count` batches bring."""
    began = time.perf_counter()
    seen = sum(len(labels) for _, labels in islice(batches, count))
    return seen / (time.perf_counter() - began)


def main(data: str, size: int) -> None:
    """Measure in turns and print."""
    keep_freed_memory()
    photographs = collection(PhotographsConfig(data=data, image_size=size))
    cores = torch.get_num_threads()
    ways = {
        "usual, one process": (for_ever(usual(photographs, size, 0)), 4),
        f"usual, {cores} workers": (for_ever(usual(photographs, size, cores)), 12),
        "ours": (for_ever(ours(photographs)), 40),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, (batches, count) in ways.items():
            time.sleep(SECONDS_TO_FALL_IDLE)
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
    parser.add_argument("data", help="a zip or folder of photographs, or drawn")
    parser.add_argument("size", nargs="?", type=int, default=128, help="pixels of width and height")
    main(**vars(parser.parse_args()))

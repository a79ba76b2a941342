"""Photographs decoded once and augmented in batches, against decoded and augmented one by one.

    python -m benchmarks.augmentation photographs.zip

Measures augmented photographs per second of one thread: from the cache, and the usual way, from
`ImageFolder` with PIL transforms. Both resize, crop, flip, rotate, erase, mix and change colours
by the strengths of the default configuration. They take turns, and the median of the ratios
counts. Time is that of the processor, so that other processes on its cores count for little.

The roofline (Williams et al. 2009) is the time that memory needs for the bytes that our operations
read and write, at the bandwidth of copying a large tensor.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import experiments
from datasets.augmentation import Mixing
from experiments.cnn.config import CNNConfig
from experiments.data import load_photographs
from harness.training.device import keep_freed_memory

TURNS = 5


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


def seconds(function: Callable[[], object]) -> float:
    """Return the processor's time that a function takes in this process."""
    start = time.process_time()
    function()
    return time.process_time() - start


class BytesMoved(TorchDispatchMode):
    """Counts the bytes of what operations are given and of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):  # these touch no memory
            whole = () if "index" in str(func) else (args, kwargs)  # of which a few rows are read
            self.count += sum(map(num_bytes, tree_leaves((whole, result))))
        return result


def num_bytes(value: Any) -> int:
    """Return the bytes of a tensor, each once where it is broadcast; 0 of anything else."""
    if not isinstance(value, Tensor):
        return 0
    repeated = (
        size for size, stride in zip(value.shape, value.stride(), strict=True) if not stride
    )
    return value.nbytes // math.prod(repeated)


def bandwidth() -> float:
    """Return the bytes per second that copying reads and writes."""
    source = torch.ones(2**26)  # 256 MiB
    target = torch.empty_like(source)
    best = min(seconds(lambda: target.copy_(source)) for _ in range(5))
    return 2 * source.nbytes / best


def main(data: str, size: int) -> None:
    """Measure in turns and print."""
    torch.set_num_threads(1)
    keep_freed_memory()
    config = CNNConfig(data=data, image_size=size, initial_resolution=1.0, final_resolution=1.0)
    cnn = experiments.find("cnn")
    splits, folder = cnn.load_data(config), load_photographs(config).folder
    mix = Mixing(config.mixup_alpha, config.cutmix_alpha, len(splits.classes))
    ours = repeat(cnn.training_batches(config, splits, epoch=1))
    theirs = (mix(*batch) for batch in repeat(usual(folder, config, num_workers=0)))
    times: list[tuple[float, float]] = []
    for turn in range(TURNS + 1):
        one_by_one = seconds(lambda: list(islice(theirs, 4))) / 4
        in_batches = seconds(lambda: [None for _ in islice(ours, 40)]) / 40
        times += [(one_by_one, in_batches)] if turn else []  # the first one warms up
    with BytesMoved() as moved:
        views, _ = next(ours)
    speed = bandwidth()
    usual_time, our_time = map(statistics.median, zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    once = views.nbytes + views.numel()  # fp32 that are written, and as many uint8 that are read
    print(
        f"{size} x {size} pixels, one thread, median of {TURNS} turns\n"
        f"ImageFolder and PIL: {len(views) / usual_time:6.0f} photographs a second\n"
        f"in batches:          {len(views) / our_time:6.0f}, {statistics.median(ratios):.1f} times "
        f"as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})\n"
        f"A batch of {len(views)} takes {1e3 * our_time:.2f} ms. To copy its bytes at "
        f"{speed / 1e9:.1f} GB/s takes"
    )
    for name, count in {"what all operations move": moved.count, "a single pass": once}.items():
        print(f"{1e3 * count / speed:6.2f} ms: {name}, {count / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", help="a zip or folder of photographs, or synthetic")
    parser.add_argument("size", nargs="?", type=int, default=128, help="pixels of width and height")
    main(**vars(parser.parse_args()))

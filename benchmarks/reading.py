"""Photographs that are read for the first time, after an interruption, and once more.

    python -m benchmarks.reading [folder]

Makes JPEG files of 500 x 375 pixels in two class folders, and measures in processes of their own:
how many photographs are decoded in a second; what a process that is killed halfway saves the next
one; and how long a second run takes from its start to its first training step.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import CatsAndDogs
from harness.run_experiment import run_experiment
from harness.training.metrics import StepOutput
from models.cnn import ImageClassifier

COUNT = 10_000
SIZE = 500, 375
CLASSES = "A", "B"


class FirstStep(CatsAndDogs):
    """The experiment up to its first training step."""

    def loss(
        self, config: CNNConfig, model: ImageClassifier, batch: tuple[Tensor, ...]
    ) -> StepOutput:
        """End the process, unless it is the estimate of the memory that asks."""
        if not batch[0].is_meta:
            os._exit(0)
        return super().loss(config, model, batch)


def write(folder: Path, count: int) -> None:
    """Write photographs of coarse and fine noise, each another one."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
        pixels = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
        pixels = pixels + random.integers(-12, 13, pixels.shape, np.int16)
        path = folder / CLASSES[number % len(CLASSES)] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


@contextmanager
def first_step(folder: Path, cache: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a run that ends at its first training step; afterwards, wait for it."""
    command = [sys.executable, "-m", "benchmarks.reading", str(folder), "--cache", str(cache)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{cache.parent}/mlflow.db"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        yield process


def seconds_to_first_step(folder: Path, cache: Path) -> tuple[float, float]:
    """Return the time from the start of a process to its first training step, and that of a core.

    The latter depends little on what else the cores have to do.
    """
    began, before = time.perf_counter(), os.times()
    with first_step(folder, cache) as process:
        assert process.wait() == 0, "the run failed"
    after = os.times()
    user = after.children_user - before.children_user
    return time.perf_counter() - began, user + after.children_system - before.children_system


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description="Reading photographs.")
    parser.add_argument("folder", nargs="?", help="photographs to read instead of made ones")
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=COUNT, help="photographs that are made")
    arguments = parser.parse_args()
    if arguments.cache:
        config = CNNConfig(data=arguments.folder, data_dir=arguments.cache)
        run_experiment(FirstStep(), config)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = Path(arguments.folder) if arguments.folder else root / "photographs"
        if not arguments.folder:
            write(folder, arguments.count)
        count = sum(path.is_file() for path in folder.rglob("*"))
        size_megabytes = sum(path.stat().st_size for path in folder.rglob("*.*")) / 1e6
        print(f"{count:,} photographs, {size_megabytes:,.0f} MB")
        cache = root / "cache"
        first, first_core = seconds_to_first_step(folder, cache)
        again, again_core = seconds_to_first_step(folder, cache)
        print(f"first run: {first:.1f} s to the first training step, {first_core:.1f} s of a core")
        print(f"second run: {again:.1f} s, {again_core:.1f} s of a core")
        rate, rate_core = count / (first - again), count / (first_core - again_core)
        print(f"decoding: {rate:,.0f} photographs a second, {rate_core:,.0f} in a second of a core")
        other = root / "other"
        with first_step(folder, other) as process:
            time.sleep(again + (first - again) / 2)
            process.kill()
        resumed, resumed_core = seconds_to_first_step(folder, other)
        print(f"after a kill halfway: {resumed:.1f} s, {resumed_core:.1f} s of a core")


if __name__ == "__main__":
    main()

"""Photographs of cats and dogs: downloaded or generated, decoded once, and counted."""

from typing import get_args

import numpy as np

from datasets import cats_and_dogs
from datasets.cats_and_dogs import PhotographDataset, Photographs
from datasets.choices import CLASSES, Split
from datasets.errors import DataError, DiskError
from experiments.data.config import DataConfig, PhotographsConfig
from harness.errors import UserError


def load_photographs(config: PhotographsConfig) -> PhotographDataset:
    """Load the photographs that a configuration asks for.

    Raises:
        UserError: there are none of that kind.

    """
    try:
        return cats_and_dogs.load(config.data, config.data_dir, config.image_size)
    except DiskError as error:
        remedy = "data_dir names another folder for what is downloaded and decoded"
        raise UserError(f"data={config.data}: {error}; {remedy}") from error
    except DataError as error:
        raise UserError(f"data={config.data}: {error}") from error


def main(config: DataConfig) -> None:
    """Load the photographs and print their number by split and class, and where they are."""
    print(describe(load_photographs(config)))


def describe(dataset: PhotographDataset) -> str:
    """Return a table of the splits, and the source."""
    lines = [row("split", *CLASSES)]
    for split in get_args(Split):
        photographs: Photographs = getattr(dataset, split)
        counts = np.bincount(photographs.labels, minlength=len(CLASSES))
        lines.append(row(split, *(f"{count:,}" for count in counts)))
    height, width = dataset.train.images.shape[-2:]
    lines += [
        "",
        f"{width} x {height} pixels, RGB, fingerprint {dataset.fingerprint}",
        f"read from {dataset.folder}",
        f"skipped: {len(dataset.skipped) or 'none'}",
    ]
    lines += [f"  {name!r}: {reason}" for name, reason in dataset.skipped]
    return "\n".join(lines)


def row(name: str, *cells: str) -> str:
    """Return a line of the table."""
    return f"{name:<10}" + "".join(f"{cell:>8}" for cell in cells)

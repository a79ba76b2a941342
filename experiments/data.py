"""Photographs of cats and dogs: fetched or drawn, decoded once, and counted.

    python -m experiments.data                            the original, downloaded (69 MB)
    python -m experiments.data --data photographs.zip     an archive or folder of one's own
    python -m experiments.data --data drawn               a stand-in, drawn where no network is

Experiments have the same three parameters, and find what was made here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args

import numpy as np
from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from datasets import cats_and_dogs
from datasets.cats_and_dogs import CLASSES, Collection, Photographs
from datasets.errors import DataError, DiskError
from datasets.splits import Split
from experiments.harness import signals
from experiments.harness.config import STRICT, Configuration, parse
from experiments.harness.errors import UserError
from experiments.harness.launch import run_command


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographsConfig(Configuration):
    """Which photographs are wanted, by whatever command."""

    entry_point: ClassVar[str] = ""

    data: str = "download"
    """Photographs: download (the original), drawn (a stand-in), or the path of a zip or folder."""
    data_dir: str = ""
    """Folder for what is downloaded and decoded (empty: the user's cache folder)."""
    image_size: Annotated[int, Ge(16), Le(1024)] = 128
    """Width and height, in pixels, that each photograph is squashed to."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig(PhotographsConfig):
    """Fetch the photographs of cats and dogs, decode them, and say what there is."""

    entry_point: ClassVar[str] = "data"
    tiny: ClassVar[Mapping[str, Any]] = {"data": "drawn", "image_size": 16}

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.data"


def collection(config: PhotographsConfig) -> Collection:
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
    """Load the photographs and print how many there are, of what and where."""
    print(describe(collection(config)))


def describe(loaded: Collection) -> str:
    """Return a table of the splits, and where they come from."""
    lines = [row("split", *CLASSES)]
    for split in get_args(Split):
        photographs: Photographs = getattr(loaded, split)
        counts = np.bincount(photographs.labels, minlength=len(CLASSES))
        lines.append(row(split, *(f"{count:,}" for count in counts)))
    height, width = loaded.train.images.shape[-2:]
    lines += [
        "",
        f"{width} x {height} pixels, RGB, fingerprint {loaded.fingerprint}",
        f"read from {loaded.folder}",
        f"left out: {len(loaded.skipped) or 'none'}",
    ]
    lines += [f"  {name!r}: {reason}" for name, reason in loaded.skipped]
    return "\n".join(lines)


def row(name: str, *cells: str) -> str:
    """Return a line of the table."""
    return f"{name:<10}" + "".join(f"{cell:>8}" for cell in cells)


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(parse(DataConfig)))

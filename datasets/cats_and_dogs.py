"""Photographs of cats and dogs, as TensorFlow's `cats_and_dogs_filtered` arranges them.

A folder of them contains train/cats, train/dogs, validation/cats and validation/dogs. All of train/
is the training split; one half of validation/ is the validation split, the other the test split.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from platformdirs import user_cache_path
from torch import Tensor

from datasets import images, synthetic_photographs
from datasets.archives import download, extract, make_once
from datasets.choices import CLASSES
from datasets.errors import DataError, disk_errors

FOLDERS = ("train", "validation")

URL = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
SIZE_BYTES = 68_606_236
CACHE_NAME = "tracked-deep-learning-experiments"

SYNTHETIC_TRAIN_PER_CLASS, SYNTHETIC_VALIDATION_PER_CLASS = 400, 200
SPLIT_SEED = 0
"""Seed of the halves of validation/: the same for all runs, whatever their own seeds."""
MIN_IMAGE_SIZE = 8
MAX_LISTED = 5
"""Files that a message lists; it only counts the others."""

log = logging.getLogger(__name__)


class Photographs(NamedTuple):
    """One split: N photographs of S by S pixels."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB, channels last in memory; a view of the memory-mapped cache."""
    labels: Tensor
    """(N,) int64, index into `CLASSES`."""
    names: tuple[str, ...]
    """Path of each within the folder, such as train/cats/cat.0.jpg."""


class PhotographDataset(NamedTuple):
    """The splits and their source."""

    train: Photographs
    validation: Photographs
    test: Photographs
    skipped: tuple[tuple[str, str], ...]
    """Files that could not be read, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of all files; it does not depend on the size in pixels."""
    folder: Path
    """The folder of train/ and validation/."""


def load(data: str, data_dir: str, image_size: int) -> PhotographDataset:
    """Load the photographs, resized to squares; downloaded and decoded files are cached.

    Args:
        data: download (the original), synthetic (a substitute), or the path of a zip or folder.
        data_dir: folder of the cache; empty for the user's cache folder.
        image_size: S, width and height of the squares in pixels, at least 8.

    Raises:
        DataError: there are no such photographs, or too few that can be read.

    """
    if image_size < MIN_IMAGE_SIZE:
        raise DataError(f"{image_size} pixels are too few (allowed: {MIN_IMAGE_SIZE} or more)")
    cache = Path(data_dir).expanduser() if data_dir else user_cache_path(CACHE_NAME)
    with disk_errors(Path(data)):
        root = _find_root(_fetch(data, cache))
        train_files, evaluation_files = (_list_files(root, folder) for folder in FOLDERS)
    files = [*train_files, *sorted(evaluation_files, key=_shuffled)]
    decoded = images.decode(root, files, image_size, cache)
    if decoded.skipped:
        listed = _list([f"{name!r} ({reason})" for name, reason in decoded.skipped])
        log.warning("%d unreadable photographs were skipped: %s", len(decoded.skipped), listed)
    _check_counts(decoded.names)

    pixels = torch.from_numpy(decoded.images).permute(0, 3, 1, 2)  # (N, S, S, 3) to (N, 3, S, S)
    labels = torch.tensor([_label(name) for name in decoded.names])
    num_train = sum(name.startswith("train/") for name in decoded.names)
    # The others alternate between validation and test, class after class: each gets half of each
    # class, and remains a view of the memory map.
    train, validation, test = (
        Photographs(pixels[part], labels[part], decoded.names[part])
        for part in (slice(num_train), slice(num_train, None, 2), slice(num_train + 1, None, 2))
    )
    skipped, fingerprint = decoded.skipped, decoded.fingerprint
    return PhotographDataset(train, validation, test, skipped, fingerprint, folder=root)


def _fetch(data: str, cache: Path) -> Path:
    """Return the folder that `data` denotes; it is created in the cache if necessary."""
    if data == "synthetic":
        train, validation = SYNTHETIC_TRAIN_PER_CLASS, SYNTHETIC_VALIDATION_PER_CLASS
        write = partial(
            synthetic_photographs.write, train_per_class=train, validation_per_class=validation
        )
        folder = cache / f"synthetic-{train}-{validation}-v{synthetic_photographs.VERSION}"
        make_once(folder, write)
        return folder
    path = Path(data).expanduser()
    if data == "download":
        path = cache / "cats_and_dogs_filtered.zip"
        try:
            download(URL, path, SIZE_BYTES)
        except DataError as error:
            others = "data=PATH reads your own zip or folder, data=synthetic generates a substitute"
            raise DataError(f"{error}; {others}") from error
    if path.is_dir():
        return path
    if not path.is_file():
        allowed = "download, synthetic, or the path of a zip or folder"
        raise DataError(f"there is no such file or folder (allowed: {allowed})")
    folder = cache / f"unpacked-{images.hash_file(path)}"
    extract(path, folder)
    return folder


def _find_root(folder: Path) -> Path:
    """Return the folder of train/ and validation/: this one, or the only one in it with both."""
    inner = _visible(folder)
    roots = [path for path in [folder, *inner] if all((path / name).is_dir() for name in FOLDERS)]
    if not roots:
        found = _list([path.name for path in inner]) or "nothing"
        raise DataError(f"contains no folders train/ and validation/; found: {found}")
    if len(roots) > 1 and roots[0] != folder:
        found = _list([path.name for path in roots])
        raise DataError(f"several of its folders contain train/ and validation/: {found}")
    return roots[0]


def _list_files(root: Path, folder: str) -> list[str]:
    """Return the files of exactly two classes, cats first, each in the order of its names."""
    found = [path.name for path in _visible(root / folder) if path.is_dir()]
    if found != sorted(CLASSES):
        listed = _list(sorted(found, key=CLASSES.__contains__)) or "none"  # unknown ones first
        raise DataError(f"{folder}/ must contain the folders cats and dogs only; found: {listed}")
    return [name for each in CLASSES for name in _walk(root, root / folder / each)]


def _walk(root: Path, folder: Path) -> Iterator[str]:
    """Yield the files in a folder and the folders below, relative to `root`."""
    for path in _visible(folder):
        yield from _walk(root, path) if path.is_dir() else [path.relative_to(root).as_posix()]


def _visible(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted by name, without hidden and operating-system files."""
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(paths, key=lambda path: path.name)


def _shuffled(name: str) -> tuple[int, bytes]:
    """Return the place of a file among all: at random in its class, the same on every machine."""
    return _label(name), hashlib.sha256(os.fsencode(f"{SPLIT_SEED} {name}")).digest()


def _label(name: str) -> int:
    """Return the class of a file, an index into `CLASSES`, from its folder."""
    return CLASSES.index(name.split("/")[1])


def _check_counts(names: Sequence[str]) -> None:
    """Raise DataError unless every class is in every split."""
    for folder, needed in zip(FOLDERS, (1, 2), strict=True):  # validation/ is split in half
        for each in CLASSES:
            count = sum(name.startswith(f"{folder}/{each}/") for name in names)
            if count < needed:
                found = f"{count} readable photographs ({needed} needed)"
                raise DataError(f"{folder}/{each} contains {found}")


def _list(words: Sequence[str]) -> str:
    """Join the first few words, and count the others."""
    more = len(words) - MAX_LISTED
    return ", ".join(words[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")

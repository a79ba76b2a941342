"""Photographs of cats and dogs, as TensorFlow's `cats_and_dogs_filtered` arranges them.

A folder of them contains train/cats, train/dogs, validation/cats and validation/dogs. All of train/
is the training split; one half of validation/ is the validation split, the other the test split.
Files are dealt to the halves before any is read, so that a damaged one moves no other.
"""

import hashlib
import itertools
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
from datasets.choices import CLASSES, Split
from datasets.errors import DataError, disk_errors

FOLDERS = ("train", "validation")

URL = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
SIZE_BYTES = 68_606_236
CACHE_NAME = "tracked-deep-learning-experiments"

SYNTHETIC_TRAIN_PER_CLASS, SYNTHETIC_VALIDATION_PER_CLASS = 400, 200
SPLIT_SEED = 0
"""Seed of the halves of validation/: the same for all runs, whatever their own seeds."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
"""Of photographs; files with others, which may be none, are dealt to the halves after them."""
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
    """Files that were not used, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of the photographs; it does not depend on their size."""
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
        files, skipped = _deal(root)
    decoded = images.decode(root, list(itertools.chain(*files.values())), image_size, cache)
    skipped |= decoded.skipped
    if skipped:
        listed = _list([f"{name!r} ({reason})" for name, reason in skipped.items()])
        log.warning("%d unreadable photographs were skipped: %s", len(skipped), listed)

    pixels = torch.from_numpy(decoded.images).permute(0, 3, 1, 2)  # (N, S, S, 3) to (N, 3, S, S)
    splits, start = {}, 0
    for split, dealt in files.items():  # each remains a view of the memory map
        names = tuple(name for name in dealt if name not in skipped)
        _check_classes(split, names)
        labels = torch.tensor([_label(name) for name in names])
        splits[split] = Photographs(pixels[start : start + len(names)], labels, names)
        start += len(names)
    # A photograph that cannot be read is no data, but it has had its place in the dealing.
    places = dict.fromkeys([*files["validation"], *files["test"]], "unreadable")
    used = {name: each for name, each in decoded.hashes.items() if name not in skipped}
    fingerprint = images.fingerprint(places | used)
    return PhotographDataset(
        **splits, skipped=tuple(skipped.items()), fingerprint=fingerprint, folder=root
    )


def _deal(root: Path) -> tuple[dict[Split, list[str]], dict[str, str]]:
    """Return the files of each split, and what is no file, with the reason."""
    train, others = (_list_files(root, folder) for folder in FOLDERS)
    problems = {name: problem for name in [*train, *others] if (problem := _problem(root, name))}
    # Validation and test alternate, class after class: each gets half of each class.
    dealt = sorted((name for name in others if name not in problems), key=_place)
    files: dict[Split, list[str]] = {
        "train": [name for name in train if name not in problems],
        "validation": dealt[::2],
        "test": dealt[1::2],
    }
    return files, problems


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
    _check_inside(folder, roots[0])
    return roots[0]


def _list_files(root: Path, folder: str) -> list[str]:
    """Return the files of exactly two classes, cats first, each in the order of its names."""
    found = [path.name for path in _visible(root / folder) if path.is_dir()]
    if found != sorted(CLASSES):
        listed = _list(sorted(found, key=CLASSES.__contains__)) or "none"  # unknown ones first
        raise DataError(f"{folder}/ must contain the folders cats and dogs only; found: {listed}")
    for each in CLASSES:
        _check_inside(root, root / folder / each)
    return [name for each in CLASSES for name in _walk(root, root / folder / each)]


def _check_inside(folder: Path, path: Path) -> None:
    """Raise DataError if a path in a folder is a link out of it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path.relative_to(folder)} is a link to a folder elsewhere")


def _walk(root: Path, folder: Path) -> Iterator[str]:
    """Yield what is in a folder and in those below, relative to `root`; links are not followed."""
    pending = _visible(folder)[::-1]
    while pending:
        path = pending.pop()
        if path.is_dir() and not path.is_symlink():
            pending += _visible(path)[::-1]
        else:
            yield path.relative_to(root).as_posix()


def _problem(root: Path, name: str) -> str:
    """Return why something in the folder cannot be a photograph of it; empty if it can."""
    path = root / name
    if not path.is_symlink():
        return "" if path.is_file() else "not a regular file"  # a pipe would be read for ever
    if not path.is_file():
        return "a link to a folder" if path.is_dir() else "a link to no file"
    return "" if path.resolve().is_relative_to(root.resolve()) else "a link to a file elsewhere"


def _visible(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted by name, without hidden and operating-system files."""
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(paths, key=lambda path: path.name)


def _place(name: str) -> tuple[bool, int, bytes]:
    """Return the place of a file among all: at random in its class, the same on every machine."""
    order = hashlib.sha256(os.fsencode(f"{SPLIT_SEED} {name}")).digest()
    return not name.lower().endswith(SUFFIXES), _label(name), order


def _label(name: str) -> int:
    """Return the class of a file, an index into `CLASSES`, from its folder."""
    return CLASSES.index(name.split("/")[1])


def _check_classes(split: Split, names: Sequence[str]) -> None:
    """Raise DataError unless the files of a split are of every class."""
    for label, each in enumerate(CLASSES):
        if not any(_label(name) == label for name in names):
            folder = "train" if split == "train" else "validation"
            found = f"{folder}/{each} contains no readable photograph for the {split} split"
            raise DataError(f"{found} (every split needs one of each class)")


def _list(words: Sequence[str]) -> str:
    """Join the first few words, and count the others."""
    more = len(words) - MAX_LISTED
    return ", ".join(words[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")

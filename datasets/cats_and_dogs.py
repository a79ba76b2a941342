"""Photographs of cats and dogs, as TensorFlow's `cats_and_dogs_filtered` arranges them.

A folder of them holds train/cats, train/dogs, validation/cats and validation/dogs. All of train/ is
trained on; one half of validation/ is for choosing, the other, kept apart, for the final judgement.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from platformdirs import user_cache_path
from torch import Tensor

from datasets import drawn, images
from datasets.archives import download, extract, make_once
from datasets.errors import DataError, disk_errors

CLASSES = ("cats", "dogs")
FOLDERS = ("train", "validation")

URL = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
SIZE_BYTES = 68_606_236
CACHE_NAME = "tracked-deep-learning-experiments"

DRAWN_TRAIN_PER_CLASS, DRAWN_VALIDATION_PER_CLASS = 400, 200
HALVING_SEED = 0
"""Seed of the halves of validation/, the same in every run whatever the seed of that is."""
SMALLEST_SIZE = 8
MOST_NAMED = 5
"""Files that a message names before it only counts them."""

log = logging.getLogger(__name__)


class Photographs(NamedTuple):
    """One split: N photographs of S by S pixels."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB, channels last in memory; a view of the cache on the disk."""
    labels: Tensor
    """(N,) int64, index into `CLASSES`."""
    names: tuple[str, ...]
    """Path of each within the folder, such as train/cats/cat.0.jpg."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The splits, and where they came from."""

    train: Photographs
    validation: Photographs
    test: Photographs
    skipped: tuple[tuple[str, str], ...]
    """Files that are left out, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of all files; it does not depend on the size in pixels."""
    folder: Path
    """Where train/ and validation/ lie."""


def load(data: str, data_dir: str, image_size: int) -> Collection:
    """Load the photographs as squares; what has to be fetched or decoded for it is kept.

    Args:
        data: download (the original), drawn (a stand-in), or the path of a zip or folder.
        data_dir: folder for what is kept; empty for the user's cache folder.
        image_size: S, width and height of the squares in pixels, 8 or more.

    Raises:
        DataError: there are no such photographs, or not enough that can be read.

    """
    if image_size < SMALLEST_SIZE:
        raise DataError(f"{image_size} pixels are too few for a photograph, {SMALLEST_SIZE} needed")
    cache = Path(data_dir).expanduser() if data_dir else user_cache_path(CACHE_NAME)
    with disk_errors(Path(data)):
        root = _find_root(_fetch(data, cache))
        train, held_out = (_list_files(root, folder) for folder in FOLDERS)
    decoded = images.decode(root, [*train, *_shuffled(held_out)], image_size, cache)
    _warn(decoded.skipped)
    _check_counts(decoded.names)

    num_train = sum(name.startswith("train/") for name in decoded.names)
    # The others are dealt out in turn, class after class: each half gets half of each class, and
    # remains a view of the memory map.
    return Collection(
        train=_select(decoded, slice(None, num_train)),
        validation=_select(decoded, slice(num_train, None, 2)),
        test=_select(decoded, slice(num_train + 1, None, 2)),
        skipped=decoded.skipped,
        fingerprint=decoded.fingerprint,
        folder=root,
    )


def _fetch(data: str, cache: Path) -> Path:
    """Return the folder that `data` means; it is made in the cache if need be."""
    if data == "drawn":
        return _draw(cache)
    path = _download(cache) if data == "download" else Path(data).expanduser()
    if path.is_dir():
        return path
    if not path.is_file():
        allowed = "download, drawn, or the path of a zip or folder"
        raise DataError(f"there is no such file or folder (allowed: {allowed})")
    folder = cache / f"unpacked-{images.hash_file(path)}"
    extract(path, folder)
    return folder


def _download(cache: Path) -> Path:
    path = cache / "cats_and_dogs_filtered.zip"
    try:
        download(URL, path, SIZE_BYTES)
    except DataError as error:
        ways_out = "data=PATH takes a zip or folder of yours, data=drawn draws some instead"
        raise DataError(f"{error}; {ways_out}") from error
    return path


def _draw(cache: Path) -> Path:
    counts = f"{DRAWN_TRAIN_PER_CLASS}-{DRAWN_VALIDATION_PER_CLASS}"
    folder = cache / f"drawn-{counts}-v{drawn.VERSION}"
    draw = partial(
        drawn.write,
        train_per_class=DRAWN_TRAIN_PER_CLASS,
        validation_per_class=DRAWN_VALIDATION_PER_CLASS,
        seed=0,
    )
    make_once(folder, draw)
    return folder


def _find_root(folder: Path) -> Path:
    """Return the folder of train/ and validation/: this one, or the only one in it that has both.

    Raises:
        DataError: there is none, or there are several.

    """
    inner = _visible(folder)
    roots = [path for path in [folder, *inner] if all((path / name).is_dir() for name in FOLDERS)]
    if not roots:
        found = _enumerate([path.name for path in inner]) or "nothing"
        raise DataError(f"no folders train/ and validation/ are in it; found: {found}")
    if len(roots) > 1 and roots[0] != folder:
        found = _enumerate([path.name for path in roots])
        raise DataError(f"several folders in it hold train/ and validation/: {found}")
    return roots[0]


def _list_files(root: Path, folder: str) -> list[str]:
    """Return the files of both classes, cats first, each class in the order of its names.

    Raises:
        DataError: a class is missing, or there is one beside them.

    """
    found = [path.name for path in _visible(root / folder) if path.is_dir()]
    if found != sorted(CLASSES):
        named = _enumerate(sorted(found, key=CLASSES.__contains__)) or "none"  # strangers first
        raise DataError(f"{folder}/ must hold the folders cats and dogs alone; found: {named}")
    return [name for each in CLASSES for name in _walk(root, root / folder / each)]


def _walk(root: Path, folder: Path) -> list[str]:
    """Return the files in a folder and the folders below, relative to `root`."""
    names = []
    for path in _visible(folder):
        names += _walk(root, path) if path.is_dir() else [path.relative_to(root).as_posix()]
    return names


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, less what operating systems leave there unasked."""
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(paths, key=lambda path: path.name)


def _shuffled(names: Sequence[str]) -> list[str]:
    """Shuffle each class by itself; a hash orders them alike on every machine, for ever."""

    def key(name: str) -> tuple[int, bytes]:
        return _label(name), hashlib.sha256(os.fsencode(f"{HALVING_SEED} {name}")).digest()

    return sorted(names, key=key)


def _label(name: str) -> int:
    """Return the class of a file, an index into `CLASSES`, by the folder that it is in."""
    return CLASSES.index(name.split("/")[1])


def _select(decoded: images.Decoded, chosen: slice) -> Photographs:
    pixels = torch.from_numpy(decoded.images).permute(0, 3, 1, 2)  # (N, S, S, 3) to (N, 3, S, S)
    names = decoded.names[chosen]
    return Photographs(pixels[chosen], torch.tensor([_label(name) for name in names]), names)


def _check_counts(names: Sequence[str]) -> None:
    """Raise DataError unless every class is in every split."""
    for folder, needed in zip(FOLDERS, (1, 2), strict=True):  # validation/ is halved
        for each in CLASSES:
            count = sum(name.startswith(f"{folder}/{each}/") for name in names)
            if count < needed:
                raise DataError(
                    f"{folder}/{each} holds {count} readable photographs; at least {needed} needed"
                )


def _warn(skipped: Sequence[tuple[str, str]]) -> None:
    if skipped:
        named = _enumerate([f"{name!r} ({reason})" for name, reason in skipped])
        log.warning("%d unreadable photographs are left out: %s", len(skipped), named)


def _enumerate(words: Sequence[str]) -> str:
    """List the first few words, and count the others."""
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

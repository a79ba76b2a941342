"""Photographs of several classes in three splits, decoded once: the lesson's, or one's own."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from platformdirs import user_cache_path
from torch import Tensor

from datasets import cats_and_dogs, images
from datasets.archives import extract
from datasets.choices import Resize, Split
from datasets.classes import class_counts
from datasets.content_hashes import fingerprint, hash_files
from datasets.errors import DataError, disk_errors
from datasets.folders import listed, user_path
from datasets.image_folders import ImageFolder, in_halves, read_folder, split_of_content

CACHE_NAME = "tracked-deep-learning-experiments"
MIN_IMAGE_SIZE = 8

log = logging.getLogger(__name__)


class Photographs(NamedTuple):
    """One split: N photographs of S by S pixels."""

    images: Tensor
    """(N, 3, S, S) uint8, RGB, channels last in memory; a view of the memory-mapped cache."""
    labels: Tensor
    """(N,) int64, index into the names of the classes."""
    names: tuple[str, ...]
    """Path of each within the folder, such as train/cats/cat.0.jpg."""
    features: Tensor | None = None
    """(N, 2, F) float32, what a frozen backbone computes of each and of its mirror image."""

    def every(self, step: int) -> "Photographs":
        """Return every step-th photograph, from the first on."""
        return Photographs(*(None if part is None else part[::step] for part in self))  # type: ignore[arg-type]

    @property
    def inputs(self) -> Tensor:
        """What is trained on: the features, where there are any, else the images."""
        return self.images if self.features is None else self.features


class PhotographDataset(NamedTuple):
    """The splits and their source."""

    train: Photographs
    validation: Photographs
    test: Photographs
    classes: tuple[str, ...]
    """Names of the classes, sorted."""
    skipped: tuple[tuple[str, str], ...]
    """Files that were not used, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of the photographs; it does not depend on their size."""
    folder: Path
    """The folder that was read."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Photographs by split and class."""
        labels = {split: getattr(self, split).labels.numpy() for split in get_args(Split)}
        return class_counts(labels, self.classes)


def cache_folder(data_dir: str) -> Path:
    """Return the folder of what is downloaded and computed; the user's cache by default."""
    return user_path(data_dir) if data_dir else user_cache_path(CACHE_NAME)


def load(data: str, data_dir: str, image_size: int, resize: Resize) -> PhotographDataset:
    """Load photographs, resized to squares; downloaded and decoded files are cached.

    Args:
        data: download (cats and dogs), synthetic (a substitute), or the path of a zip or folder
            in one of the layouts of `datasets.image_folders`.
        data_dir: folder of the cache; empty for the user's cache folder.
        image_size: S, width and height of the squares in pixels, at least 8.
        resize: how they become squares (`datasets.pixels`).

    Raises:
        DataError: there are no such photographs, or too few that can be read.

    """
    if image_size < MIN_IMAGE_SIZE:
        raise DataError(f"{image_size} pixels are too few (allowed: {MIN_IMAGE_SIZE} or more)")
    cache = cache_folder(data_dir)
    with disk_errors(Path(data)):
        folder = read_folder(_fetch(data, cache))
        hashes = hash_files(folder.root, list(folder.labels), cache)
    files = _deal(folder, hashes)
    # A photograph that is not used is no data, but it has had its place in the dealing.
    places = dict.fromkeys([*files["validation"], *files["test"]], "unreadable")
    copies = _copies(files, hashes)
    files = {split: [n for n in names if n not in copies] for split, names in files.items()}
    dealt_labels = {split: [folder.labels[n] for n in names] for split, names in files.items()}
    _check_classes(folder.classes, dealt_labels)  # before they are decoded, which can take long
    dealt = list(itertools.chain(*files.values()))
    decoded = images.decode(folder.root, {n: hashes[n] for n in dealt}, image_size, cache, resize)
    unusable = {**folder.problems, **decoded.skipped}
    if unusable:
        some = listed([f"{name!r} ({reason})" for name, reason in unusable.items()])
        log.warning("files skipped (%d): %s", len(unusable), some)
    if copies:
        some = listed([f"{name!r} ({reason})" for name, reason in copies.items()])
        log.warning("copies of photographs left out (%d): %s", len(copies), some)

    pixels = torch.from_numpy(decoded.images).permute(0, 3, 1, 2)  # (N, S, S, 3) to (N, 3, S, S)
    splits, start = {}, 0
    for split, names_of_split in files.items():  # each remains a view of the memory map
        names = tuple(name for name in names_of_split if name not in unusable)
        labels = torch.tensor([folder.labels[name] for name in names], dtype=torch.int64)
        splits[split] = Photographs(pixels[start : start + len(names)], labels, names)
        start += len(names)
    used = {name: each for name, each in decoded.hashes.items() if name not in unusable}
    dataset = PhotographDataset(
        **splits,
        classes=folder.classes,
        skipped=(*unusable.items(), *copies.items()),
        fingerprint=fingerprint(places | used),
        folder=folder.root,
    )
    _check_classes(dataset.classes, {k: split.labels.tolist() for k, split in splits.items()})
    return dataset


def _fetch(data: str, cache: Path) -> Path:
    """Return the folder that `data` denotes; it is created in the cache if necessary."""
    if data == "synthetic":
        return cats_and_dogs.synthetic(cache)
    path = cats_and_dogs.download(cache) if data == "download" else user_path(data)
    if path.is_dir():
        return path
    if not path.is_file():
        allowed = "download, synthetic, or the path of a zip or folder"
        raise DataError(f"there is no such file or folder (allowed: {allowed})")
    of_content = hash_files(path.parent, [path.name], cache)[path.name]
    folder = cache / f"unpacked-{of_content}"
    extract(path, folder)
    return folder


def _deal(folder: ImageFolder, hashes: Mapping[str, str]) -> dict[Split, list[str]]:
    """Return the files of each split.

    Where there are folders for training and validation only, half of each class of the latter is
    for the test. Files are dealt before any is decoded, so that a damaged one moves no other.
    """
    files: dict[Split, list[str]] = {split: [] for split in get_args(Split)}
    given = set(folder.splits.values())
    for name in folder.labels:
        split = folder.splits.get(name)
        if split is None or (split == "train" and "validation" not in given):
            split = split_of_content(hashes[name], has_test="test" in given)
        files[split].append(name)
    if "validation" in given and "test" not in given:
        files["validation"], files["test"] = in_halves(files["validation"], folder.labels)
    return files


def _copies(files: Mapping[Split, Sequence[str]], hashes: Mapping[str, str]) -> dict[str, str]:
    """Return the photographs that an earlier split has, too, with the reason to leave them out."""
    seen: dict[str, str] = {}
    copies: dict[str, str] = {}
    for split in get_args(Split):  # train, validation, test
        copies |= {
            name: f"the same photograph as {seen[hashes[name]]!r}"
            for name in files[split]
            if hashes[name] in seen
        }
        seen = {hashes[name]: name for name in files[split]} | seen
    return copies


def _check_classes(classes: Sequence[str], labels: Mapping[Split, Sequence[int]]) -> None:
    """Raise DataError unless every split has photographs of every class."""
    for split, of_split in labels.items():
        for label in sorted(set(range(len(classes))) - set(of_split)):
            total = sum(list(others).count(label) for others in labels.values())
            raise DataError(
                f"usable photographs of the class {classes[label]}: {total}, and none of them in "
                f"the {split} split (every split needs one of each class: add photographs, or sort "
                "them into train/, validation/ and test/)"
            )

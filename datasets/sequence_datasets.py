"""Labelled sequences from elsewhere: handwritten digits, archives of series, a file of one's own.

digits            scikit-learn's 1,797 digits of 8 x 8 pixels, read row by row or pixel by pixel
japanese_vowels   640 recordings of 9 speakers, 12 channels, as distributed with aeon
archive           the sets of the UCR and UEA archives that aeon contains, with their own test split
a file            symbols, or series of one or more channels, in several formats
"""

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from datasets.choices import DigitsOrder, SequenceFormat, Split
from datasets.classes import class_counts, class_names, stratified_splits
from datasets.errors import DataError
from datasets.sequence_files import Series, read_sequences
from datasets.sequence_tasks import LabelledSequences

VALIDATION_FRACTION = 0.2
"""Fraction of the published training set that is used for validation."""
NEEDS_AEON = "needs the package aeon, which contains the series: pip install '.[vowels]'"


class SequenceDataset(NamedTuple):
    """Three splits, and the names of their classes and symbols."""

    train: LabelledSequences
    validation: LabelledSequences
    test: LabelledSequences
    classes: tuple[str, ...]
    symbols: tuple[str, ...]
    """What the integers of the inputs index; empty where inputs are channels."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Sequences that were left out, each with the reason."""
    channels: tuple[str, ...] = ()
    """Names of the channels, where a file has them."""
    name: str = ""
    """Of the file, or of the set of an archive."""
    fingerprints: Mapping[str, str] = MappingProxyType({})
    """Of the content of a file, by split: hashes of classes and steps."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Sequences by split and class."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        labels = {name: split.labels.numpy() for name, split in splits.items()}
        return class_counts(labels, self.classes)

    def refit(self) -> "SequenceDataset":
        """Return the data sets with all of training and validation in the training split.

        Their fingerprint is the same in whichever order the sequences are: every seed draws another
        validation split of a file, and trains on the same sequences after that.
        """
        rows = [
            (row[:length], label)
            for split in (self.train, self.validation)
            for row, length, label in zip(*split, strict=True)
        ]
        steps, labels = zip(*rows, strict=True)
        contents = sorted(
            f"{label} {len(row)}\n".encode() + row.numpy().tobytes() for row, label in rows
        )
        fingerprint = hashlib.sha256(b"".join(contents)).hexdigest()[:12]
        fingerprints = dict.fromkeys(("train", "validation"), fingerprint)
        return self._replace(train=_pad(steps, labels), fingerprints=fingerprints)

    @property
    def max_length(self) -> int:
        """Steps of the longest sequence of all splits."""
        return max(int(split.lengths.max()) for split in (self.train, self.validation, self.test))


def digits(order: DigitsOrder, *, shuffled: bool, seed: int) -> SequenceDataset:
    """Load the digits, pixels in [0, 1].

    Args:
        order: 8 steps of one row each, or 64 steps of one pixel each.
        shuffled: if not, the first half is for training and the second, by other writers, for the
            test, as in scikit-learn's own example; the last fifth of the first half is for
            validation. If shuffled, every writer's digits are in every split, which is easier.
        seed: of the shuffling.

    """
    bunch = load_digits()
    images, labels = torch.from_numpy(bunch.images / 16).float(), torch.from_numpy(bunch.target)
    inputs = images if order == "rows" else images.flatten(1).unsqueeze(-1)
    indices = np.arange(len(labels))
    if shuffled:
        indices = np.random.default_rng(seed).permutation(indices)
    half = len(indices) // 2
    num_validation = round(VALIDATION_FRACTION * half)
    parts = np.split(indices, [half - num_validation, half])

    def select(chosen: np.ndarray) -> LabelledSequences:
        lengths = torch.full((len(chosen),), inputs.shape[1])
        return LabelledSequences(inputs[chosen], lengths, labels[chosen])

    train, validation, test = map(select, parts)
    return SequenceDataset(train, validation, test, tuple("0123456789"), ())


def random_affine(digits: Tensor, pixels: float) -> Tensor:
    """Rotate, scale, shear and translate digits by random affine maps (torch's global generator).

    Args:
        digits: (B, 8, 8) rows or (B, 64, 1) pixels, float32; 0 is assumed outside.
        pixels: largest displacement, in pixels, of an edge by each of the six numbers of a map.

    """
    images = digits.reshape(-1, 1, 8, 8)
    half_a_side = 4
    change = (2 * torch.rand(len(images), 2, 3, device=digits.device) - 1) * pixels / half_a_side
    maps = torch.eye(2, 3, device=digits.device) + change
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).view_as(digits)


def japanese_vowels() -> SequenceDataset:
    """Load recordings of two vowels by nine speakers (Kudo, Toyama & Shimbo 1999).

    Of the 270 training recordings, the last fifth of each speaker's is used for validation; 370
    are for the test.

    Raises:
        DataError: aeon is not installed.

    """
    try:
        from aeon.datasets import load_japanese_vowels
    except ImportError:
        raise DataError(NEEDS_AEON) from None
    (inputs, labels), (test_inputs, test_labels) = (
        load_japanese_vowels(split=split) for split in ("train", "test")
    )
    classes = tuple(sorted(set(labels)))
    is_validation = np.zeros(len(labels), dtype=bool)
    for speaker in classes:
        indices = np.flatnonzero(labels == speaker)
        is_validation[indices[len(indices) - round(VALIDATION_FRACTION * len(indices)) :]] = True

    def convert(series: Sequence[np.ndarray], speakers: Sequence[str]) -> LabelledSequences:
        tensors = [torch.from_numpy(each.T).float() for each in series]  # (C, T) to (T, C)
        return _pad(tensors, [classes.index(speaker) for speaker in speakers])

    train, validation = (
        convert([inputs[i] for i in np.flatnonzero(part)], labels[part])
        for part in (~is_validation, is_validation)
    )
    return SequenceDataset(train, validation, convert(test_inputs, test_labels), classes, ())


def archive(name: str, seed: int) -> SequenceDataset:
    """Load a set of the UCR archive (one channel) or the UEA archive (several) from aeon's package.

    The published test split is the test split. Of the published training split, a fifth of each
    class, drawn at random, is for validation, and at least as many series as there are classes.

    Args:
        name: as the archives spell it, such as GunPoint; with _eq, where aeon contains it, all of
            its series have one length.
        seed: of the validation split.

    Raises:
        DataError: aeon is not installed, or does not contain the set.

    """
    installed = archive_sets()
    if name not in installed:
        raise DataError(_missing_set(name, installed))
    return from_file(str(installed[name]), "ts", seed)


def archive_sets() -> dict[str, Path]:
    """Return the file with the training split of each classification that aeon contains, by name.

    Raises:
        DataError: aeon is not installed.

    """
    if (aeon := find_spec("aeon")) is None or aeon.origin is None:
        raise DataError(NEEDS_AEON)
    files = (Path(aeon.origin).parent / "datasets" / "data").glob("*/*_TRAIN.ts")
    classifications = (
        file
        for file in files
        if file.with_name(file.name.replace("_TRAIN", "_TEST")).is_file() and _has_classes(file)
    )
    return {file.stem.removesuffix("_TRAIN"): file for file in sorted(classifications)}


def _has_classes(file: Path) -> bool:
    """Return whether the head of a .ts file promises classes: others have numbers as targets."""
    with file.open(encoding="utf-8") as lines:
        head = takewhile(lambda line: not line.lower().startswith("@data"), lines)
        return any(line.lower().startswith("@classlabel true") for line in head)


def _missing_set(name: str, installed: Iterable[str]) -> str:
    """Return why there is no set of a name, and which are near it."""
    from aeon.datasets.tsc_datasets import tsc_zenodo  # names of what can be downloaded

    there_are = f"aeon contains {', '.join(installed)}"
    if name in tsc_zenodo:
        where = "download it from timeseriesclassification.com, and give data=PATH"
        return f"not installed; {there_are}; {where}"
    by_small_letters = {each.lower(): each for each in (*tsc_zenodo, *installed)}
    near = difflib.get_close_matches(name.lower(), by_small_letters, n=3, cutoff=0.6)
    hint = " or ".join(by_small_letters[each] for each in near)
    return f"no such set; {f'did you mean {hint}? ' if near else ''}{there_are}"


def from_file(path: str, file_format: SequenceFormat, seed: int) -> SequenceDataset:
    """Read labelled sequences from a file of one's own (`datasets.sequence_files`).

    Its own splits are kept. Where it has none, 60 % of each class are for training, and 20 % each
    for validation and test; where it has none for validation, a fifth of those for training is.

    Args:
        path: of a file, of one of a pair NAME_TRAIN and NAME_TEST, or of a folder of these.
        file_format: auto, symbols, ts, tsv or long.
        seed: of the split, which is stratified by class.

    Raises:
        DataError: the file cannot be read, a line is invalid, or a class has too few sequences.

    """
    file = read_sequences(path, file_format)
    for each in file.series:
        if not each.label:
            raise DataError(f"{each.name}: no class")
    labels = [each.label for each in file.series]
    classes = class_names(labels)
    symbols = (
        () if file.channels else tuple(sorted({s for each in file.series for s in each.steps}))
    )
    index = {symbol: number for number, symbol in enumerate(symbols)}

    def encode(steps: Any) -> Tensor:
        if file.channels:
            return torch.from_numpy(steps)
        return torch.tensor([index[symbol] for symbol in steps])

    def select(chosen: Sequence[int]) -> LabelledSequences:
        encoded = [encode(file.series[i].steps) for i in chosen]
        return _pad(encoded, [classes.index(labels[i]) for i in chosen])

    splits = _splits([each.split for each in file.series], labels, seed)
    return SequenceDataset(
        **{split: select(chosen) for split, chosen in splits.items()},
        classes=classes,
        symbols=symbols,
        skipped=tuple(file.skipped),
        channels=file.channels,
        name=file.name,
        fingerprints={
            split: _fingerprint(file.series[i] for i in chosen) for split, chosen in splits.items()
        },
    )


def _splits(
    given: Sequence[Split | None], labels: Sequence[str], seed: int
) -> Mapping[str, Sequence[int]]:
    """Return the indices of each split, of which the file tells none, some or all."""
    known = {split for split in given if split}
    if not known:
        return {
            k: chosen.tolist() for k, chosen in stratified_splits(labels, seed, "sequences").items()
        }
    if {"train", "test"} - known:
        raise DataError(f"its splits are {', '.join(sorted(known))}; train and test are needed")
    splits = {
        split: [i for i, each in enumerate(given) if each == split]
        for split in ("train", "validation", "test")
    }
    train = splits["train"]
    of_train = Counter(labels[i] for i in train)
    if len(of_train) < 2:
        raise DataError(f"the train split has 1 class ({labels[train[0]]!r}); at least 2 needed")
    for split, chosen in splits.items():
        for label in {labels[i] for i in chosen} - set(of_train):
            raise DataError(f"class {label!r} is in the {split} split, but not in the train split")
    if not splits["validation"]:
        label, count = of_train.most_common()[-1]
        if count < 2 or len(train) < 5 * len(of_train):
            raise DataError(
                f"class {label!r} has {count} of {len(train)} training sequences, of which a fifth "
                f"is for validation; at least 2, and {5 * len(of_train)} in total, are needed"
            )
        stratify = [labels[i] for i in train]
        splits["train"], splits["validation"] = train_test_split(
            train, test_size=VALIDATION_FRACTION, stratify=stratify, random_state=seed
        )
    return splits


def _fingerprint(series: Iterable[Series]) -> str:
    """Return a hash of classes and steps, in which the order of the series counts."""
    digest = hashlib.sha256()
    for _, steps, label, _ in series:
        content = steps.tobytes() if isinstance(steps, np.ndarray) else "\0".join(steps).encode()
        digest.update(f"{label}\n{np.shape(steps)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _pad(sequences: Sequence[Tensor], labels: Sequence[int]) -> LabelledSequences:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    inputs = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return LabelledSequences(inputs, lengths, torch.tensor(labels))

"""Classes of labelled samples: their names and numbers, and splits in which each has its share."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from sklearn.model_selection import train_test_split

from datasets.csv_files import as_number
from datasets.errors import DataError

MIN_PER_CLASS = 5
"""Samples that a class needs, so that each split has at least one."""


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the classes: numbers by their size, 2 before 10, then words."""

    def place(label: str) -> tuple[float, str]:
        number = as_number(label)
        return (number if number is not None and math.isfinite(number) else math.inf, label)

    return tuple(sorted(set(labels), key=place))


def class_counts(
    labels: Mapping[str, np.ndarray], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Return the samples of each class by split, from labels (N,) int by split."""
    return {
        split: dict(
            zip(classes, np.bincount(of_split, minlength=len(classes)).tolist(), strict=True)
        )
        for split, of_split in labels.items()
    }


def stratified_splits(labels: Sequence[str], seed: int, unit: str) -> dict[str, np.ndarray]:
    """Return the indices of each split: 60 % of each class for training, 20 % for each other.

    Args:
        labels: of the samples.
        seed: of the split.
        unit: what a sample is called in messages, such as `rows`.

    Raises:
        DataError: there are fewer than two classes, or too few samples of one.

    """
    _check_classes(labels, unit)
    split = partial(train_test_split, random_state=seed)
    rest, test = split(np.arange(len(labels)), test_size=0.2, stratify=labels)
    train, validation = split(rest, test_size=0.25, stratify=[labels[i] for i in rest])
    return {"train": train, "validation": validation, "test": test}


def ordered_splits(labels: Sequence[str], unit: str) -> dict[str, np.ndarray]:
    """Return the indices of each split: the first 60 % for training, the last 20 % for the test.

    Args:
        labels: of the samples.
        unit: what a sample is called in messages, such as `rows`.

    Raises:
        DataError: there are fewer than two classes, or a split lacks one.

    """
    _check_classes(labels, unit)
    count = len(labels)
    parts = np.split(np.arange(count), [round(0.6 * count), round(0.8 * count)])
    splits = dict(zip(("train", "validation", "test"), parts, strict=True))
    for split, chosen in splits.items():
        for label in set(labels).difference(labels[i] for i in chosen):
            raise DataError(
                f"class {label!r}: none among the {unit} {chosen[0] + 1:,} to {chosen[-1] + 1:,}, "
                f"the {split} split in their order; each split needs every class"
            )
    return splits


def _check_classes(labels: Sequence[str], unit: str) -> None:
    counts = Counter(labels)
    if len(counts) < 2:
        found = f"no class but {next(iter(counts))!r}" if counts else "no class"
        raise DataError(f"{found} ({unit}: {len(labels)}); at least 2 classes needed")
    label, count = counts.most_common()[-1]
    if count < MIN_PER_CLASS:
        raise DataError(
            f"class {label!r} has too few {unit}: {count}; at least {MIN_PER_CLASS} needed"
        )

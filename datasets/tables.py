"""Tables of numbers with a label in each row: a CSV file, or a small real set of scikit-learn.

Features are standardised: of each column, the mean of the training rows is 0 and their standard
deviation is 1.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor

from datasets.choices import TableName
from datasets.classes import class_counts, class_names, ordered_splits, stratified_splits
from datasets.csv_files import as_number, filled_rows, is_missing
from datasets.errors import DataError
from datasets.points import Points
from datasets.text_files import read_text

LARGEST = 1e30
"""Of a number: differences of two are finite in single precision."""


class Table(NamedTuple):
    """Three splits of a table, and what its columns are."""

    train: Points
    validation: Points
    test: Points
    features: tuple[str, ...]
    """Names of the D features."""
    classes: tuple[str, ...]
    """Names of the classes, sorted."""
    mean: Tensor
    """(D,) float32, of the training rows."""
    std: Tensor
    """(D,) float32, of the training rows; 1 for a feature that is constant there."""
    counts: dict[str, dict[str, int]]
    """Rows by split and class."""
    skipped: tuple[tuple[str, str], ...]
    """Rows that were left out, each with the reason."""
    fingerprints: dict[str, str]
    """Of the content, by split."""


class Raw(NamedTuple):
    """A table as it is read."""

    features: tuple[str, ...]
    values: np.ndarray
    """(N, D) float64."""
    labels: list[str]
    skipped: list[tuple[str, str]]


def load_table(data: str, label_column: str, seed: int | None) -> Table:
    """Load a table and split it: 60 % for training, 20 % each for the others.

    Args:
        data: iris, wine, breast_cancer, digits, or the path of a CSV file.
        label_column: of a file, the name of the column with the labels, or its number from 1;
            empty for the last one.
        seed: of a split at random, stratified by class; None divides the rows in their order.

    Raises:
        DataError: the file cannot be read, or a row is invalid, or a class has too few rows.

    """
    raw = _built_in(data) if data in get_args(TableName) else _read_csv(data, label_column)
    splits = (
        ordered_splits(raw.labels, "rows")
        if seed is None
        else stratified_splits(raw.labels, seed, "rows")
    )
    classes = class_names(raw.labels)
    labels = np.array([classes.index(label) for label in raw.labels])
    targets = labels.astype(np.float32) if len(classes) == 2 else labels
    mean, std = _mean_and_std(raw.values[splits["train"]])
    # In single precision, as the logged model computes it: training sees the same numbers.
    values = (raw.values.astype(np.float32) - mean) / std
    rows = {
        split: Points(torch.from_numpy(values[chosen]), torch.from_numpy(targets[chosen]))
        for split, chosen in splits.items()
    }
    return Table(
        **rows,
        features=raw.features,
        classes=classes,
        mean=torch.from_numpy(mean),
        std=torch.from_numpy(std),
        counts=class_counts({split: labels[chosen] for split, chosen in splits.items()}, classes),
        skipped=tuple(raw.skipped),
        fingerprints={split: _fingerprint(raw, chosen) for split, chosen in splits.items()},
    )


def _mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of rows (N, D), (D,) float32 each."""
    # In double precision, the mean of equal float32 numbers is exact, and their deviation 0.
    values = values.astype(np.float32).astype(np.float64)
    mean, std = values.mean(0), values.std(0)
    is_constant = std < np.finfo(np.float32).tiny
    return mean.astype(np.float32), np.where(is_constant, 1, std).astype(np.float32)


def _built_in(name: str) -> Raw:
    load: Callable[..., Any] = getattr(sklearn.datasets, f"load_{name}")
    bunch = load()
    labels = [str(bunch.target_names[label]) for label in bunch.target]
    return Raw(tuple(map(str, bunch.feature_names)), np.asarray(bunch.data, float), labels, [])


OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def _read_csv(path: str, label_column: str) -> Raw:
    """Read a file of numbers, with or without a header; rows without a value are left out."""
    rows = filled_rows(read_text(path))
    first, width = rows[0][1], len(rows[0][1])
    if width < 2:
        other = next((each for each in OTHER_SEPARATORS if each in first[0]), "")
        hint = f"; {OTHER_SEPARATORS[other]} are between the fields instead" if other else ""
        raise DataError(
            f"line {rows[0][0]}: one column; features and a label, with commas between them, are "
            f"needed{hint}"
        )
    is_named = label_column in first and bool(label_column) and not label_column.isdecimal()
    has_header = is_named or all(as_number(field) is None for field in first)
    header = first if has_header else [f"x{number}" for number in range(1, width + 1)]
    if "" in header:
        unnamed = header.index("") + 1
        hint = " (an index? pandas leaves it out with index=False)" if unnamed == 1 else ""
        raise DataError(f"line {rows[0][0]}: column {unnamed} has no name{hint}")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise DataError(f"line {rows[0][0]}: two columns are called {twice[0]!r}")
    label = _label_index(header, label_column, has_header=has_header)
    body = rows[has_header:]
    if not body:
        raise DataError(f"line {rows[0][0]}: a header, and no rows after it")
    values, labels, skipped = [], [], []
    for number, fields in body:
        if len(fields) != width:
            found = f"the number of fields is {len(fields)}"
            raise DataError(f"line {number}: {found}; in the first line it is {width}")
        missing = [name for name, f in zip(header, fields, strict=True) if is_missing(f)]
        if fields[label].lower() == "none":  # it may be the name of a class
            missing.remove(header[label])
        if missing:
            skipped.append((f"line {number}", f"no value in column {missing[0]!r}"))
            continue
        labels.append(fields.pop(label))
        names = header[:label] + header[label + 1 :]
        values.append([_number(f, name, number) for f, name in zip(fields, names, strict=True)])
    if not values:
        raise DataError(f"every row lacks a value ({skipped[0][0]}: {skipped[0][1]})")
    features = tuple(header[:label] + header[label + 1 :])
    return Raw(features, np.array(values), labels, skipped)


def _label_index(header: Sequence[str], label_column: str, *, has_header: bool) -> int:
    if not label_column:
        return len(header) - 1
    if label_column in header and has_header:
        return header.index(label_column)
    if label_column.isdecimal() and 1 <= int(label_column) <= len(header):
        return int(label_column) - 1
    known = ", ".join(header) if has_header else f"1 to {len(header)}, as the file has no header"
    raise DataError(f"no column {label_column!r} for the labels (label_column; there are: {known})")


def _number(field: str, name: str, line: int) -> float:
    value = as_number(field)
    if value is None:
        hint = "label_column names the column of the labels, by default the last"
        raise DataError(
            f"line {line}: column {name!r} has {field!r}; features are numbers, and {hint}"
        )
    if not abs(value) <= LARGEST:
        needed = f"features are finite numbers, up to {LARGEST:g}"
        raise DataError(f"line {line}: column {name!r} has {field}; {needed}")
    return value


def _fingerprint(raw: Raw, chosen: np.ndarray) -> str:
    content = hashlib.sha256(raw.values[chosen].tobytes())
    content.update(repr((raw.features, [raw.labels[i] for i in chosen])).encode())
    return content.hexdigest()[:20]

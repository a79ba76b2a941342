"""Labelled sequences that somebody has collected: handwritten digits, spoken vowels, a file.

digits            scikit-learn's 1,797 digits of 8 x 8 pixels, read row by row or pixel by pixel
japanese_vowels   640 recordings of 9 speakers, 12 channels, as aeon brings them along
a file            one sequence per line, such as `XY,BacXbdcYaE`: its class, and its symbols
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from datasets.errors import DataError, disk_errors
from datasets.sequences import LabelledSequences

DigitsOrder = Literal["rows", "pixels"]
VALIDATION_PART = 0.2
"""Of what is there to learn from."""
LEAST_PER_CLASS = 5
"""Sequences of a class in a file: so many that training, validation and test have one each."""


class Labelled(NamedTuple):
    """Three splits, and what their labels and symbols stand for."""

    train: LabelledSequences
    validation: LabelledSequences
    test: LabelledSequences
    classes: tuple[str, ...]
    symbols: str
    """Characters whose places are the integers of the inputs; empty where inputs are channels."""


def digits(order: DigitsOrder, *, shuffled: bool, seed: int) -> Labelled:
    """Load the digits, pixels in [0, 1].

    Args:
        order: 8 steps of a row each, or 64 steps of a pixel each.
        shuffled: by default the first half is learnt from and the second, written by others, is
            the test, as in scikit-learn's own example; the last fifth of the first half is for
            validation. Shuffled, everybody's digits are in every split, which is easier.
        seed: of the shuffling.

    """
    bunch = load_digits()
    images, labels = torch.from_numpy(bunch.images / 16).float(), torch.from_numpy(bunch.target)
    inputs = images if order == "rows" else images.flatten(1).unsqueeze(-1)
    places = np.arange(len(labels))
    if shuffled:
        places = np.random.default_rng(seed).permutation(places)
    half = len(places) // 2
    held_out = round(VALIDATION_PART * half)
    parts = np.split(places, [half - held_out, half])

    def take(chosen: np.ndarray) -> LabelledSequences:
        lengths = torch.full((len(chosen),), inputs.shape[1])
        return LabelledSequences(inputs[chosen], lengths, labels[chosen])

    train, validation, test = map(take, parts)
    return Labelled(train, validation, test, tuple("0123456789"), "")


def distort(digits: Tensor, pixels: float) -> Tensor:
    """Turn, stretch, slant and move each digit a little, as other hands might have written it.

    Random numbers come from torch's global generators.

    Args:
        digits: (B, 8, 8) rows or (B, 64, 1) pixels, float32; outside them all is 0.
        pixels: how far each of the six numbers of an affine map may move an edge, either way.

    Returns:
        The same shape.

    """
    images = digits.reshape(-1, 1, 8, 8)
    half_a_side = 4
    change = (2 * torch.rand(len(images), 2, 3, device=digits.device) - 1) * pixels / half_a_side
    maps = torch.eye(2, 3, device=digits.device) + change
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).view_as(digits)


def japanese_vowels() -> Labelled:
    """Load recordings of two vowels by nine speakers: 270 to learn from, 370 for the test.

    The last fifth of each speaker's recordings to learn from is for validation (Kudo, Toyama &
    Shimbo 1999).

    Raises:
        DataError: aeon is not installed.

    """
    try:
        from aeon.datasets import load_japanese_vowels
    except ImportError:
        raise DataError(
            "needs aeon, which brings the recordings along: pip install '.[vowels]'"
        ) from None
    (inputs, labels), (test_inputs, test_labels) = (
        load_japanese_vowels(split=split) for split in ("train", "test")
    )
    classes = tuple(sorted(set(labels)))
    held_out = np.zeros(len(labels), dtype=bool)
    for speaker in classes:
        places = np.flatnonzero(labels == speaker)
        held_out[places[len(places) - round(VALIDATION_PART * len(places)) :]] = True

    def pack(series: Sequence[np.ndarray], of: Sequence[str]) -> LabelledSequences:
        tensors = [torch.from_numpy(each.T).float() for each in series]  # (C, T) to (T, C)
        return _pad(tensors, [classes.index(label) for label in of])

    def take(chosen: np.ndarray) -> LabelledSequences:
        return pack([inputs[i] for i in np.flatnonzero(chosen)], list(labels[chosen]))

    test = pack(test_inputs, list(test_labels))
    return Labelled(take(~held_out), take(held_out), test, classes, "")


def from_csv(path: str, seed: int) -> Labelled:
    """Read labelled sequences from a file, and deal three fifths, one and one out to the splits.

    Args:
        path: each line is a class, a comma, and the symbols, one character each.
        seed: of the dealing; each class is dealt out by itself.

    Raises:
        DataError: the file cannot be read, or a line of it, or there are too few.

    """
    file = Path(path).expanduser()
    rows = []
    with disk_errors(file), file.open(newline="", encoding="utf-8") as lines:
        try:
            for number, row in enumerate(csv.reader(lines), start=1):
                rows.append(_check_row(row, number))
        except UnicodeDecodeError as error:
            raise DataError(f"is no text in UTF-8: {error.reason}") from None
    counts = Counter(label for label, _ in rows)
    if len(counts) < 2:
        raise DataError(f"{len(counts)} classes in {len(rows)} lines; at least 2 needed")
    label, count = counts.most_common()[-1]
    if count < LEAST_PER_CLASS:
        raise DataError(f"class {label!r} has {count} lines; at least {LEAST_PER_CLASS} needed")
    classes = tuple(sorted(counts))
    symbols = "".join(sorted({symbol for _, sequence in rows for symbol in sequence}))
    labels = [classes.index(label) for label, _ in rows]
    encoded = [torch.tensor([symbols.index(symbol) for symbol in s]) for _, s in rows]

    places = np.arange(len(rows))
    learnt, test = train_test_split(places, test_size=0.2, stratify=labels, random_state=seed)
    of_learnt = [labels[i] for i in learnt]
    train, validation = train_test_split(
        learnt, test_size=0.25, stratify=of_learnt, random_state=seed
    )

    def take(chosen: np.ndarray) -> LabelledSequences:
        return _pad([encoded[i] for i in chosen], [labels[i] for i in chosen])

    return Labelled(take(train), take(validation), take(test), classes, symbols)


def _check_row(row: Sequence[str], number: int) -> tuple[str, str]:
    """Return the class and the symbols of a line.

    Raises:
        DataError: it is none of such lines.

    """
    if len(row) != 2:
        raise DataError(f"line {number}: {len(row)} fields; a class and its symbols are needed")
    label, symbols = row[0].strip(), row[1].strip()
    if not label or not symbols:
        missing = "class" if not label else "symbols"
        raise DataError(f"line {number}: no {missing}; a class and its symbols are needed")
    return label, symbols


def _pad(sequences: Sequence[Tensor], labels: Sequence[int]) -> LabelledSequences:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    inputs = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return LabelledSequences(inputs, lengths, torch.tensor(labels))

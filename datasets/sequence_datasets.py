"""Labelled sequences from elsewhere: handwritten digits, spoken vowels, a file of one's own.

digits            scikit-learn's 1,797 digits of 8 x 8 pixels, read row by row or pixel by pixel
japanese_vowels   640 recordings of 9 speakers, 12 channels, as distributed with aeon
a file            one sequence per line, such as `XY,BacXbdcYaE`: its class and its symbols
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from datasets.choices import DigitsOrder
from datasets.csv_files import csv_rows
from datasets.errors import DataError
from datasets.sequence_tasks import LabelledSequences
from datasets.stratified import stratified_splits
from datasets.text_files import read_text

VALIDATION_FRACTION = 0.2
"""Fraction of the published training set that is used for validation."""


class SequenceDataset(NamedTuple):
    """Three splits, and the names of their classes and symbols."""

    train: LabelledSequences
    validation: LabelledSequences
    test: LabelledSequences
    classes: tuple[str, ...]
    symbols: str
    """The characters that the integers of the inputs index; empty where inputs are channels."""

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
    return SequenceDataset(train, validation, test, tuple("0123456789"), "")


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
        needed = "the package aeon, which contains the recordings: pip install '.[vowels]'"
        raise DataError(f"needs {needed}") from None
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
    return SequenceDataset(train, validation, convert(test_inputs, test_labels), classes, "")


def from_csv(path: str, seed: int) -> SequenceDataset:
    """Read labelled sequences from a file: 60 % for training, 20 % each for validation and test.

    Args:
        path: each line is a class, a comma, and the symbols, one character each.
        seed: of the split, which is stratified by class.

    Raises:
        DataError: the file cannot be read, a line is invalid, or a class has too few lines.

    """
    rows, needed = [], "class and symbols are needed"
    for number, fields in csv_rows(read_text(path)):
        if len(fields) != 2:
            raise DataError(f"line {number}: {len(fields)} fields; {needed}")
        label, sequence = (field.strip() for field in fields)
        if not label or not sequence:
            missing = "class" if not label else "symbols"
            raise DataError(f"line {number}: no {missing}; {needed}")
        rows.append((label, sequence))
    splits = stratified_splits([label for label, _ in rows], seed, "lines")
    classes = tuple(sorted({label for label, _ in rows}))
    symbols = "".join(sorted({symbol for _, sequence in rows for symbol in sequence}))
    labels = [classes.index(label) for label, _ in rows]
    encoded = [torch.tensor([symbols.index(symbol) for symbol in s]) for _, s in rows]

    def select(chosen: np.ndarray) -> LabelledSequences:
        return _pad([encoded[i] for i in chosen], [labels[i] for i in chosen])

    train, validation, test = (select(chosen) for chosen in splits.values())
    return SequenceDataset(train, validation, test, classes, symbols)


def _pad(sequences: Sequence[Tensor], labels: Sequence[int]) -> LabelledSequences:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    inputs = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    return LabelledSequences(inputs, lengths, torch.tensor(labels))

"""Sequence data sets: what each split contains, and which files are accepted."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datasets import sequence_datasets
from datasets.errors import DataError


def test_the_first_half_of_the_digits_is_for_training_and_the_second_for_the_test() -> None:
    data = sequence_datasets.digits("rows", shuffled=False, seed=0)
    bunch = load_digits()
    rest = torch.cat([data.train.labels, data.validation.labels])
    assert rest.tolist() == bunch.target[:898].tolist()
    assert data.test.labels.tolist() == bunch.target[898:].tolist()
    assert len(data.validation.labels) == 180
    np.testing.assert_allclose(data.test.inputs.numpy(), bunch.images[898:] / 16)


def test_pixels_are_read_row_after_row() -> None:
    rows, pixels = (
        sequence_datasets.digits(order, shuffled=True, seed=3) for order in ("rows", "pixels")
    )
    assert rows.train.inputs.shape[1:] == (8, 8)
    assert pixels.train.inputs.shape[1:] == (64, 1)
    assert torch.equal(rows.train.inputs.flatten(1), pixels.train.inputs.squeeze(-1))
    assert (pixels.train.lengths == 64).all()
    assert (rows.max_length, pixels.max_length) == (8, 64)
    other = sequence_datasets.digits("rows", shuffled=True, seed=4)
    assert not torch.equal(rows.test.labels, other.test.labels)


def test_each_digit_has_a_random_affine_map_of_its_own() -> None:
    """Every output pixel computed by itself, by bilinear interpolation at its source."""
    digits = sequence_datasets.digits("rows", shuffled=False, seed=0).train.inputs[:4]
    torch.manual_seed(5)
    transformed = sequence_datasets.random_affine(digits, 1.2)
    torch.manual_seed(5)
    change = ((2 * torch.rand(4, 2, 3) - 1) * 1.2).numpy()  # displacement of edges in pixels
    for image, result, moved in zip(digits.numpy(), transformed.numpy(), change, strict=True):
        for row, column in product(range(8), range(8)):
            x, y = (column - 3.5) / 4, (row - 3.5) / 4  # -1 to 1 from edge to edge
            source = [column + moved[0] @ (x, y, 1), row + moved[1] @ (x, y, 1)]
            expected = bilinear(image, *source)
            assert result[row, column] == pytest.approx(expected, abs=1e-4)
    torch.manual_seed(5)
    pixels = sequence_datasets.random_affine(digits.reshape(4, 64, 1), 1.2)
    assert torch.equal(pixels.flatten(), transformed.flatten())
    torch.testing.assert_close(sequence_datasets.random_affine(digits, 0.0), digits)


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """Interpolate linearly between pixels; 0 outside."""
    total = 0.0
    for row, column in product(range(8), range(8)):
        total += image[row, column] * max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
    return total


def write(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "sequences.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_splits_of_a_file_are_stratified_by_class(tmp_path: Path) -> None:
    lines = [f"{label},{label * (2 + i % 3)}-{i}" for label in ("yes", "no") for i in range(20)]
    data = sequence_datasets.from_file(write(tmp_path, *lines), "auto", seed=0)
    assert data.classes == ("no", "yes")
    for split, count in ((data.train, 12), (data.validation, 4), (data.test, 4)):
        assert torch.bincount(split.labels).tolist() == [count, count]
    found = set()
    for split in data[:3]:
        for row, length, label in zip(*split, strict=True):
            text = "".join(data.symbols[symbol] for symbol in row[: int(length)])
            found.add(f"{data.classes[label]},{text}")
    assert found == set(lines)
    assert data.max_length == max(len(line.split(",")[1]) for line in lines)


@pytest.mark.parametrize(
    ("lines", "symbols"),
    [
        (["\ufeffA,ab", "B,ba"] * 5, "ab"),  # several files, one behind the other
        (["A,ab", "B,ba"] * 5 + ["", "  ", ""], "ab"),
        (["A,ab", "B,ba"] * 5 + ["A," + "c" * 140_000], "abc"),
    ],
    ids=["byte-order marks", "blank lines at the end", "a long line"],
)
def test_an_odd_file_is_read(lines: list[str], symbols: str, tmp_path: Path) -> None:
    data = sequence_datasets.from_file(write(tmp_path, *lines), "auto", seed=0)
    assert data.classes == ("A", "B")
    assert data.symbols == tuple(symbols)
    assert sum(len(split.labels) for split in data[:3]) == sum("," in line for line in lines)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,xy", "", "b,xy"], "line 2: the number of fields is 0"),
        (["a,xy", 'b,"x"y', "b,xy"], "line 2: ',' expected after"),
        (["a,xy", "b"], "line 2: the number of fields is 1"),
        (["a,xy", "b,x,y"], "line 2: the number of fields is 3"),
        (["a,xy", ",xy"], "line 2: no class"),
        (["a,xy", "b, "], "line 2: no symbols"),
        (["a,xy"] * 10, r"no class but 'a' \(sequences: 10\)"),
        (["a,xy"] * 10 + ["b,x"] * 4, "class 'b' has too few sequences: 4"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        sequence_datasets.from_file(write(tmp_path, *lines), "auto", seed=0)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        sequence_datasets.from_file(str(tmp_path / "none.csv"), "auto", seed=0)
    path = tmp_path / "bytes.csv"
    path.write_bytes(b"a,x\xff")
    with pytest.raises(DataError, match="not a text file in UTF-8"):
        sequence_datasets.from_file(str(path), "auto", seed=0)


def test_without_aeon_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aeon.datasets", None)
    with pytest.raises(DataError, match=r"pip install '\.\[vowels\]'"):
        sequence_datasets.japanese_vowels()


def test_every_speaker_is_in_every_split() -> None:
    pytest.importorskip("aeon")
    data = sequence_datasets.japanese_vowels()
    assert len(data.classes) == 9
    assert torch.bincount(data.train.labels).tolist() == [24] * 9
    assert torch.bincount(data.validation.labels).tolist() == [6] * 9
    assert len(data.test.labels) == 370
    assert data.train.inputs.shape[-1] == 12
    lengths = torch.cat([split.lengths for split in data[:3]])
    assert (int(lengths.min()), int(lengths.max())) == (7, 29)
    assert data.max_length == 29
    for inputs, length, _ in zip(*data.test, strict=True):
        assert (inputs[int(length) :] == 0).all()
        assert (inputs[: int(length)] != 0).any(1).all()


def published(name: str, split: str) -> tuple[list[list[float]], list[str]]:
    """Return the series of one channel and the labels of a file of aeon."""
    lines = sequence_datasets.archive_sets()[name].with_name(f"{name}_{split}.ts").read_text()
    rows = [line.split(":") for line in lines.split("@data\n")[1].splitlines()]
    return [[float(field) for field in values.split(",")] for values, _ in rows], [
        label for _, label in rows
    ]


@pytest.mark.parametrize("name", ["GunPoint", "PickupGestureWiimoteZ"])
def test_a_set_of_the_archives_has_their_test_split(name: str) -> None:
    """And of their training split each class has a fifth in validation; lengths may differ."""
    pytest.importorskip("aeon.datasets")
    data, other = (sequence_datasets.archive(name, seed) for seed in (0, 1))
    assert data.name == name
    series, labels = published(name, "TEST")
    assert [data.classes[label] for label in data.test.labels] == labels
    for row, length, expected in zip(data.test.inputs, data.test.lengths, series, strict=True):
        np.testing.assert_allclose(row[: int(length), 0].numpy(), expected, rtol=1e-6)
    assert all(torch.equal(*each) for each in zip(data.test, other.test, strict=True))
    series, labels = published(name, "TRAIN")
    learned = [
        (data.classes[label], int(length), float(row[0, 0]))
        for split in (data.train, data.validation)
        for row, length, label in zip(*split, strict=True)
    ]
    expected_rows = [(label, len(x), x[0]) for x, label in zip(series, labels, strict=True)]
    for (*row, first), (*expected_row, value) in zip(
        sorted(learned), sorted(expected_rows), strict=True
    ):
        assert row == expected_row
        assert first == pytest.approx(value, rel=1e-6)
    counts, of_validation = (
        np.unique([data.classes[label] for label in each], return_counts=True)[1]
        for each in (torch.cat([data.train.labels, data.validation.labels]), data.validation.labels)
    )
    assert np.abs(of_validation - counts / 5).max() <= 1
    assert of_validation.min() >= 1
    assert not torch.equal(data.validation.inputs, other.validation.inputs)
    assert data.fingerprints["train"] != other.fingerprints["train"]
    assert data.refit().fingerprints == other.refit().fingerprints  # the same series to learn from
    changed = other.refit().train.inputs.clone()
    changed[0, 0] += 1
    with_another = other._replace(train=other.train._replace(inputs=changed[: len(other.train[0])]))
    assert with_another.refit().fingerprints != data.refit().fingerprints


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gunpiont", "no such set; did you mean GunPoint.* aeon contains ACSF1, ArrowHead, "),
        ("xyz", "no such set; aeon contains ACSF1"),
        ("Coffee", "not installed; aeon contains .*timeseriesclassification.com, and give data="),
        ("Covid3Month", "no such set; did you mean Covid3Month_disc"),  # has numbers as targets
        ("../GunPoint/GunPoint", "no such set"),
    ],
)
def test_a_set_that_aeon_does_not_contain_is_refused(name: str, message: str) -> None:
    pytest.importorskip("aeon.datasets")
    with pytest.raises(DataError, match=message) as error:
        sequence_datasets.archive(name, 0)
    assert "\n" not in str(error.value)


def test_without_aeon_an_archive_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_datasets, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install '\.\[vowels\]'"):
        sequence_datasets.archive("GunPoint", 0)

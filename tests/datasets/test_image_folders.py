"""Layouts of folders of photographs: which class and which split a file gets."""

import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import images, photographs
from datasets.errors import DataError
from datasets.photographs import PhotographDataset

CLASSES = ("여우", "red panda", "zebra")
load = partial(photographs.load, resize="squish")


def write(path: Path, seed: int) -> None:
    """Write a photograph that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_classes(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    for each, count in counts.items():
        for number in range(count):
            seed += 1
            write(folder / each / f"{number}.png", seed)
    return folder


def splits_of(dataset: PhotographDataset) -> dict[str, str]:
    return {
        name: split
        for split in ("train", "validation", "test")
        for name in getattr(dataset, split).names
    }


def test_class_folders_are_split_by_content(tmp_path: Path) -> None:
    counts = dict(zip(CLASSES, (60, 40, 200), strict=True))
    folder = write_classes(tmp_path / "animals", counts)
    dataset = load(str(folder), str(tmp_path / "cache"), 8)
    assert dataset.classes == tuple(sorted(CLASSES))
    shares = {split: sum(by_class.values()) / 300 for split, by_class in dataset.counts.items()}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.06)
    assert {name: sum(by[name] for by in dataset.counts.values()) for name in CLASSES} == counts
    before = splits_of(dataset)
    for name in list(before)[::7]:
        (folder / name).unlink()
    (folder / "zebra" / "1.png").rename(folder / "zebra" / "renamed.png")
    write(folder / "zebra" / "new.png", 1000)
    after = splits_of(load(str(folder), str(tmp_path / "cache"), 8))
    assert after.pop("zebra/renamed.png") == before.pop("zebra/1.png")
    del after["zebra/new.png"]
    assert after == {name: before[name] for name in after}


def test_files_named_by_class_are_split_by_content_too(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "classes", dict.fromkeys(("cat", "dog"), 40))
    named = tmp_path / "kaggle" / "train"
    for path in folder.rglob("*.png"):
        target = named / f"{path.parent.name}.{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (named / "readme.txt").write_text("no photograph")
    as_folders = load(str(folder), str(tmp_path / "cache"), 8)
    as_names = load(str(tmp_path / "kaggle"), str(tmp_path / "cache"), 8)
    assert as_names.classes == as_folders.classes
    assert as_names.counts == as_folders.counts
    assert {name.replace(".", "/", 1): split for name, split in splits_of(as_names).items()} == (
        splits_of(as_folders)
    )


def test_beside_a_folder_of_files_named_by_class_nothing_has_labels(tmp_path: Path) -> None:
    """As the archives of Kaggle's competitions have it; and as Windows numbers files."""
    for number in range(40):
        write(tmp_path / "train" / f"cat.{number}.jpg", number)
        write(tmp_path / "train" / f"여우 ({number}).jpg", 100 + number)
        write(tmp_path / "test1" / f"{number}.jpg", 200 + number)
    write(tmp_path / "train" / "0001.jpg", 300)
    dataset = load(str(tmp_path), str(tmp_path.parent / "cache of kaggle"), 8)
    assert dataset.classes == ("cat", "여우")
    assert sum(by_class["cat"] for by_class in dataset.counts.values()) == 40
    assert dict(dataset.skipped) == {
        "0001.jpg": "its path names no class",
        "test1": "a folder beside train/, where files are named by class",
    }


@pytest.mark.parametrize("parent", ["", "train"])
def test_a_photograph_beside_class_folders_is_skipped_and_listed(
    tmp_path: Path, parent: str
) -> None:
    folder = tmp_path / "photographs"
    write_classes(folder / parent, dict.fromkeys(CLASSES, 40))
    if parent:
        write_classes(folder / "validation", dict.fromkeys(CLASSES, 2), seed=900)
    write(folder / parent / "a.png", 1000)
    (folder / parent / "readme.txt").write_text("no photograph")
    dataset = load(str(folder), str(tmp_path / "cache"), 8)
    assert dataset.skipped == ((str(Path(parent, "a.png")), "its path names no class"),)


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
@pytest.mark.parametrize("has_test", [True, False])
def test_folders_of_splits(tmp_path: Path, name: str, has_test: bool) -> None:
    root = tmp_path / "one folder around"
    for number, split in enumerate(("train", name, *(["test"] if has_test else []))):
        write_classes(root / split, dict.fromkeys(CLASSES, 6), seed=100 * number)
    dataset = load(str(tmp_path), str(tmp_path.parent / f"cache {name} {has_test}"), 8)
    by_split = {split: sum(by_class.values()) for split, by_class in dataset.counts.items()}
    others = (18, 18) if has_test else (9, 9)
    assert by_split == dict(zip(("train", "validation", "test"), (18, *others), strict=True))
    for photograph, split in splits_of(dataset).items():
        folder = photograph.split("/")[0]
        assert folder == ("train" if split == "train" else "test" if has_test else name) or (
            split == "validation" and folder == name
        )


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("training", "testing"), ("training_set", "test_set"), ("TRAIN", "Val")],
)
def test_other_names_of_splits_are_no_classes(tmp_path: Path, train: str, test: str) -> None:
    for number, name in enumerate((train, test)):
        write_classes(tmp_path / "a" / name, dict.fromkeys(CLASSES, 20), seed=1000 * number)
    dataset = load(str(tmp_path / "a"), str(tmp_path / "cache"), 8)
    assert dataset.classes == tuple(sorted(CLASSES))
    assert all(name.startswith(f"{train}/") for name in dataset.train.names)
    assert all(name.startswith(f"{test}/") for name in dataset.test.names)


def test_without_validation_it_is_taken_from_training(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        write_classes(tmp_path / "a" / split, dict.fromkeys(CLASSES, 40), seed=1000 * number)
    dataset = load(str(tmp_path / "a"), str(tmp_path / "cache"), 8)
    assert sum(dataset.counts["test"].values()) == 120
    assert 15 <= sum(dataset.counts["validation"].values()) <= 60
    assert all(name.startswith("test/") for name in dataset.test.names)


def test_no_photograph_is_in_two_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, split in enumerate(("train", "val", "test")):
        write_classes(tmp_path / "a" / split, dict.fromkeys(CLASSES, 3), seed=100 * number)
    expected = {}
    for source, target in (("train", "test"), ("train", "val"), ("val", "test")):
        copy = f"{target}/zebra/of {source}.png"
        content = (tmp_path / "a" / source / "zebra" / "0.png").read_bytes()
        (tmp_path / "a" / copy).write_bytes(content)
        expected[copy] = f"the same photograph as '{source}/zebra/0.png'"
    with caplog.at_level(logging.WARNING):
        dataset = load(str(tmp_path / "a"), str(tmp_path / "cache"), 8)
    assert dict(dataset.skipped) == expected
    by_split = {split: sum(by_class.values()) for split, by_class in dataset.counts.items()}
    assert by_split == {"train": 9, "validation": 9, "test": 9}
    assert all(reason in caplog.text for reason in expected.values())


def write_all(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write(folder / name, seed)


def only_text(folder: Path) -> None:
    (folder / "notes.txt").write_text("cats")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, "found: nothing"),
    "text": (only_text, "nor files named by class such as cat.0.jpg; found: notes.txt"),
    "one class": (
        lambda folder: write_classes(folder / "data", {"cats": 3}),
        "^has one class only, cats; at least 2 are needed$",
    ),
    "one class of numbered files": (
        lambda folder: write_all(folder / "cats", "10.png", "20.png"),
        "^has one class only, cats; at least 2 are needed$",
    ),
    "numbers alone": (
        lambda folder: write_all(folder, "10.png", "20.png"),
        "nor files named by class such as cat.0.jpg; found: 10.png, 20.png",
    ),
    "one name": (lambda folder: write(folder / "cat.1.jpg", 0), "one class only, cat; at least 2"),
    "a class without photographs": (
        lambda folder: (write_classes(folder, {"cats": 30, "dogs": 30}) / "owls").mkdir(),
        "^usable photographs of the class owls: 0, and none of them in the train split ",
    ),
    "a class with fewer photographs than splits": (
        lambda folder: write_classes(folder, {"cats": 30, "dogs": 2}),
        "^usable photographs of the class dogs: 2, and none of them in the ",
    ),
    "other classes": (
        lambda folder: [
            write_classes(folder / "train", dict.fromkeys("ab", 2)),
            write_classes(folder / "val", dict.fromkeys("ac", 2), seed=9),
        ],
        r"^val/ must have the same class folders as train/: a, b; found: a, c$",
    ),
    "two for validation": (
        lambda folder: [
            write_classes(folder / split, dict.fromkeys("ab", 2))
            for split in ("train", "val", "valid")
        ],
        r"^both val/ and valid/ are for validation$",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_a_folder_without_a_layout_is_refused(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = BAD[how]
    folder = tmp_path / "photographs"
    folder.mkdir()
    make(folder)
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("decoded before it was refused"))
    with pytest.raises(DataError, match=reason) as caught:
        load(str(folder), str(tmp_path / "cache"), 8)
    assert "\n" not in str(caught.value)
    assert not re.search(r"cats_and_dogs|Traceback", str(caught.value))

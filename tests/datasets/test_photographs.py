"""Photographs from every kind of source, intact or damaged; the tests make their own."""

import hashlib
import logging
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import cats_and_dogs, images, photographs, synthetic_photographs
from datasets.errors import DataError
from datasets.image_folders import in_halves, read_folder
from datasets.photographs import PhotographDataset

CLASSES = ("cats", "dogs")
load = partial(photographs.load, resize="squish")


def write_photograph(path: Path, number: int) -> None:
    """Write a photograph of one colour, from which its file can be told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number, 0 if "cats" in path.parts else 200, 30 if "train" in path.parts else 60)
    Image.new("RGB", (12, 9), colour).save(path, "PNG")


def write_folder(folder: Path, train: int = 3, validation: int = 7) -> Path:
    for split, count in (("train", train), ("validation", validation)):
        for each in CLASSES:
            for number in range(count):
                write_photograph(folder / split / each / f"{each[:-1]}.{number}.jpg", number)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photographs")


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def zip_of(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, prefix + str(file.relative_to(folder)))
    return path


def all_names(loaded: PhotographDataset) -> list[str]:
    return [*loaded.train.names, *loaded.validation.names, *loaded.test.names]


def test_each_photograph_has_its_label_and_its_pixels(folder: Path, cache: str) -> None:
    loaded = load(str(folder), cache, 8)
    for split in (loaded.train, loaded.validation, loaded.test):
        count = len(split.names)
        assert split.images.shape == (count, 3, 8, 8)
        assert split.images.dtype == torch.uint8
        assert split.labels.shape == (count,)
        assert split.labels.dtype == torch.int64
        for image, label, name in zip(split.images, split.labels, split.names, strict=True):
            number = int(re.findall(r"\d+", name)[0])
            assert f"/{CLASSES[label]}/" in name
            blue = 30 if name.startswith("train/") else 60
            assert image[:, 0, 0].tolist() == [number, 200 * int(label), blue]
            assert (image == image[:, :1, :1]).all()
    assert loaded.folder == folder
    assert loaded.skipped == ()
    assert loaded.train.names == tuple(
        f"train/{each}/{each[:-1]}.{number}.jpg" for each in CLASSES for number in range(3)
    )


def test_nothing_is_copied_and_the_channels_are_last(folder: Path, cache: str) -> None:
    loaded = load(str(folder), cache, 8)
    splits = (loaded.train.images, loaded.validation.images, loaded.test.images)
    for split in splits:
        assert split.stride()[1:] == (1, 24, 3)
        batch = split[torch.tensor([2, 0])]
        assert batch.is_contiguous(memory_format=torch.channels_last)
    addresses = [split.untyped_storage().data_ptr() for split in splits]
    offsets = [
        a + s.storage_offset() - addresses[0] for a, s in zip(addresses, splits, strict=True)
    ]
    photograph = 8 * 8 * 3
    assert offsets == [0, 6 * photograph, 13 * photograph]


@pytest.mark.parametrize("count", [2, 3, 40, 41])
def test_the_halves_are_halves_of_each_class_and_share_nothing(tmp_path: Path, count: int) -> None:
    folder = write_folder(tmp_path / "photographs", 1, count)
    loaded = load(str(folder), str(tmp_path / "cache"), 8)
    validation, test = loaded.validation, loaded.test
    for label in (0, 1):
        halves = [int((half.labels == label).sum()) for half in (validation, test)]
        assert sum(halves) == count
        assert max(halves) - min(halves) <= 1
    files = {str(path.relative_to(folder)) for path in (folder / "validation").rglob("*.jpg")}
    assert set(validation.names) | set(test.names) == files
    assert len(validation.names) + len(test.names) == len(files)
    if count >= 40:  # a shuffle: neither the first files nor every other one
        numbers = np.array([int(re.findall(r"\d+", name)[0]) for name in validation.names])
        assert 10 <= (numbers < count / 2).sum() <= 30
        assert 10 <= (numbers % 2).sum() <= 30


def test_the_halves_are_the_same_everywhere(folder: Path, tmp_path: Path) -> None:
    """Another cache, another place, another size, and on any machine: these very files."""
    loaded = load(str(folder), str(tmp_path / "a"), 8)
    moved = folder.rename(tmp_path / "moved")
    again = load(str(moved), str(tmp_path / "b"), 10)
    assert all_names(again) == all_names(loaded)
    assert again.fingerprint == loaded.fingerprint
    half = ["cat.6", "cat.3", "cat.1", "dog.4", "dog.6", "dog.0", "dog.2"]
    assert [Path(name).stem for name in loaded.test.names] == half


def test_the_halves_of_the_original_are_those_of_all_results_so_far(tmp_path: Path) -> None:
    """Of 500 cats and 500 dogs, by the names that they have in TensorFlow's archive."""
    for each in CLASSES:
        for split in ("train", "validation"):
            (tmp_path / split / each).mkdir(parents=True)
        for number in range(2000, 2500):
            (tmp_path / "validation" / each / f"{each[:-1]}.{number}.jpg").touch()
    folder = read_folder(tmp_path)
    halves = in_halves(list(folder.labels), folder.labels)
    digests = [hashlib.sha256("\n".join(half).encode()).hexdigest()[:16] for half in halves]
    assert digests == ["2da8893a4e1dbe4a", "b711fef1870d6140"]
    assert not folder.problems


def test_an_unreadable_photograph_moves_no_other(folder: Path, cache: str) -> None:
    intact = load(str(folder), cache, 8)
    for name in (*intact.validation.names, *intact.test.names):
        content = (folder / name).read_bytes()
        fingerprints = set()
        for damaged in (b"", content[:20]):
            (folder / name).write_bytes(damaged)
            loaded = load(str(folder), cache, 8)
            assert [skipped for skipped, _ in loaded.skipped] == [name]
            for split in ("validation", "test"):
                expected = [each for each in getattr(intact, split).names if each != name]
                photographs = getattr(loaded, split)
                assert list(photographs.names) == expected
                numbers = [int(re.findall(r"\d+", each)[0]) for each in expected]
                assert photographs.images[:, 0, 0, 0].tolist() == numbers
                assert photographs.labels.tolist() == [int("dogs" in each) for each in expected]
            fingerprints.add(loaded.fingerprint)
        (folder / name).write_bytes(content)
        assert len(fingerprints) == 1, "a fingerprint is of what was used"
        assert intact.fingerprint not in fingerprints
    assert load(str(folder), cache, 8).fingerprint == intact.fingerprint


def test_files_that_are_no_photographs_move_none(folder: Path, cache: str) -> None:
    intact = load(str(folder), cache, 8)
    for number in range(5):
        (folder / "validation" / "cats" / f"Thumbs{number}.db").write_text("made by Windows")
        assert all_names(load(str(folder), cache, 8)) == all_names(intact)
    (folder / "train" / "dogs" / "broken.jpg").write_text("a dog")
    train_only = load(str(folder), cache, 8)
    for number in range(5):
        (folder / "validation" / "cats" / f"Thumbs{number}.db").unlink()
    assert len(train_only.skipped) == 6
    assert load(str(folder), cache, 8).fingerprint == intact.fingerprint


def test_halves_that_differ_have_other_fingerprints(folder: Path, cache: str) -> None:
    """Without a photograph that is unreadable anyway, others have moved."""
    path = folder / load(str(folder), cache, 8).validation.names[0]
    path.write_text("a cat")
    damaged = load(str(folder), cache, 8)
    path.unlink()
    without = load(str(folder), cache, 8)
    assert sorted(all_names(without)) == sorted(all_names(damaged))
    assert without.test.names != damaged.test.names
    assert without.fingerprint != damaged.fingerprint


def test_what_is_no_file_in_the_folder_is_skipped(folder: Path, cache: str, tmp_path: Path) -> None:
    """Pipes, which would be read for ever, and links: in circles, to nowhere, to elsewhere."""
    intact = load(str(folder), cache, 8)
    elsewhere = tmp_path / "elsewhere" / "cat.jpg"
    write_photograph(elsewhere, 9)
    for parent in (folder / "train" / "cats", folder / "validation" / "dogs"):
        os.mkfifo(parent / "pipe.jpg")
        (parent / "nowhere.jpg").symlink_to("/nonexistent")
        (parent / "itself.jpg").symlink_to("itself.jpg")
        (parent / "elsewhere.jpg").symlink_to(elsewhere)
        (parent / "folder").symlink_to(elsewhere.parent)
        (parent / "circle 1").symlink_to(".")
        (parent / "circle 2").symlink_to("..")
    loaded = load(str(folder), cache, 8)
    assert all_names(loaded) == all_names(intact)
    assert loaded.fingerprint == intact.fingerprint
    reasons = {
        "circle 1": "a link to a folder",
        "circle 2": "a link to a folder",
        "elsewhere.jpg": "a link to a file elsewhere",
        "folder": "a link to a folder",
        "itself.jpg": "a link to no file",
        "nowhere.jpg": "a link to no file",
        "pipe.jpg": "not a regular file",
    }
    assert loaded.skipped == tuple(
        (f"{parent}/{name}", reason)
        for parent in ("train/cats", "validation/dogs")
        for name, reason in reasons.items()
    )


def test_links_within_the_folder_and_to_it_are_followed(
    folder: Path, cache: str, tmp_path: Path
) -> None:
    expected = load(str(folder), cache, 8)
    (folder / "train" / "cats").rename(folder / "all cats")
    (folder / "train" / "cats").symlink_to("../all cats")
    moved = (folder / "train" / "dogs" / "dog.0.jpg").rename(folder / "dog.jpg")
    (folder / "train" / "dogs" / "dog.0.jpg").symlink_to(moved)
    (tmp_path / "link").symlink_to(folder)
    loaded = load(str(tmp_path / "link"), cache, 8)
    assert all_names(loaded) == all_names(expected)
    assert loaded.fingerprint == expected.fingerprint


@pytest.mark.parametrize("prefix", ["", "cats_and_dogs_filtered/"])
def test_a_zip_is_read_like_a_folder(
    folder: Path, cache: str, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(str(folder), cache, 8)
    (folder / "vectorize.py").touch()
    archive = zip_of(folder, tmp_path / "a.zip", prefix)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(f"__MACOSX/{prefix}train/cats/._cat.0.jpg", "made by the Finder")
        opened.writestr(f"{prefix}train/cats/.DS_Store", "made by the Finder")
    monkeypatch.setattr(images, "_read", None)  # decoded already: the contents are the same
    for _ in range(2):
        loaded = load(str(archive), cache, 8)
        assert loaded.fingerprint == expected.fingerprint
        assert all_names(loaded) == all_names(expected)
        assert loaded.folder.is_relative_to(cache)


def test_unreadable_files_are_skipped_and_named_in_one_line(
    folder: Path, cache: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder as people have it, with photographs of all kinds and other files among them."""
    cats, dogs = folder / "train" / "cats", folder / "train" / "dogs"
    kinds: dict[str, Callable[[Path], None]] = {
        "grey.png": lambda path: Image.new("L", (9, 9), 5).save(path),
        "print.jpg": lambda path: Image.new("CMYK", (9, 9)).save(path),
        "palette.gif": lambda path: Image.new("P", (9, 9)).save(path),
        "clear.png": lambda path: Image.new("RGBA", (9, 9)).save(path),
        "deep.png": lambda path: Image.new("I;16", (9, 9), 300).save(path),
    }
    for name, write in kinds.items():
        write(cats / name)
    (cats / "below").mkdir()
    (folder / "train" / "__MACOSX" / "cats").mkdir(parents=True)
    write_photograph(cats / "below" / "cat.jpg", 1)
    for number in range(6):
        (dogs / f"text.{number}.jpg").write_text("a dog")
    (folder / "validation" / "cats" / "empty.jpg").touch()
    with caplog.at_level(logging.WARNING):
        loaded = load(str(folder), cache, 8)
    assert len(loaded.skipped) == 7
    assert dict(loaded.skipped)["validation/cats/empty.jpg"] == "empty file"
    assert not set(all_names(loaded)) & set(dict(loaded.skipped))
    assert {f"train/cats/{name}" for name in [*kinds, "below/cat.jpg"]} <= set(loaded.train.names)
    assert len(loaded.validation.names) + len(loaded.test.names) == 14
    (message,) = caplog.messages
    named = ", ".join(f"'train/dogs/text.{number}.jpg' (not an image)" for number in range(5))
    assert message == f"files skipped (7): {named} and 2 more"
    with caplog.at_level(logging.WARNING):
        assert load(str(folder), cache, 8).skipped == loaded.skipped
    assert len(caplog.messages) == 2, "the warning stands in the log of every run"


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def leave_one_cat(folder: Path) -> None:
    empty(folder / "validation" / "cats")
    write_photograph(folder / "validation" / "cats" / "a.png", 1)
    (folder / "validation" / "cats" / "b.png").touch()


def link_elsewhere(folder: Path, *names: str) -> None:
    for name in names:
        target = folder.parent / "elsewhere" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
        (folder / name).symlink_to(target)


def leave_links(folder: Path) -> None:
    for split in ("train", "validation"):
        for each in CLASSES:
            empty(folder / split / each)
            (folder / split / each / "a.jpg").symlink_to("nowhere")


NEEDED = (
    "split (every split needs one of each class: add photographs, or sort them into train/, "
    "validation/ and test/)"
)
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no dogs": (
        lambda f: (f / "train" / "dogs").rename(f / "dogs"),
        "validation/ must have the same class folders as train/: cats; found: cats, dogs",
    ),
    "rabbits": (
        lambda f: (f / "validation" / "rabbits").mkdir(),
        "validation/ must have the same class folders as train/: cats, dogs; "
        "found: cats, dogs, rabbits",
    ),
    "one class": (
        lambda f: list(map(shutil.rmtree, f.glob("*/dogs"))),
        "has one class only, cats; at least 2 are needed",
    ),
    "no photographs": (
        lambda f: list(map(shutil.rmtree, f.iterdir())),
        "nor files named by class such as cat.0.jpg; found: nothing",
    ),
    "two collections": (
        lambda f: [write_folder(f / "a"), write_folder(f / "b"), (f / "train").rename(f / "c")],
        "several of its folders contain train/ and validation/: a, b",
    ),
    "no training dog": (
        lambda f: empty(f / "train" / "dogs"),
        f"usable photographs of the class dogs: 7, and none of them in the train {NEEDED}",
    ),
    "one cat to halve": (
        leave_one_cat,
        f"usable photographs of the class cats: 4, and none of them in the test {NEEDED}",
    ),
    "a class elsewhere": (
        lambda f: link_elsewhere(f, "train/cats"),
        "train/cats is a link to a folder elsewhere",
    ),
    "all of it elsewhere": (
        lambda f: link_elsewhere(f, "train", "validation"),
        "train/cats is a link to a folder elsewhere",
    ),
    "only links to nowhere": (
        leave_links,
        f"usable photographs of the class cats: 0, and none of them in the train {NEEDED}",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_an_invalid_folder_is_refused_with_what_is_needed(
    folder: Path, cache: str, how: str
) -> None:
    damage, reason = BAD[how]
    damage(folder)
    with pytest.raises(DataError, match=rf"{re.escape(reason)}$") as caught:
        load(str(folder), cache, 8)
    assert "\n" not in str(caught.value)


def test_no_file_no_zip_or_no_size_are_errors(tmp_path: Path, cache: str) -> None:
    allowed = r"\(allowed: download, synthetic, or the path of a zip or folder\)"
    with pytest.raises(DataError, match=f"^there is no such file or folder {allowed}$"):
        load(str(tmp_path / "nowhere.zip"), cache, 8)
    (tmp_path / "a.txt").write_text("cats")
    with pytest.raises(DataError, match=r"^a\.txt is not a zip archive"):
        load(str(tmp_path / "a.txt"), cache, 8)
    with pytest.raises(DataError, match=r"^7 pixels are too few \(allowed: 8 or more\)$"):
        load("synthetic", cache, 7)


@pytest.fixture
def published(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HTTPServer]:
    """Publish a small archive where the loader looks for the original."""
    (tmp_path / "www").mkdir()
    archive = zip_of(folder, tmp_path / "www" / "a.zip", "cats_and_dogs_filtered/")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=archive.parent)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(cats_and_dogs, "URL", f"http://127.0.0.1:{server.server_port}/a.zip")
        monkeypatch.setattr(cats_and_dogs, "SIZE_BYTES", archive.stat().st_size)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_cached(
    published: HTTPServer, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load("download", cache, 8)
    assert len(all_names(loaded)) == 20
    monkeypatch.setattr(cats_and_dogs, "URL", "http://127.0.0.1:1/")
    assert load("download", cache, 10).fingerprint == loaded.fingerprint


def test_without_network_the_alternatives_are_named(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cats_and_dogs, "URL", "http://127.0.0.1:1/a.zip")
    with pytest.raises(DataError) as caught:
        load("download", cache, 16)
    assert str(caught.value) == (
        "http://127.0.0.1:1/a.zip cannot be downloaded (ConnectionError); "
        "data=PATH reads your own zip or folder, data=synthetic generates a substitute"
    )


def test_synthetic_photographs_are_made_once_for_each_version(
    cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def write(folder: Path, *, train_per_class: int, validation_per_class: int) -> None:
        calls.append(folder)
        write_folder(folder, train_per_class, validation_per_class)

    monkeypatch.setattr(cats_and_dogs, "SYNTHETIC_TRAIN_PER_CLASS", 2)
    monkeypatch.setattr(cats_and_dogs, "SYNTHETIC_VALIDATION_PER_CLASS", 4)
    monkeypatch.setattr(synthetic_photographs, "write", write)
    for _ in range(2):
        loaded = load("synthetic", cache, 8)
        assert [len(x.names) for x in (loaded.train, loaded.validation, loaded.test)] == [4, 4, 4]
    assert len(calls) == 1
    monkeypatch.setattr(synthetic_photographs, "VERSION", synthetic_photographs.VERSION + 1)
    load("synthetic", cache, 8)
    assert len(calls) == 2


def test_synthetic_photographs_can_be_loaded(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cats_and_dogs, "SYNTHETIC_TRAIN_PER_CLASS", 2)
    monkeypatch.setattr(cats_and_dogs, "SYNTHETIC_VALIDATION_PER_CLASS", 2)
    loaded = load("synthetic", cache, 32)
    assert loaded.train.labels.tolist() == [0, 0, 1, 1]
    assert loaded.train.images.float().std() > 10


def test_without_a_folder_the_users_cache_is_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "user_cache_path", lambda name: tmp_path / "user" / name)
    load(str(folder), "", 8)
    (made,) = (tmp_path / "user").iterdir()
    assert made.name == "tracked-deep-learning-experiments"


@pytest.mark.slow
@pytest.mark.skipif("CATS_AND_DOGS" not in os.environ, reason="CATS_AND_DOGS names no archive")
def test_the_photographs_of_tensorflow(cache: str) -> None:
    loaded = load(os.environ["CATS_AND_DOGS"], cache, 64)
    counts = [split.labels.bincount().tolist() for split in (loaded.train, loaded.validation)]
    assert counts == [[1000, 1000], [250, 250]]
    assert loaded.test.labels.bincount().tolist() == [250, 250]
    assert loaded.skipped == ()
    for index in range(0, 2000, 100):
        with Image.open(loaded.folder / loaded.train.names[index]) as image:
            box = image.convert("RGB").resize((64, 64), Image.Resampling.BOX)
        difference = loaded.train.images[index].permute(1, 2, 0).numpy().astype(int) - np.array(box)
        assert np.abs(difference).mean() < 12

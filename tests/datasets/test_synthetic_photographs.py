"""Synthetic cats and dogs: reproducible from a seed, and distinguishable by shape alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from datasets.synthetic_photographs import Animal, draw, write

Floats = npt.NDArray[np.float32]
Photographs = dict[str, tuple[Floats, npt.NDArray[np.int_]]]  # of each split (N, 32, 32, 3) and (N)

TRAIN, VALIDATION = 110, 60  # of each class


def _files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files, by their path inside the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


def _load(folder: Path) -> tuple[Floats, npt.NDArray[np.int_]]:
    paths = sorted(folder.rglob("*.jpg"))
    pixels = [np.asarray(Image.open(path).resize((32, 32)), np.float32) / 255 for path in paths]
    return np.stack(pixels), np.array([path.name.startswith("dog") for path in paths]).astype(int)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    write(path, train_per_class=TRAIN, validation_per_class=VALIDATION, size=96)
    return path


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Photographs:
    return {split: _load(folder / split) for split in ("train", "validation")}


def test_files_are_arranged_like_the_photographs(folder: Path) -> None:
    assert set(_files(folder)) == {
        f"{split}/{animal}s/{animal}.{number}.jpg"
        for split, count in (("train", TRAIN), ("validation", VALIDATION))
        for animal in ("cat", "dog")
        for number in range(count)
    }


def test_photographs_are_colour_jpegs_of_many_sizes(folder: Path) -> None:
    sizes = set()
    for path in (folder / "validation").rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            sizes.add(image.size)
    sides = np.array(list(sizes))
    assert len(sizes) > 80
    assert sides.min() >= 72
    assert sides.max() <= 120
    assert (sides[:, 0] < sides[:, 1]).any()
    assert (sides[:, 0] > sides[:, 1]).any()


def test_no_photograph_occurs_twice(folder: Path) -> None:
    contents = list(_files(folder).values())
    assert len(set(contents)) == len(contents)


def test_same_seed_same_bytes_however_many_there_are(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "few", train_per_class=2, validation_per_class=3, size=96)
    write(tmp_path / "other", train_per_class=2, validation_per_class=3, size=96, seed=1)
    many, few, other = _files(folder), _files(tmp_path / "few"), _files(tmp_path / "other")
    assert len(few) == 2 * (2 + 3)
    assert few == {name: many[name] for name in few}
    assert few.keys() == other.keys()
    assert not set(few.values()) & set(other.values())


def test_the_animal_changes_nothing_but_itself() -> None:
    """The same random numbers put a cat and a dog into the same room, light and noise."""
    changed = []
    for seed in range(20):
        animals: tuple[Animal, Animal] = ("cat", "dog")
        cat, dog = (np.asarray(draw(a, np.random.default_rng(seed), 96)) for a in animals)
        assert cat.shape == dog.shape
        changed.append((cat != dog).any(axis=-1).mean())
    assert min(changed) > 0.03
    assert max(changed) < 0.6


def _mean_colour(pixels: Floats) -> Floats:
    mean: Floats = pixels.mean(axis=(1, 2))
    return mean


def _histogram(pixels: Floats) -> Floats:
    """Return the share of each of 64 colours, the square root of it: (N, 64)."""
    levels = np.minimum(4 * pixels, 3).astype(int)
    codes = (levels @ [16, 4, 1]).reshape(len(pixels), -1)
    shares = (codes[:, :, None] == np.arange(64)).mean(axis=1, dtype=np.float32)
    roots: Floats = np.sqrt(shares)
    return roots


def _raw(pixels: Floats) -> Floats:
    return pixels.reshape(len(pixels), -1)


@pytest.mark.parametrize(
    ("features", "limit"), [(_raw, 0.75), (_mean_colour, 0.65), (_histogram, 0.65)]
)
def test_a_linear_model_cannot_distinguish_them(
    photographs: Photographs, features: Callable[[Floats], Floats], limit: float
) -> None:
    (train, train_labels), (validation, labels) = photographs["train"], photographs["validation"]
    assert train_labels.mean() == labels.mean() == 0.5
    train, validation = features(train), features(validation)
    mean = train.mean(axis=0)
    models = [RidgeClassifier(alpha=alpha) for alpha in (0.1, 10, 1000)]
    models += [LogisticRegression(C=strength, max_iter=1000) for strength in (0.001, 0.1)]
    scores = [
        model.fit(train - mean, train_labels).score(validation - mean, labels) for model in models
    ]
    assert max(scores) < limit

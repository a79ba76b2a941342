"""Folders of photographs as people have them: which class and which split a file belongs to.

Three layouts are recognised, also where a single folder lies around them:

splits    train/, validation/ (or val/, valid/) and perhaps test/, each with a folder for each class
classes   a folder for each class; files are split by their content
names     one folder of files that are named by their class, such as cat.0.jpg; split likewise
          (also where the folder is train/, and what is beside it has no labels, as on Kaggle)

A split by content moves no file because others come or go, and the same photograph, under whatever
names, is in one split only.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets.choices import Split
from datasets.errors import DataError
from datasets.folders import check_inside, files_below, listed, problem_of, visible

NAMES_OF_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
SPLIT_FOLDERS = {
    f"{name}{ending}": split
    for split, names in NAMES_OF_SPLITS.items()
    for name in names
    for ending in ("", "_set")
}
"""The split of a folder, by its name in small letters."""
TRAIN_SHARE, TEST_SHARE = 0.7, 0.15
"""Of the files that are split by their content; the others are for validation."""
SPLIT_SEED = 0
"""Seed of the halves of validation/: the same for all runs, whatever their own seeds."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
"""Of photographs; files with others, which may be none, are dealt to the halves after them."""
NAMED_BY_CLASS = re.compile(r"(.*?[^\W\d_].*?)[ ._-]*\(?\d+\)?")
"""The stem of a file that is named by its class: the class, which has a letter, then a number."""


class ImageFolder(NamedTuple):
    """The files of a folder, and what their places say of them."""

    root: Path
    classes: tuple[str, ...]
    """Names of the classes, sorted."""
    labels: Mapping[str, int]
    """The class of each file, an index into `classes`, by its path within the folder."""
    splits: Mapping[str, Split]
    """The split of each file, where its place tells."""
    problems: Mapping[str, str]
    """What is in the place of a photograph and is none, with the reason."""


def read_folder(folder: Path) -> ImageFolder:
    """Recognise the layout of a folder.

    Raises:
        DataError: it has none of the layouts, or fewer than two classes.

    """
    for read in (_read_names_of_train, _read_splits, _read_classes, _read_names):
        if found := read(folder):
            return found
    inner = [path for path in visible(folder) if path.is_dir()]
    if len(inner) == 1:
        check_inside(folder, inner[0])
        if class_folders(inner[0]) or not _photographs_in(inner[0]) or _named(inner[0])[0]:
            return read_folder(inner[0])
        raise DataError(f"has one class only, {inner[0].name}; at least 2 are needed")
    found_names = listed([path.name for path in visible(folder)]) or "nothing"
    raise DataError(
        "contains neither train/ and validation/ with class folders, nor class folders, nor files "
        f"named by class such as cat.0.jpg; found: {found_names}"
    )


def split_of_content(content_hash: str, *, has_test: bool = False) -> Split:
    """Return the split of a file, from a hash of its content; to the test only if there is none."""
    place = int(hashlib.sha256(content_hash.encode()).hexdigest()[:8], 16) / 2**32
    if place < TRAIN_SHARE:
        return "train"
    return "test" if place >= 1 - TEST_SHARE and not has_test else "validation"


def in_halves(names: Sequence[str], labels: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Deal files to two halves, which alternate class after class: each has half of each class."""

    def place(name: str) -> tuple[bool, int, bytes]:
        """Return the place of a file: at random in its class, the same on every machine."""
        order = hashlib.sha256(os.fsencode(f"{SPLIT_SEED} {name}")).digest()
        return not name.lower().endswith(SUFFIXES), labels[name], order

    dealt = sorted(names, key=place)
    return dealt[::2], dealt[1::2]


def _read_splits(folder: Path) -> ImageFolder | None:
    inner = [path for path in visible(folder) if path.is_dir()]
    roots = [path for path in [folder, *inner] if _has_splits(path)]
    if not roots:
        return None
    if len(roots) > 1 and roots[0] != folder:
        found = listed([path.name for path in roots])
        raise DataError(f"several of its folders contain train/ and validation/: {found}")
    root = roots[0]
    check_inside(folder, root)
    by_split: dict[Split, Path] = {}
    for part in split_folders(root):
        split = SPLIT_FOLDERS[part.name.lower()]
        if split in by_split:
            raise DataError(f"both {by_split[split].name}/ and {part.name}/ are for {split}")
        by_split[split] = part
    classes = class_folders(by_split["train"])
    for part in by_split.values():
        if (others := class_folders(part)) != classes:
            train = by_split["train"].name
            expected = f"the same class folders as {train}/: {listed(classes) or 'none'}"
            found = listed(others) or "none"
            raise DataError(f"{part.name}/ must have {expected}; found: {found}")
    files: dict[Split | None, dict[str, list[Path]]] = {
        split: {each: [root / part.name / each] for each in classes}
        for split, part in by_split.items()
    }
    return _collect(root, classes, files, _photographs_in(*by_split.values()))


def _has_splits(folder: Path) -> bool:
    found = {SPLIT_FOLDERS[path.name.lower()] for path in split_folders(folder)}
    return "train" in found and len(found) > 1


def split_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder whose names say a split, those for training first."""
    inner = (path for path in visible(folder) if path.is_dir())
    named = [path for path in inner if path.name.lower() in SPLIT_FOLDERS]
    return sorted(named, key=lambda path: SPLIT_FOLDERS[path.name.lower()] != "train")


def _read_classes(folder: Path) -> ImageFolder | None:
    classes = class_folders(folder)
    if len(classes) < 2:
        return None
    by_class = {each: [folder / each] for each in classes}
    return _collect(folder, classes, {None: by_class}, _photographs_in(folder))


def _read_names(folder: Path) -> ImageFolder | None:
    files, others = _named(folder)
    if not files:
        return None
    return _collect(folder, tuple(sorted(files)), {None: files}, others)


def _read_names_of_train(folder: Path) -> ImageFolder | None:
    train = folder / "train"
    if not train.is_dir() or class_folders(train) or len(_named(train)[0]) < 2:
        return None
    check_inside(folder, train)
    found = _read_names(train)
    assert found is not None, "two classes were found a moment ago"
    beside = [path.name for path in visible(folder) if path.is_dir() and path != train]
    reason = "a folder beside train/, where files are named by class"
    return found._replace(problems={**found.problems, **dict.fromkeys(beside, reason)})


def _named(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return the photographs in a folder by the class in their names, and those without one."""
    files: dict[str, list[Path]] = {}
    others = []
    for path in _photographs_in(folder):
        if named := NAMED_BY_CLASS.fullmatch(path.stem):
            files.setdefault(named[1], []).append(path)
        else:
            others.append(path)
    return files, others


def _photographs_in(*folders: Path) -> list[Path]:
    """Return what is named as a photograph in folders, but not in those below."""
    paths = (path for folder in folders for path in visible(folder))
    return [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]


def _collect(
    root: Path,
    classes: tuple[str, ...],
    files: Mapping[Split | None, Mapping[str, Sequence[Path]]],
    others: Sequence[Path],
) -> ImageFolder:
    """Return the files below the paths given, by split (None: it is not known) and class.

    The others are photographs of which no path tells the class.
    """
    if len(classes) < 2:
        raise DataError(f"has one class only, {listed(classes) or 'none'}; at least 2 are needed")
    labels: dict[str, int] = {}
    splits: dict[str, Split] = {}
    problems = {path.relative_to(root).as_posix(): "its path names no class" for path in others}
    for split, by_class in files.items():
        for label, each in enumerate(classes):
            for path in by_class[each]:
                if path.is_dir():
                    check_inside(root, path)
                for name in files_below(root, path):
                    if why := problem_of(root, name):
                        problems[name] = why
                        continue
                    labels[name] = label
                    if split is not None:
                        splits[name] = split
    return ImageFolder(root, classes, labels, splits, problems)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted."""
    return tuple(path.name for path in visible(folder) if path.is_dir())

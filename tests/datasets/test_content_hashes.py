"""Hashes of contents: of what the files are now, and read only where that is not known."""

import hashlib
import os
from pathlib import Path

import pytest

from datasets import content_hashes
from datasets.content_hashes import hash_files

NAMES = ["a.jpg", "below/b c.jpg", "여우.jpg"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return tmp_path / "root"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which the names of files are added when they are read."""
    names = []

    def spy(path: Path) -> str:
        names.append(path.name)
        return original(path)

    original = content_hashes.hash_file
    monkeypatch.setattr(content_hashes, "hash_file", spy)
    return names


def expected(root: Path) -> dict[str, str]:
    return {n: hashlib.sha256((root / n).read_bytes()).hexdigest()[:16] for n in NAMES}


def test_only_files_that_have_changed_are_read_again(
    root: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hashes, "SETTLED_NS", -(10**12))
    for _ in range(2):
        assert hash_files(root, NAMES, tmp_path / "cache") == expected(root)
        assert sorted(read) == sorted(Path(name).name for name in NAMES)
    read.clear()
    before = (root / "a.jpg").stat()
    (root / "a.jpg").write_text("CONTENT of a.jpg")  # of the same length
    os.utime(root / "a.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hash_files(root, NAMES[::-1], tmp_path / "cache") == expected(root)
    assert read == ["a.jpg"]


def test_files_that_have_just_changed_are_always_read(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    """A clock of coarse ticks would give the next change the same time."""
    for _ in range(2):
        hash_files(root, NAMES, tmp_path / "cache")
    assert len(read) == 2 * len(NAMES)


@pytest.mark.parametrize("content", ["", "[]", '{"files": {"a.jpg": 3}}', '{"files": []}'])
def test_a_damaged_record_is_replaced(
    root: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(content_hashes, "SETTLED_NS", -(10**12))
    hash_files(root, NAMES, tmp_path / "cache")
    (record,) = (tmp_path / "cache").iterdir()
    record.write_text(content)
    for _ in range(2):
        assert hash_files(root, NAMES, tmp_path / "cache") == expected(root)
    assert len(read) == 2 * len(NAMES)


def test_without_a_cache_they_are_hashed_nevertheless(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hashes, "SETTLED_NS", -(10**12))
    (tmp_path / "cache").write_text("a file")
    assert hash_files(root, NAMES, tmp_path / "cache") == expected(root)

"""Image files as arrays: one file, or many that are decoded once and then memory-mapped."""

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.archives import make_once
from datasets.choices import Resize
from datasets.content_hashes import fingerprint
from datasets.errors import DataError, disk_errors
from datasets.pixels import UnreadableImage as UnreadableImage
from datasets.pixels import read_pixels

VERSION = 1
"""To be increased whenever a file gives different pixels, so that older caches are not used."""
PREFETCH = 64
"""Images decoded ahead of the one that is written; limits the memory."""
IMAGES, LIST = "images.npy", "list.json"
IMAGES_BETWEEN_LISTS = 500
"""After so many, what was decoded so far is kept if the process is killed."""


class Decoded(NamedTuple):
    """The images that `decode` returns."""

    images: np.ndarray
    """(N, size, size, 3) uint8, RGB, memory-mapped; changes to it stay in memory."""
    names: tuple[str, ...]
    """The N files that could be read, in the order of the request."""
    skipped: Mapping[str, str]
    """The reason why each of the others could not be."""
    hashes: Mapping[str, str]
    """Of the content of every file, by its name."""


def read_all(
    root: Path, names: Sequence[str], size: int, resize: Resize
) -> Iterator[np.ndarray | UnreadableImage]:
    """Yield images, or the reason why one cannot be read; several are decoded ahead.

    Args:
        root: folder of the files, which are in any format that PIL reads.
        names: their paths within it.
        size: width and height in pixels to which they are resized.
        resize: how they become squares (`datasets.pixels`).

    Yields:
        (size, size, 3) uint8, RGB, upright, transparent pixels on white.

    Raises:
        OSError: a file cannot be opened.

    """

    def attempt(name: str) -> np.ndarray | UnreadableImage:
        try:
            return _read(root / name, size, resize)
        except UnreadableImage as error:
            return error

    # Threads, because PIL releases the global interpreter lock while it decodes. They have one list
    # of warning filters in common, which is therefore changed around the pool.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about files that it can read
        for start in range(0, len(names), PREFETCH):
            yield from pool.map(attempt, names[start : start + PREFETCH])


def decode(
    root: Path, hashes: Mapping[str, str], size: int, cache: Path, resize: Resize
) -> Decoded:
    """Decode images, as `read_all` does, into a folder `cache`, which later calls only open.

    What an interrupted call has decoded is not decoded again.

    Args:
        root: folder of the files.
        hashes: of their contents, by their paths within it, as `hash_files` returns them.
        size: width and height in pixels.
        cache: a folder.
        resize: how they become squares (`datasets.pixels`).

    Raises:
        DataError: none of the files is an image, one cannot be opened, or the disk is full.

    """
    with disk_errors(root):
        how = "" if resize == "squish" else f"-{resize}"
        folder = cache / f"decoded-{fingerprint(hashes)}-{size}px{how}-v{VERSION}"
        open_cache = partial(_open, hashes, size)
        make = partial(_decode, root, list(hashes), size, resize)
        is_complete = lambda path: open_cache(path) is not None  # noqa: E731
        make_once(folder, make, is_complete, resumable=True)
        decoded = open_cache(folder)
    assert decoded is not None, f"{folder} was complete a moment ago"
    return decoded


def _read(path: Path, size: int, resize: Resize) -> np.ndarray:
    return read_pixels(path.read_bytes(), size, resize)  # a failing disk is not an unreadable image


def _decode(root: Path, names: Sequence[str], size: int, resize: Resize, folder: Path) -> None:
    """Write the images as a `.npy` file and the list of their names to a folder.

    A folder that an interrupted call has left is taken up where its list ends. The array is not
    written through a memory map, where a full disk would kill the process instead of raising an
    error.
    """
    folder.mkdir(exist_ok=True)
    done, skipped = _progress(names, folder)
    (folder / IMAGES).touch()
    with (folder / IMAGES).open("r+b") as file:
        _write_header(file, len(names), size)
        file.seek((done - len(skipped)) * size * size * 3, os.SEEK_CUR)
        file.truncate()
        bar = tqdm(names[done:], "decoding", len(names), initial=done, unit="image", disable=None)
        read = read_all(root, names[done:], size, resize)
        for name, image in zip(bar, read, strict=True):
            if isinstance(image, UnreadableImage):
                skipped[name] = str(image)
            else:
                file.write(image.data)
            done += 1
            if done % IMAGES_BETWEEN_LISTS == 0:
                _write_list(file, folder, names[:done], skipped)
        if len(skipped) == len(names):
            shutil.rmtree(folder)
            reason = f"{names[0]!r}: {skipped[names[0]]}" if names else "there are no files"
            raise DataError(f"no photograph can be read, of {len(names):,} ({reason})")
        file.seek(0)
        _write_header(file, len(names) - len(skipped), size)
        _write_list(file, folder, names, skipped)


def _progress(names: Sequence[str], folder: Path) -> tuple[int, dict[str, str]]:
    """Return how many of the files are decoded already, and which of these were no images."""
    try:
        listed = json.loads((folder / LIST).read_text())
        is_valid = listed["names"] == list(names[: len(listed["names"])])
        return (len(listed["names"]), dict(listed["skipped"])) if is_valid else (0, {})
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}


def _write_list(
    file: IO[bytes], folder: Path, names: Sequence[str], skipped: Mapping[str, str]
) -> None:
    """Write the list of the files that are decoded, once their images are on the disk."""
    file.flush()
    os.fsync(file.fileno())  # some file systems report a full disk only here
    new = folder / f"{LIST}.new"
    new.write_text(json.dumps({"names": names, "skipped": skipped}, indent=0))
    new.replace(folder / LIST)


def _write_header(file: IO[bytes], count: int, size: int) -> None:
    """Write the header of a `.npy` file; numpy pads it to the same length for any count."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _open(hashes: Mapping[str, str], size: int, folder: Path) -> Decoded | None:
    """Return what a cache contains; None if it is damaged or missing."""
    try:
        listed = json.loads((folder / LIST).read_text())
        skipped: dict[str, str] = listed["skipped"]
        images = np.load(folder / IMAGES, mmap_mode="c")
        kept = tuple(name for name in hashes if name not in skipped)
        is_complete = listed["names"] == list(hashes) and images.shape == (len(kept), size, size, 3)
    except Exception:  # a damaged cache raises many kinds of errors
        return None
    if not is_complete or images.dtype != np.uint8:
        return None
    return Decoded(images, kept, skipped, hashes)

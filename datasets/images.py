"""Photographs as arrays: one file read, or many decoded once and memory-mapped ever after."""

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from datasets.archives import make_once
from datasets.errors import DataError, disk_errors

VERSION = 1
"""Changes whenever the same file would give other pixels."""
AT_ONCE = 64
"""Photographs decoded ahead of the one that is written; bounds the memory that they take."""
IMAGES, LIST = "images.npy", "list.json"

TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation: a camera notes how it was held, and turns no pixel."""


class UnreadableImage(ValueError):  # noqa: N818, the name says it
    """The file holds no image, or not the whole of one; the message is the reason, in one line."""


def read(path: Path, size: int) -> np.ndarray:
    """Read any image file as a square photograph.

    Args:
        path: the file, in any format that PIL reads.
        size: width and height of the result, in pixels.

    Returns:
        (size, size, 3) uint8, RGB, turned upright, white behind what is transparent.

    Raises:
        UnreadableImage: what the file holds is not a whole image, or one of absurd size.
        OSError: the file cannot be opened.

    """
    with _pil_is_quiet():
        return _read(path, size)


class Decoded(NamedTuple):
    """What `decode` returns."""

    images: np.ndarray
    """(N, size, size, 3) uint8, RGB, memory-mapped; what is written to it stays in memory."""
    names: tuple[str, ...]
    """The N files that could be read, in the order in which they were asked for."""
    skipped: tuple[tuple[str, str], ...]
    """The others, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of all files."""


def read_all(root: Path, names: Sequence[str], size: int) -> Iterator[np.ndarray | UnreadableImage]:
    """Yield each photograph, or why there is none; several are decoded ahead.

    Args:
        root: folder that holds the files.
        names: their paths within it.
        size: see `read`.

    """

    def attempt(name: str) -> np.ndarray | UnreadableImage:
        try:
            return _read(root / name, size)
        except UnreadableImage as error:
            return error

    # Threads, because PIL decodes without holding Python's lock.
    with _pil_is_quiet(), ThreadPoolExecutor() as pool:
        for start in range(0, len(names), AT_ONCE):
            yield from pool.map(attempt, names[start : start + AT_ONCE])


def decode(root: Path, names: Sequence[str], size: int, cache: Path) -> Decoded:
    """Read many photographs, once: what comes out is kept, and opened in later calls.

    Args:
        root: the folder that they lie in.
        names: the files, relative to `root`.
        size: width and height of the results, in pixels.
        cache: folder to keep the results in.

    Raises:
        DataError: not one of the files is an image, one cannot be opened, or the disk is full.

    """
    with disk_errors(root):
        fingerprint = hash_files(root, names)
        folder = cache / f"decoded-{fingerprint}-{size}px-v{VERSION}"
        make_once(
            folder,
            make=partial(_decode, root, names, size),
            is_whole=lambda path: _open(path, names, size) is not None,
        )
        opened = _open(folder, names, size)
    assert opened is not None, f"{folder} was whole a moment ago"
    images, skipped = opened
    kept = tuple(name for name in names if name not in skipped)
    return Decoded(images, kept, tuple(skipped.items()), fingerprint)


def hash_files(root: Path, names: Sequence[str]) -> str:
    """Return a hash of names and contents, whatever the order and wherever `root` is."""
    lines = sorted(f"{hash_file(root / name)} {name}\n" for name in names)
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextlib.contextmanager
def _pil_is_quiet() -> Iterator[None]:
    """Hide what PIL remarks on files that it reads all the same; too many pixels are an error.

    Python keeps one list of filters for all threads: this stands around a pool, not in it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _read(path: Path, size: int) -> np.ndarray:
    content = path.read_bytes()  # a disk that fails says nothing about the image: not caught
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _square(image, size)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("no image" if content else "empty file") from None
    except Exception as error:  # a damaged image fails in many ways, all meaning the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(reason) from error


def _square(image: Image.Image, size: int) -> np.ndarray:
    """Return an opened image as (size, size, 3) uint8."""
    if image.format == "EPS":
        raise UnreadableImage("PostScript, which is a program rather than a photograph")
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, and quicker. Twice the pixels that are
    # needed leave the filter below enough to choose from.
    image.draft(None, (2 * size, 2 * size))
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # All of the photograph is squashed into the square: to cut a square out of it could cut off
    # the animal, while a cat that is a little too slim remains a cat.
    square = _to_rgb(image).resize((size, size), Image.Resampling.LANCZOS)
    # PIL's own `exif_transpose` writes the EXIF anew, which fails where any other tag is damaged.
    turn = TURN_UPRIGHT.get(orientation)
    return np.array(square if turn is None else square.transpose(turn))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers, of which nobody knows the range")
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip at 255 rather than scale
        grey = (np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _decode(root: Path, names: Sequence[str], size: int, folder: Path) -> None:
    """Write the photographs as a `.npy` file and the list of their names to a new folder.

    The array is written like any file: a full disk is an error then. Where it is written through a
    memory map, a full disk kills the process.
    """
    folder.mkdir()
    skipped: dict[str, str] = {}
    with (folder / IMAGES).open("wb") as file:
        _write_header(file, len(names), size)
        bar = tqdm(names, desc="decoding", unit="photo", disable=None)
        for name, image in zip(bar, read_all(root, names, size), strict=True):
            if isinstance(image, UnreadableImage):
                skipped[name] = str(image)
            else:
                file.write(image.data)
        if len(skipped) == len(names):
            reason = f"{names[0]!r}: {skipped[names[0]]}" if names else "there is none"
            raise DataError(f"not one of {len(names):,} photographs can be read ({reason})")
        file.seek(0)
        _write_header(file, len(names) - len(skipped), size)
        file.flush()
        os.fsync(file.fileno())  # some file systems notice only now that they are full
    (folder / LIST).write_text(json.dumps({"names": names, "skipped": skipped}, indent=0))


def _write_header(file: IO[bytes], count: int, size: int) -> None:
    """Write the head of a `.npy` file; numpy pads it, so that it is as long for any count."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _open(
    folder: Path, names: Sequence[str], size: int
) -> tuple[np.ndarray, dict[str, str]] | None:
    """Return the images of a cache and what was skipped; None if it is damaged or not there."""
    try:
        listed = json.loads((folder / LIST).read_text())
        skipped: dict[str, str] = listed["skipped"]
        images = np.load(folder / IMAGES, mmap_mode="c")
        shape = (len(names) - len(skipped), size, size, 3)
        whole = listed["names"] == list(names) and images.shape == shape
    except Exception:  # a damaged cache can fail in many ways, all meaning the same
        return None
    return (images, skipped) if whole and images.dtype == np.uint8 else None

"""Image files as arrays: one file, or many that are decoded once and then memory-mapped."""

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
"""To be increased whenever a file gives different pixels, so that older caches are not used."""
PREFETCH = 64
"""Images decoded ahead of the one that is written; limits the memory."""
IMAGES, LIST = "images.npy", "list.json"

EXIF_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The inverse of each EXIF orientation, in which a camera records how it was held."""


class UnreadableImage(ValueError):  # noqa: N818, the name is clear
    """The file is not an image, or an incomplete one; the message is the reason, in one line."""


def read(path: Path, size: int) -> np.ndarray:
    """Read an image file, resized to a square.

    Args:
        path: the file, in any format that PIL reads.
        size: width and height of the result, in pixels.

    Returns:
        (size, size, 3) uint8, RGB, upright, transparent pixels on white.

    Raises:
        UnreadableImage: the file is not a complete image, or is far too large.
        OSError: the file cannot be opened.

    """
    with _quiet_pil():
        return _read(path, size)


class Decoded(NamedTuple):
    """The images that `decode` returns."""

    images: np.ndarray
    """(N, size, size, 3) uint8, RGB, memory-mapped; changes to it stay in memory."""
    names: tuple[str, ...]
    """The N files that could be read, in the order of the request."""
    skipped: tuple[tuple[str, str], ...]
    """The others, each with the reason."""
    fingerprint: str
    """Hash of the names and contents of all files."""


def read_all(root: Path, names: Sequence[str], size: int) -> Iterator[np.ndarray | UnreadableImage]:
    """Yield each image, or the reason why it cannot be read; several are decoded ahead.

    Args:
        root: folder of the files.
        names: their paths within it.
        size: see `read`.

    """

    def attempt(name: str) -> np.ndarray | UnreadableImage:
        try:
            return _read(root / name, size)
        except UnreadableImage as error:
            return error

    # Threads, because PIL releases the global interpreter lock while it decodes.
    with _quiet_pil(), ThreadPoolExecutor() as pool:
        for start in range(0, len(names), PREFETCH):
            yield from pool.map(attempt, names[start : start + PREFETCH])


def decode(root: Path, names: Sequence[str], size: int, cache: Path) -> Decoded:
    """Decode many images into a cache, which later calls only open.

    Args:
        root: folder of the files.
        names: the files, relative to `root`.
        size: width and height of the results, in pixels.
        cache: folder of the results.

    Raises:
        DataError: none of the files is an image, one cannot be opened, or the disk is full.

    """
    with disk_errors(root):
        fingerprint = hash_files(root, names)
        folder = cache / f"decoded-{fingerprint}-{size}px-v{VERSION}"
        make_once(
            folder,
            make=partial(_decode, root, names, size),
            is_complete=lambda path: _open(path, names, size) is not None,
        )
        opened = _open(folder, names, size)
    assert opened is not None, f"{folder} was complete a moment ago"
    images, skipped = opened
    kept = tuple(name for name in names if name not in skipped)
    return Decoded(images, kept, tuple(skipped.items()), fingerprint)


def hash_files(root: Path, names: Sequence[str]) -> str:
    """Return a hash of names and contents that depends neither on their order nor on `root`."""
    lines = sorted(f"{hash_file(root / name)} {name}\n" for name in names)
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@contextlib.contextmanager
def _quiet_pil() -> Iterator[None]:
    """Hide PIL's warnings about files that it can read; too many pixels are an error.

    Python has one list of warning filters for all threads: use this around a pool, not inside it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _read(path: Path, size: int) -> np.ndarray:
    content = path.read_bytes()  # a failing disk is not an unreadable image
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _square(image, size)
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not an image" if content else "empty file") from None
    except Exception as error:  # PIL raises many kinds of errors on a damaged image
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(reason) from error


def _square(image: Image.Image, size: int) -> np.ndarray:
    """Return an opened image as (size, size, 3) uint8."""
    if image.format == "EPS":
        raise UnreadableImage("PostScript is not supported")
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which is faster. Twice the final size
    # leaves enough detail for the filter below.
    image.draft(None, (2 * size, 2 * size))
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # The whole photograph is resized without keeping its aspect ratio: a square crop could cut off
    # the animal.
    square = _to_rgb(image).resize((size, size), Image.Resampling.LANCZOS)
    # PIL's own `exif_transpose` rewrites the EXIF data, which fails if any other tag is damaged.
    turn = EXIF_TRANSPOSE.get(orientation)
    return np.array(square if turn is None else square.transpose(turn))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels are not supported: their range is unknown")
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip at 255 rather than scale
        grey = (np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _decode(root: Path, names: Sequence[str], size: int, folder: Path) -> None:
    """Write the images as a `.npy` file and the list of their names to a new folder.

    The array is not written through a memory map, where a full disk would kill the process instead
    of raising an error.
    """
    folder.mkdir()
    skipped: dict[str, str] = {}
    with (folder / IMAGES).open("wb") as file:
        _write_header(file, len(names), size)
        bar = tqdm(names, desc="decoding", unit="image", disable=None)
        for name, image in zip(bar, read_all(root, names, size), strict=True):
            if isinstance(image, UnreadableImage):
                skipped[name] = str(image)
            else:
                file.write(image.data)
        if len(skipped) == len(names):
            reason = f"{names[0]!r}: {skipped[names[0]]}" if names else "there are no files"
            raise DataError(f"none of {len(names):,} photographs can be read ({reason})")
        file.seek(0)
        _write_header(file, len(names) - len(skipped), size)
        file.flush()
        os.fsync(file.fileno())  # some file systems report a full disk only here
    (folder / LIST).write_text(json.dumps({"names": names, "skipped": skipped}, indent=0))


def _write_header(file: IO[bytes], count: int, size: int) -> None:
    """Write the header of a `.npy` file; numpy pads it to the same length for any count."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, header)


def _open(
    folder: Path, names: Sequence[str], size: int
) -> tuple[np.ndarray, dict[str, str]] | None:
    """Return the images of a cache and the skipped files; None if it is damaged or missing."""
    try:
        listed = json.loads((folder / LIST).read_text())
        skipped: dict[str, str] = listed["skipped"]
        images = np.load(folder / IMAGES, mmap_mode="c")
        shape = (len(names) - len(skipped), size, size, 3)
        is_complete = listed["names"] == list(names) and images.shape == shape
    except Exception:  # a damaged cache raises many kinds of errors
        return None
    return (images, skipped) if is_complete and images.dtype == np.uint8 else None

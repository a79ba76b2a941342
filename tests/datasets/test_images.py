"""Image files of every kind as arrays, and the cache of many; pixels computed by other means."""

import errno
import json
import os
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import content_hashes, images
from datasets.content_hashes import hash_file, hash_files
from datasets.errors import DataError, disk_errors
from datasets.images import Decoded, UnreadableImage, read_all

ORIENTATION = 0x0112


def read(path: Path, size: int) -> np.ndarray:
    (image,) = read_all(path.parent, [path.name], size, "squish")
    if isinstance(image, UnreadableImage):
        raise image
    return image


def decode(root: Path, names: Sequence[str], size: int, cache: Path) -> Decoded:
    with disk_errors(root):
        hashes = hash_files(root, names, cache)
    return images.decode(root, hashes, size, cache, "squish")


def slope(width: int, height: int) -> np.ndarray:
    """Return (height, width, 3): red rises to the right, green downwards, blue is 60."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    red, green = np.meshgrid(250 * x, 250 * y)
    return np.stack([red, green, np.full_like(red, 60)], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("name", ["slope.png", "slope.jpg", "slope.bmp", "slope.tiff"])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (700, 1200), (20, 40)])
def test_the_whole_image_is_resized(tmp_path: Path, name: str, width: int, height: int) -> None:
    Image.fromarray(slope(width, height)).save(tmp_path / name, quality=95)
    pixels = read(tmp_path / name, 50)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (50, 50, 3)
    difference = np.abs(pixels.astype(int) - slope(50, 50))
    assert difference[1:-1, 1:-1].max() <= 8
    assert difference.mean() < 2


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (700, 1200), (20, 40)])
def test_a_crop_shows_the_middle_in_proportion(tmp_path: Path, width: int, height: int) -> None:
    """As torchvision's presets: the shorter side to 8/7 of the size, then the central square."""
    Image.fromarray(slope(width, height)).save(tmp_path / "slope.png")
    (pixels,) = read_all(tmp_path, ["slope.png"], 56, "crop")
    assert isinstance(pixels, np.ndarray)
    factor = 64 / min(width, height)
    columns = (np.arange(56) + 0.5 - 28) / (width * factor) + 0.5  # 28: half of the square
    rows = (np.arange(56) + 0.5 - 28) / (height * factor) + 0.5
    expected = np.stack(np.meshgrid(250 * columns, 250 * rows), axis=-1)
    assert np.abs(pixels[..., :2] - expected).max() <= 3


def test_each_way_of_resizing_has_its_own_cache(tmp_path: Path) -> None:
    Image.fromarray(slope(40, 20)).save(tmp_path / "slope.png")
    hashes = hash_files(tmp_path, ["slope.png"], tmp_path)
    whole = images.decode(tmp_path, hashes, 16, tmp_path, "squish").images
    middle = images.decode(tmp_path, hashes, 16, tmp_path, "crop").images
    assert np.ptp(middle[..., 0]) < 0.6 * np.ptp(whole[..., 0]), "half of the width, less a margin"


def test_fine_detail_becomes_grey_and_no_other_pattern(tmp_path: Path) -> None:
    """Every pixel is the mean of a board of black and white; taking each tenth makes bars."""
    board = np.indices((330, 330)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    assert np.abs(read(tmp_path / "board.png", 32).astype(int) - 127).max() <= 2


def test_a_large_jpeg_is_decoded_small_but_not_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(slope(1600, 1200)).save(tmp_path / "large.jpg")
    decoded = []
    resize = Image.Image.resize

    def spy(image: Image.Image, size: tuple[int, int], *rest: Any) -> Image.Image:
        decoded.append(image.size)
        return resize(image, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", spy)
    for size in (64, 300, 601):
        read(tmp_path / "large.jpg", size)
    assert decoded == [(200, 150), (800, 600), (1600, 1200)]


# How an upright image is stored with each EXIF orientation.
AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", AS_STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_photographs_are_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[orientation](slope(90, 60))))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / f"x.{suffix}", exif=exif, quality=95)
    difference = read(tmp_path / f"x.{suffix}", 16).astype(int) - slope(16, 16)
    assert np.abs(difference).mean() < 3


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (12, 9), colour)  # type: ignore[arg-type]


def palette(transparent: bool) -> Image.Image:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    if transparent:
        image.info["transparency"] = 1
    return image


KINDS: dict[str, tuple[Image.Image, tuple[int, int, int]]] = {
    "grey.png": (plain("L", 100), (100, 100, 100)),
    "grey.jpg": (plain("L", 100), (100, 100, 100)),
    "black_and_white.png": (plain("1", 1), (255, 255, 255)),
    "grey_16_bits.png": (plain("I;16", 32768), (128, 128, 128)),
    "grey_16_bits.tiff": (plain("I;16", 257 * 77), (77, 77, 77)),
    "grey_32_bits.tiff": (plain("I", 70_000), (255, 255, 255)),
    "cmyk.jpg": (plain("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
    "cmyk.tiff": (plain("CMYK", (255, 0, 0, 51)), (0, 204, 204)),
    "palette.gif": (palette(transparent=False), (200, 100, 50)),
    "palette.png": (palette(transparent=False), (200, 100, 50)),
    "clear_palette.gif": (palette(transparent=True), (255, 255, 255)),
    "clear_palette.png": (palette(transparent=True), (255, 255, 255)),
    "alpha.png": (plain("RGBA", (200, 0, 0, 51)), (244, 204, 204)),
    "clear.png": (plain("RGBA", (200, 0, 0, 0)), (255, 255, 255)),
    "clear.webp": (plain("RGBA", (200, 0, 0, 0)), (255, 255, 255)),
    "grey_alpha.png": (plain("LA", (0, 51)), (204, 204, 204)),
    "misnamed.jpg": (plain("RGB", (1, 2, 3)), (1, 2, 3)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path, name: str) -> None:
    image, colour = KINDS[name]
    image.save(tmp_path / name, "PNG" if name == "misnamed.jpg" else None)
    pixels = read(tmp_path / name, 8)
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= 2


def test_a_palette_with_half_clear_colours_and_a_clear_colour_key(tmp_path: Path) -> None:
    palette(transparent=False).save(tmp_path / "x.png", transparency=bytes([255, 51]))
    assert read(tmp_path / "x.png", 8)[0, 0].tolist() == [244, 224, 214]
    plain("RGB", (9, 9, 9)).save(tmp_path / "x.png", transparency=(9, 9, 9))
    assert read(tmp_path / "x.png", 8)[0, 0].tolist() == [255, 255, 255]


def test_a_damaged_tag_neither_loses_the_photograph_nor_causes_a_warning(tmp_path: Path) -> None:
    tags = [
        struct.pack("<HHLHxx", ORIENTATION, 3, 1, 6),
        struct.pack("<HHLL", 0x010E, 2, 999, 500),  # text that would lie behind the file's end
    ]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    stored = Image.fromarray(np.ascontiguousarray(AS_STORED[6](slope(90, 60))))
    stored.save(tmp_path / "x.jpg", exif=exif, quality=95)
    with (
        pytest.warns(UserWarning, match="larger than file"),
        Image.open(tmp_path / "x.jpg") as image,
    ):
        image.getexif()
    difference = read(tmp_path / "x.jpg", 16).astype(int) - slope(16, 16)
    assert np.abs(difference).mean() < 3


def cut(name: str, image: Image.Image) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        image.save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])

    return write


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text.jpg": (lambda folder: (folder / "text.jpg").write_text("a cat"), "not an image"),
    "empty.jpg": (lambda folder: (folder / "empty.jpg").touch(), "empty file"),
    "cut.jpg": (cut("cut.jpg", Image.fromarray(slope(90, 90))), "truncated"),
    "cut.png": (cut("cut.png", Image.fromarray(slope(90, 90))), "truncated"),
    "cut.gif": (cut("cut.gif", Image.fromarray(slope(90, 90)).convert("P")), "truncated"),
    "float.tiff": (lambda folder: plain("F", 0.5).save(folder / "float.tiff"), "floating-point"),
    "script.eps": (lambda folder: plain("L", 5).save(folder / "script.eps"), "PostScript"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_image_gives_the_reason(tmp_path: Path, name: str) -> None:
    write, reason = UNREADABLE[name]
    write(tmp_path)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read(tmp_path / name, 8)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


@pytest.mark.parametrize("limit", [100, 15])
def test_absurdly_many_pixels_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """PIL only warns of one to two times its limit."""
    plain("RGB", (9, 9, 9)).save(tmp_path / "x.png")  # 108 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImage, match=rf"at most {limit}$|decompression bomb"):
        read(tmp_path / "x.png", 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write 80 images, two of them unreadable, to a folder."""
    folder = tmp_path / "root"
    folder.mkdir()
    for number in range(80):
        Image.new("RGB", (9, 9), (number, 0, 255 - number)).save(folder / f"{number}.png")
    (folder / "3.png").write_text("a cat")
    (folder / "70.png").write_bytes(b"")
    return folder


NAMES = [f"{number}.png" for number in reversed(range(80))]
SKIPPED = (("70.png", "empty file"), ("3.png", "not an image"))


def check(decoded: Decoded) -> None:
    assert decoded.names == tuple(name for name in NAMES if name not in ("70.png", "3.png"))
    assert decoded.skipped == dict(SKIPPED)
    colours = [[int(name[:-4]), 0, 255 - int(name[:-4])] for name in decoded.names]
    expected = np.broadcast_to(np.array(colours)[:, None, None], (78, 8, 8, 3))
    assert np.array_equal(decoded.images, expected)
    assert decoded.images.dtype == np.uint8


def visible(folder: Path) -> list[str]:
    """List the files in a folder except empty locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def never(*_: object) -> None:
    pytest.fail("decoded again")


def test_many_are_decoded_once_and_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    check(decode(root, NAMES, 8, cache))
    monkeypatch.setattr(images, "_read", never)
    again = decode(root, NAMES, 8, cache)
    check(again)
    assert isinstance(again.images, np.memmap)
    torch.from_numpy(again.images)[:] = 7  # no warning, and nothing that others would see
    check(decode(root, NAMES, 8, cache))
    (folder,) = visible(cache)
    assert np.load(cache / folder / images.IMAGES).shape == (78, 8, 8, 3)


def test_the_fingerprint_is_of_names_and_contents_alone(root: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path, names: list[str]) -> str:
        return content_hashes.fingerprint({name: hash_file(folder / name) for name in names})

    first = fingerprint(root, NAMES)
    moved = root.rename(tmp_path / "moved")
    os.utime(moved / "0.png", (0, 0))
    assert fingerprint(moved, sorted(NAMES)) == first
    content = (moved / "0.png").read_bytes()
    (moved / "0.png").write_bytes(content + b"x")
    assert fingerprint(moved, NAMES) != first
    (moved / "0.png").write_bytes(content)
    (moved / "0.png").rename(moved / "zero.png")
    assert fingerprint(moved, ["zero.png", *NAMES[:-1]]) != first


def test_other_sizes_contents_orders_and_versions_are_decoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    decode(root, NAMES, 8, cache)
    assert decode(root, NAMES, 10, cache).images.shape == (78, 10, 10, 3)
    reverse = decode(root, NAMES[::-1], 8, cache)
    assert reverse.names[0] == "0.png"
    assert reverse.images[0, 0, 0].tolist() == [0, 0, 255]
    check(decode(root, NAMES, 8, cache))
    Image.new("RGB", (9, 9)).save(root / "3.png")
    assert len(decode(root, NAMES, 8, cache).names) == 79
    assert len(visible(cache)) == 3
    monkeypatch.setattr(images, "VERSION", images.VERSION + 1)
    decode(root, NAMES, 8, cache)
    assert len(visible(cache)) == 4


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "array cut off": lambda folder: shorten(folder / images.IMAGES),
    "array empty": lambda folder: (folder / images.IMAGES).write_bytes(b""),
    "array missing": lambda folder: (folder / images.IMAGES).unlink(),
    "other shape": lambda folder: np.save(
        folder / images.IMAGES, np.zeros((77, 8, 8, 3), np.uint8)
    ),
    "other type": lambda folder: np.save(folder / images.IMAGES, np.zeros((78, 8, 8, 3), np.int8)),
    "list cut off": lambda folder: shorten(folder / images.LIST),
    "list missing": lambda folder: (folder / images.LIST).unlink(),
    "other names": lambda folder: (folder / images.LIST).write_text(
        json.dumps({"names": ["a"], "skipped": {}})
    ),
    "no list": lambda folder: (folder / images.LIST).write_text("[]"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_cache_is_replaced(root: Path, tmp_path: Path, how: str) -> None:
    cache = tmp_path / "cache"
    decode(root, NAMES, 8, cache)
    (folder,) = cache.glob("decoded*")
    DAMAGE[how](folder)
    check(decode(root, NAMES, 8, cache))
    assert visible(cache) == [folder.name]


@pytest.mark.parametrize("moment", ["_write_header", "fsync"])
def test_after_a_full_disk_decoding_is_resumed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(images if moment == "_write_header" else os, moment, fail)
        with pytest.raises(DataError, match=r"^disk full while writing /.*cache/decoded-\S*$"):
            decode(root, NAMES, 8, tmp_path / "cache")
    check(decode(root, NAMES, 8, tmp_path / "cache"))
    (made,) = visible(tmp_path / "cache")
    assert not made.endswith(".partial")


@pytest.mark.parametrize("done", [1, 5, 10])
def test_what_was_decoded_before_a_kill_is_not_decoded_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    paths: list[Path] = []

    def killed(path: Path, *how: Any) -> np.ndarray:
        paths.append(path)
        if len(paths) > done:
            raise KeyboardInterrupt
        return original(path, *how)

    original = images._read
    monkeypatch.setattr(images, "IMAGES_BETWEEN_LISTS", 3)
    monkeypatch.setattr(images, "PREFETCH", 1)
    monkeypatch.setattr(images, "_read", killed)
    with pytest.raises(KeyboardInterrupt):
        decode(root, NAMES, 8, tmp_path / "cache")
    paths.clear()
    kept = done // 3 * 3
    done = len(NAMES)
    check(decode(root, NAMES, 8, tmp_path / "cache"))
    assert [path.name for path in paths] == NAMES[kept:]


def test_no_image_among_them_or_a_file_gone_are_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^no photograph can be read, of 2 \('3.png': not an image\)$"
    ):
        decode(root, ["3.png", "70.png"], 8, tmp_path / "cache")
    with pytest.raises(DataError, match=r"root/gone.png: No such file or directory$"):
        decode(root, ["1.png", "gone.png"], 8, tmp_path / "cache")
    assert visible(tmp_path / "cache") == []


def test_two_at_once_decode_each_photograph_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []

    def spy(path: Path, *how: Any) -> np.ndarray:
        paths.append(path)
        return original(path, *how)

    original = images._read
    monkeypatch.setattr(images, "_read", spy)
    results: list[Decoded] = []
    threads = [
        threading.Thread(target=lambda: results.append(decode(root, NAMES, 8, tmp_path / "cache")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for decoded in results:
        check(decoded)
    assert len(results) == 2
    assert sorted(paths) == sorted(root / name for name in NAMES)

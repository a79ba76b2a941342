"""Files and folders from elsewhere: fetched and unpacked whole, or not there at all."""

import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from datasets.errors import DataError, disk_errors

TIMEOUT_SECONDS = 30
"""How long a server may be silent."""
CHUNK_BYTES = 2**16

# What a zip may unpack to: far more than any collection of photographs here, far less than a disk.
MAX_FILES = 100_000
MAX_FILE_BYTES = 2**28
MAX_TOTAL_BYTES = 2**33
MAX_RATIO = 100
"""Unpacked bytes per byte of the archive: photographs are compressed already, and stay near 1."""


def make_once(
    path: Path, make: Callable[[Path], None], is_whole: Callable[[Path], bool] = Path.exists
) -> None:
    """Make a file or folder once, under a name that it bears only when it is whole.

    Of several processes that want it at once, one makes it; the others wait, and find it.

    Args:
        path: what is to be there afterwards.
        make: called with a temporary name beside `path`, where nothing is, to write to.
        is_whole: whether what lies at `path` can be used; if not, it is made anew.

    Raises:
        DataError: the disk is full, or may not be written to.

    """
    with disk_errors(path):
        if is_whole(path):  # asked before the lock is made: it may lie where nothing can be written
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if is_whole(path):
                return
            temporary = path.with_name(f".{path.name}.partial")
            _remove(temporary)  # what a killed process has left
            try:
                make(temporary)
                os.sync()  # the bytes are on the disk before the name is, should the power fail
                _remove(path)
                temporary.replace(path)
            finally:
                _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def download(url: str, path: Path, size_bytes: int) -> None:
    """Fetch a file of known size, unless it is there; go on where an earlier attempt broke off.

    Args:
        url: where it is.
        path: where it is to be; what has come so far lies beside it, as `<name>.partial`.
        size_bytes: its size.

    Raises:
        DataError: no network, no such file there, one of another size, or the disk is full.

    """
    if path.exists():
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.exists():
                return
            partial_path = path.with_name(f"{path.name}.partial")
            _fetch(url, partial_path, size_bytes)
            partial_path.replace(path)


def _fetch(url: str, path: Path, size_bytes: int) -> None:
    """Bring `path`, which holds the first bytes or is not there, to its full size."""
    start = path.stat().st_size if path.exists() else 0
    if start != size_bytes:
        try:
            with _request(url, start) as response:
                _receive(response, path, size_bytes)
        except requests.RequestException as error:
            status = f"status {error.response.status_code}" if error.response is not None else ""
            reason = status or type(error).__name__
            raise DataError(f"{url} cannot be downloaded ({reason})") from error
    received = path.stat().st_size
    if received != size_bytes:
        path.unlink()
        raise DataError(f"{url} sent {received:,} bytes, not the {size_bytes:,} that it should")


def _request(url: str, start: int) -> requests.Response:
    """Ask for the bytes from `start` on; the answer may be the whole file all the same."""
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
    if start:
        headers["Range"] = f"bytes={start}-"
    response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
    if start and response.status_code in (206, 416) and _first_byte(response) != start:
        response.close()
        return _request(url, 0)  # what is here is no part of what is there
    response.raise_for_status()
    return response


def _first_byte(response: requests.Response) -> int:
    """Return where in the file an answer begins: 0 unless it is a partial one that says so."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found and response.status_code == 206 else 0


def _receive(response: requests.Response, path: Path, size_bytes: int) -> None:
    """Add a partial answer to `path`, or put a whole one there."""
    start = _first_byte(response)
    announced = response.raw.length_remaining  # None where the server does not say
    if announced is not None and start + announced != size_bytes:
        # Nothing of it is kept: it may be a page that asks for a password, sent in its place.
        reason = f"{start + announced:,} bytes are there, not the {size_bytes:,} that there should"
        raise DataError(f"{response.url} is another file: {reason}")
    with (
        path.open("ab" if start else "wb") as file,
        tqdm(
            desc="downloading",
            total=size_bytes,
            initial=start,
            unit="B",
            unit_scale=True,
            disable=None,
        ) as bar,
    ):
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > size_bytes:  # it need never end
                break


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip into `folder`, unless that is there.

    An archive is hostile until shown otherwise: nothing is written before every entry is known to
    be a file or folder that stays inside `folder`, and all of them together to be of sound size.

    Raises:
        DataError: no zip, a damaged or encrypted one, an entry that is not allowed, or a full disk.

    """
    make_once(folder, partial(_unpack, archive))


def _unpack(archive: Path, folder: Path) -> None:
    with _open(archive) as opened:
        entries = opened.infolist()
        _check_sizes(entries, archive.stat().st_size)
        names = set()
        for entry in entries:
            _check(entry)
            if entry.filename in names:
                raise DataError(f"entry {entry.filename!r} stands in the archive twice")
            names.add(entry.filename)
        folder.mkdir()
        for entry in tqdm(entries, desc="unpacking", unit="file", disable=None):
            _write(opened, entry, folder / entry.filename)


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except OSError:
        raise
    except Exception as error:  # a damaged table of contents fails in many ways
        raise DataError(f"{archive.name} is no zip archive, or a damaged one ({error})") from error


def _check_sizes(entries: Sequence[zipfile.ZipInfo], archive_bytes: int) -> None:
    total = sum(entry.file_size for entry in entries)
    limit = min(MAX_TOTAL_BYTES, MAX_RATIO * archive_bytes)
    if len(entries) > MAX_FILES:
        raise DataError(f"the archive holds {len(entries):,} files, more than {MAX_FILES:,}")
    if total > limit:
        raise DataError(f"the archive would unpack to {total:,} bytes, more than {limit:,}")


def _check(entry: zipfile.ZipInfo) -> None:
    """Raise DataError unless `entry` is a plain file or folder below the one it is unpacked to."""
    name = entry.orig_filename  # as it stands there; `filename` ends at a zero byte
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive says nothing of it
    problems = {
        "does not stay in its folder": re.match(r"/|[A-Za-z]:", name) or ".." in name.split("/"),
        "has a name that no file should have": not name or "\\" in name or "\0" in name,
        "is neither a file nor a folder": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": entry.flag_bits & 1,
        "is compressed by a method other than deflate": entry.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        f"is larger than {MAX_FILE_BYTES:,} bytes": entry.file_size > MAX_FILE_BYTES,
    }
    for problem, found in problems.items():
        if found:
            raise DataError(f"entry {name!r} of the archive {problem}")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Write one entry; no more bytes than it announced ever come out of it."""
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as target, opened.open(entry) as source:
            shutil.copyfileobj(source, target)
    except OSError:
        raise
    except Exception as error:  # wrong checksum, deflated wrongly, cut off: it is damaged
        raise DataError(f"entry {entry.filename!r} of the archive is damaged ({error})") from error

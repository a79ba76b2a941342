"""Download files and unpack archives: completely, or not at all."""

import contextlib
import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import requests
from filelock import FileLock
from tqdm import tqdm

from datasets.errors import DataError, disk_errors

TIMEOUT_SECONDS = 30
"""How long a server may take to respond."""
CHUNK_BYTES = 2**16

# Limits of an unpacked zip: far more than any data set of photographs here, far less than a disk.
MAX_FILES = 100_000
MAX_FILE_BYTES = 2**28
MAX_TOTAL_BYTES = 2**33
MAX_RATIO = 100
"""Unpacked bytes per byte of the archive: about 1 for photographs, which are compressed already."""
MAX_DEPTH = 50
"""Folders within one another; a file system's own limit depends on the folder they are put in."""
MAX_NAME_BYTES = 255
"""Of a file or folder, as usual file systems allow."""


def make_once(
    path: Path,
    make: Callable[[Path], None],
    is_complete: Callable[[Path], bool] = Path.exists,
    *,
    resumable: bool = False,
) -> None:
    """Make a file or folder once and atomically: `path` exists only once it is complete.

    If several processes need it at the same time, one makes it and the others wait.

    Args:
        path: the file or folder.
        make: called with `<name>.partial` in the same folder, to which it writes.
        is_complete: whether an existing `path` is valid; if not, it is made again.
        resumable: if `make` fails, keep what it has written, and call it with that the next time.

    Raises:
        DataError: the disk is full, or cannot be written to.

    """
    with disk_errors(path):
        if is_complete(path):  # before the lock, because the folder may be read-only
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if is_complete(path):
                return
            temporary = path.with_name(f"{path.name}.partial")
            if not resumable:
                _remove(temporary)  # left over from a process that was killed
            try:
                make(temporary)
                if sys.platform != "win32":
                    os.sync()  # in case of a power failure, write the contents before the name
                _remove(path)
                temporary.replace(path)
            finally:
                if not resumable:
                    _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def download(url: str, path: Path, size_bytes: int) -> None:
    """Download a file of a known size unless it exists; resume an interrupted download.

    Raises:
        DataError: there is no network, no such file, its size differs, or the disk is full.

    """
    make_once(path, partial(_fetch, url, size_bytes), resumable=True)


def _fetch(url: str, size_bytes: int, path: Path) -> None:
    """Complete `path`, which contains the first bytes or does not exist."""
    start = path.stat().st_size if path.exists() else 0
    try:
        if start != size_bytes:
            with _request(url, start) as response:
                _receive(response, path, size_bytes)
    except requests.RequestException as error:
        status = None if error.response is None else f"status {error.response.status_code}"
        reason = status or type(error).__name__
        raise DataError(f"{url} cannot be downloaded ({reason})") from error
    received = path.stat().st_size
    if received != size_bytes:
        path.unlink()
        raise DataError(f"{url} sent {received:,} bytes instead of {size_bytes:,}")


def _request(url: str, start: int) -> requests.Response:
    """Request the bytes from `start` on; the server may send the whole file nevertheless."""
    headers = {"Accept-Encoding": "identity"}  # ranges refer to the uncompressed file
    if start:
        headers["Range"] = f"bytes={start}-"
    response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS)
    if start and response.status_code in (206, 416) and _first_byte(response) != start:
        response.close()
        return _request(url, 0)  # the file on the server is another one
    response.raise_for_status()
    return response


def _first_byte(response: requests.Response) -> int:
    """Return the position in the file of the first byte of a response: 0 unless it is partial."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found and response.status_code == 206 else 0


def _receive(response: requests.Response, path: Path, size_bytes: int) -> None:
    """Append a partial response to `path`, or write a complete one."""
    start = _first_byte(response)
    announced = response.raw.length_remaining  # None if the server does not announce it
    if announced is not None and start + announced != size_bytes:
        # Nothing of it is stored: it may be a login page in place of the file.
        reason = f"{start + announced:,} bytes instead of {size_bytes:,}"
        raise DataError(f"{response.url} is another file: {reason}")
    bar = tqdm(
        desc="downloading", total=size_bytes, initial=start, unit="B", unit_scale=True, disable=None
    )
    with bar, path.open("ab" if start else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > size_bytes:  # the response could be endless
                break


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip into `folder`, unless that exists.

    Archives are not trusted: before anything is written, every entry is checked to be a file or
    folder inside `folder`, no two to be the same, and their total size to be within limits. A
    backslash separates folders, too, as some programs write it on Windows.

    Raises:
        DataError: not a zip, a damaged or encrypted one, an invalid entry, or a full disk.

    """
    make_once(folder, partial(_unpack, archive))


def _unpack(archive: Path, folder: Path) -> None:
    with _zip_errors(f"{archive.name} is not a zip archive, or is damaged"):
        opened = zipfile.ZipFile(archive)
    with opened:
        entries = opened.infolist()
        _check(entries, archive.stat().st_size)
        folder.mkdir()
        for entry in tqdm(entries, desc="unpacking", unit="file", disable=None):
            path = folder.joinpath(*_parts(entry))
            if _is_folder(entry):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with (
                _zip_errors(f"entry {entry.filename!r} of the archive is damaged"),
                path.open("xb") as target,
                opened.open(entry) as source,
            ):
                shutil.copyfileobj(source, target)  # never more bytes than the entry announced


def _path(entry: zipfile.ZipInfo) -> str:
    """Return the path of an entry as it is stored, with slashes between folders."""
    return entry.orig_filename.replace("\\", "/")  # `filename` ends at a zero byte


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """Return the names of the folders around an entry, and its own: the same for a/b and a/./b."""
    return tuple(part for part in _path(entry).split("/") if part not in ("", "."))


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return _path(entry).endswith("/")


@contextlib.contextmanager
def _zip_errors(problem: str) -> Iterator[None]:
    """Turn the many kinds of errors that zipfile raises on a damaged archive into DataError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise DataError(f"{problem} ({error})") from error


def _check(entries: Sequence[zipfile.ZipInfo], archive_bytes: int) -> None:
    """Raise DataError unless the entries are regular files and folders that may be unpacked."""
    total = sum(entry.file_size for entry in entries)
    limit = min(MAX_TOTAL_BYTES, MAX_RATIO * archive_bytes)
    if len(entries) > MAX_FILES:
        raise DataError(f"the archive contains {len(entries):,} files, more than {MAX_FILES:,}")
    if total > limit:
        raise DataError(f"the archive would unpack to {total:,} bytes, more than {limit:,}")
    for entry in entries:
        name, path, parts = entry.orig_filename, _path(entry), _parts(entry)
        is_outside = re.match(r"/|[A-Za-z]:", path) or ".." in parts
        is_named = bool(parts) or _is_folder(entry)
        is_too_long = any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts)
        kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the archive does not specify it
        is_deflated = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        problems = {
            "is outside the target folder": is_outside,
            "has an invalid name": not is_named or "\0" in name or is_too_long,
            f"is nested too deeply, in more than {MAX_DEPTH} folders": len(parts) - 1 > MAX_DEPTH,
            "is neither a file nor a folder": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
            "is encrypted": entry.flag_bits & 1,
            "is compressed by a method other than deflate": not is_deflated,
            f"is larger than {MAX_FILE_BYTES:,} bytes": entry.file_size > MAX_FILE_BYTES,
        }
        for problem, found in problems.items():
            if found:
                raise DataError(f"entry {_short(name)} of the archive {problem}")
    _check_paths(entries)


def _check_paths(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raise DataError if two entries are the same file, or one is a file and a folder."""
    files: dict[tuple[str, ...], str] = {}
    folders: set[tuple[str, ...]] = set()
    for entry in entries:
        name, parts = entry.orig_filename, _parts(entry)
        folders.update(parts[:end] for end in range(len(parts)))
        if _is_folder(entry):
            folders.add(parts)
        elif parts in files:
            raise DataError(
                f"entries {_short(files[parts])} and {_short(name)} of the archive are one file"
            )
        else:
            files[parts] = name
    for parts in sorted(folders & files.keys()):
        raise DataError(f"entry {_short(files[parts])} of the archive is both a file and a folder")


def _short(name: str) -> str:
    """Return a name as a message shows it: of a long one, its beginning and its end."""
    return repr(name if len(name) <= MAX_NAME_BYTES else f"{name[:40]}...{name[-40:]}")

"""Interrupted downloads and malicious archives give complete files and folders, or none."""

import errno
import re
import shutil
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datasets import archives
from datasets.archives import download, extract, make_once
from datasets.errors import DataError
from tests.conftest import ROOT

CONTENT = bytes(range(256)) * 1000


class Server(ThreadingHTTPServer):
    """Serves CONTENT, correctly or not, and records the requested ranges."""

    ranges = True
    sends_length = True
    breaks_after = len(CONTENT)
    starts_at_least = 0
    requested: list[str | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.zip"


class Handler(BaseHTTPRequestHandler):
    """Responds as its server specifies."""

    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.requested.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        if "missing" in self.path:
            return self.send_error(404)
        if start >= len(CONTENT):
            return self.send_error(416)
        start = max(start, server.starts_at_least) if start else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if server.sends_length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + server.breaks_after])
        return None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, named by the library
        """Log nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_complete_and_happens_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.zip"
    for _ in range(2):
        download(server.url, path, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert server.requested == [None]
    assert visible(path.parent) == ["file.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path, ranges: bool) -> None:
    path = tmp_path / "file.zip"
    server.breaks_after = 2 * archives.CHUNK_BYTES
    with pytest.raises(DataError, match=r"^http\S+ cannot be downloaded \(ChunkedEncodingError\)$"):
        download(server.url, path, len(CONTENT))
    assert (tmp_path / "file.zip.partial").read_bytes() == CONTENT[:131_072]
    assert not path.exists()

    server.ranges, server.breaks_after = ranges, len(CONTENT)
    download(server.url, path, len(CONTENT))
    assert server.requested == [None, "bytes=131072-"]
    assert path.read_bytes() == CONTENT
    assert visible(tmp_path) == ["file.zip"]


@pytest.mark.parametrize("left", [len(CONTENT) + 1, 5])
def test_a_partial_file_that_does_not_fit_is_downloaded_again(
    server: Server, tmp_path: Path, left: int
) -> None:
    """A part longer than the file (416), and a server that resumes elsewhere."""
    (tmp_path / "file.zip.partial").write_bytes(b"x" * left)
    server.starts_at_least = 10
    download(server.url, tmp_path / "file.zip", len(CONTENT))
    assert server.requested == [f"bytes={left}-", None]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_complete_partial_file_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "file.zip.partial").write_bytes(CONTENT)
    download("http://127.0.0.1:1/", tmp_path / "file.zip", len(CONTENT))
    assert visible(tmp_path) == ["file.zip"]


@pytest.mark.parametrize("sends_length", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size_is_refused(
    server: Server, tmp_path: Path, size: int, sends_length: bool
) -> None:
    server.sends_length = sends_length
    with pytest.raises(DataError, match=rf"256,000 bytes instead of {size:,}$"):
        download(server.url, tmp_path / "file.zip", size)
    assert visible(tmp_path) == []


def test_a_response_that_is_too_long_is_aborted(server: Server, tmp_path: Path) -> None:
    server.sends_length = False
    with pytest.raises(DataError, match=rf"sent {archives.CHUNK_BYTES:,} bytes"):
        download(server.url, tmp_path / "file.zip", 1000)
    assert visible(tmp_path) == []


def test_no_server_and_no_file(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    with pytest.raises(DataError, match=r"missing cannot be downloaded \(status 404\)$"):
        download(f"{server.url}missing", path, 5)
    with pytest.raises(DataError, match=r"^http://127.0.0.1:1/ cannot .* \(ConnectionError\)$"):
        download("http://127.0.0.1:1/", path, 5)
    assert visible(tmp_path) == []


def visible(folder: Path) -> list[str]:
    """List the files in a folder except empty locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


PICTURES = {"a/cat.jpg": b"cat", "a/b/dog.jpg": b"dog" * 50, "empty": b""}


def zip_of(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(
                name
            )  # its fixed date, unlike that of today, contains known bytes
            archive.writestr(entry, content, method)
    return path


def contents_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zip_of(tmp_path / "a.zip", PICTURES | {"folder/": b""})
    target = tmp_path / "new" / "target"
    extract(archive, target)
    assert contents_of(target) == PICTURES
    assert (target / "folder").is_dir()
    assert visible(target.parent) == ["target"]
    monkeypatch.delattr(archives, "_check")  # which would be called
    extract(archive, target)


def refuse(archive: Path, reason: str) -> None:
    """Check that unpacking fails for this reason and leaves no files."""
    around = archive.parent / "around"
    with pytest.raises(DataError, match=reason) as caught:
        extract(archive, around / "target")
    assert "\n" not in str(caught.value)
    assert visible(around) == []
    assert sorted(path.name for path in archive.parent.iterdir()) == [archive.name, "around"]


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/cat", "../cat", "a/../../cat", "..", "C:/cat", "c:cat", "//x/cat"),
        *("..\\cat", "a\\..\\..\\cat", "\\etc\\cat", "\\\\x\\cat", "C:\\cat", "a/..\\../cat"),
    ],
)
def test_an_entry_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", {"first.jpg": b"fine", name: b"not"})
    refuse(archive, rf"^entry {re.escape(repr(name))} of the archive is outside the target folder$")


def test_backslashes_separate_folders_as_on_windows(tmp_path: Path) -> None:
    windows = {name.replace("/", "\\"): content for name, content in PICTURES.items()}
    archive = zip_of(tmp_path / "a.zip", windows | {"folder\\": b""})
    extract(archive, tmp_path / "target")
    assert contents_of(tmp_path / "target") == PICTURES
    assert (tmp_path / "target" / "folder").is_dir()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a/b", "a/./b"], "entries 'a/b' and 'a/./b' of the archive are one file"),
        (["a/b", "./a//b"], "entries 'a/b' and './a//b' of the archive are one file"),
        (["a/b", r"a\b"], r"entries 'a/b' and 'a\\b' of the archive are one file"),
        (["a", "a/b"], "entry 'a' of the archive is both a file and a folder"),
        (["a/b", "a"], "entry 'a' of the archive is both a file and a folder"),
        (["a", "a/"], "entry 'a' of the archive is both a file and a folder"),
        (["."], "entry '.' of the archive has an invalid name"),
        (["x" * 256], "of the archive has an invalid name"),
        (["ü" * 128], "of the archive has an invalid name"),
        (["d/" * 51 + "x"], "of the archive is nested too deeply, in more than 50 folders"),
        (["d/" * 20_000 + "x"], "of the archive is nested too deeply, in more than 50 folders"),
    ],
)
def test_entries_that_cannot_all_be_unpacked_are_refused(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    refuse(zip_of(tmp_path / "a.zip", dict.fromkeys(names, b"")), f"{re.escape(reason)}$")


def test_folders_may_be_listed_twice_and_nested(tmp_path: Path) -> None:
    deep = "d/" * 50 + "x"
    archive = zip_of(tmp_path / "a.zip", {"a/": b"", "a/./": b"", "./": b"", deep: b"cat"})
    extract(archive, tmp_path / "target")
    assert contents_of(tmp_path / "target") == {deep: b"cat"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_an_entry_that_is_no_regular_file_is_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    refuse(tmp_path / "a.zip", "^entry 'link' of the archive is neither a file nor a folder$")


def patched(archive: Path, *changes: tuple[bytes, int, bytes]) -> None:
    """Overwrite bytes of an archive, each at an offset from the first occurrence of a mark."""
    content = bytearray(archive.read_bytes())
    for mark, offset, new in changes:
        at = content.index(mark) + offset
        content[at : at + len(new)] = new
    archive.write_bytes(content)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "checksum": (lambda a: patched(a, (b"catcat", 0, b"dog")), "^entry 'x' .* damaged .*CRC"),
    "encrypted": (
        lambda a: patched(a, (LOCAL, 6, b"\x01"), (CENTRAL, 8, b"\x01")),
        "^entry 'x' .* encrypted$",
    ),
    "method": (lambda a: patched(a, (CENTRAL, 10, b"\x0e")), "^entry 'x' .* method other than"),
    "false size": (
        lambda a: patched(a, (CENTRAL, 24, struct.pack("<L", 3))),
        "^entry 'x' .* damaged",
    ),
    "zero byte": (
        lambda a: patched(a, (b"x", 0, b"\0"), (b"x", 0, b"\0")),
        r"^entry '\\x00' .* has an invalid name$",
    ),
    "other name inside": (lambda a: patched(a, (b"x", 0, b"y")), "^entry 'x' .* damaged"),
    "cut off": (lambda a: a.write_bytes(a.read_bytes()[:-30]), "^a.zip is not a zip archive"),
    "text": (lambda a: a.write_text("text"), "^a.zip is not a zip archive"),
    "empty": (lambda a: a.write_bytes(b""), "^a.zip is not a zip archive"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_archive_is_refused(tmp_path: Path, how: str) -> None:
    damage, reason = DAMAGED[how]
    damage(zip_of(tmp_path / "a.zip", {"x": b"catcat"}, zipfile.ZIP_STORED))
    refuse(tmp_path / "a.zip", reason)


def test_damaged_deflate_and_a_name_used_twice(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"x": bytes(1000)})
    patched(archive, (LOCAL, 31, b"\xff\xff"))
    refuse(archive, "^entry 'x' of the archive is damaged")
    zip_of(archive, {"x": b"", "y": b""})
    patched(archive, (CENTRAL, 46, b"y"))
    refuse(archive, "^entries 'y' and 'y' of the archive are one file$")


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MAX_FILES", 2, "^the archive contains 3 files, more than 2$"),
        ("MAX_FILE_BYTES", 149, "^entry 'a/b/dog.jpg' .* larger than 149 bytes$"),
        ("MAX_TOTAL_BYTES", 152, "^the archive would unpack to 153 bytes, more than 152$"),
        ("MAX_RATIO", 0.25, "^the archive would unpack to 153 bytes, more than"),
    ],
)
def test_a_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, reason: str
) -> None:
    archive = zip_of(tmp_path / "a.zip", PICTURES)
    monkeypatch.setattr(archives, limit, value)
    refuse(archive, reason)


def test_ten_megabytes_of_zeros_are_a_bomb_under_the_default_limits(tmp_path: Path) -> None:
    refuse(zip_of(tmp_path / "a.zip", {"zeros": bytes(10_000_000)}), "10,000,000 bytes, more than")


def test_a_full_disk_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = zip_of(tmp_path / "a.zip", PICTURES)
    monkeypatch.setattr(shutil, "copyfileobj", fail)
    refuse(archive, "^disk full while writing /.*target$")


def test_files_of_a_killed_process_are_removed_and_damaged_ones_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "folder"
    for leftover in (tmp_path / "folder.partial", path):
        leftover.mkdir()
        (leftover / "old").touch()

    def make(temporary: Path) -> None:
        temporary.mkdir()
        (temporary / "new").touch()

    make_once(path, make, is_complete=lambda folder: (folder / "new").exists())
    assert [each.name for each in path.iterdir()] == ["new"]
    assert visible(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_created_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: File exists$"):
        make_once(tmp_path / "file" / "x", Path.mkdir)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from datasets.archives import make_once
folder = Path({str(tmp_path)!r})
def make(path):
    with (folder / "log").open("a") as log:
        log.write("made\\n")
    time.sleep(0.3)
    path.write_text("whole")
make_once(folder / "result", make)
assert (folder / "result").read_text() == "whole"
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"

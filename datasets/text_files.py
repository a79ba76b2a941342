"""Texts as people have them: a file, several of them, or a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datasets.errors import DataError, disk_errors
from datasets.folders import files_below, listed, problem_of, user_path


class TextFiles(NamedTuple):
    """What was read, and what was left out."""

    name: str
    """Of the first file or folder, without its ending, and how many others there are."""
    contents: list[bytes]
    """Of each file."""
    skipped: list[tuple[str, str]]
    """Files of a folder that are none of its text, each with the reason."""


def read_files(paths: str, *, is_text: bool) -> TextFiles:
    """Read files one after the other.

    Of a folder, all files in it and in the folders below are read, sorted by path; those that are
    hidden, empty or, if it is to be text, not in UTF-8 are skipped, and so are links out of it.

    Args:
        paths: of a file or folder, or several with commas between them.
        is_text: whether each file has to be text in UTF-8; if not, it may have any bytes.

    Raises:
        DataError: a file that is named cannot be read, is empty, or is not in UTF-8; a folder has
            no text.

    """
    several = [part.strip() for part in paths.split(",")]
    is_one = len(several) == 1 or _exists(paths)
    parts = [user_path(part) for part in ([paths] if is_one else several)]
    contents: list[bytes] = []
    skipped: list[tuple[str, str]] = []
    for part in parts:
        where = f"{part}: " if len(parts) > 1 else ""
        before = len(contents)
        for path, reason in _files_of(part):
            try:
                if reason:
                    raise DataError(reason)
                contents.append(read_bytes(path, is_text=is_text))
            except DataError as error:
                if path == part:
                    raise DataError(f"{where}{error}") from None
                skipped.append((path.relative_to(part).as_posix(), str(error)))
        if len(contents) == before:
            found = listed([f"{name} ({reason})" for name, reason in skipped]) or "nothing"
            raise DataError(f"{where}the folder contains no text that can be read; found: {found}")
    first, others = parts[0].resolve(), f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    name = first.name if first.is_dir() else first.stem
    return TextFiles(f"{name}{others}", contents, skipped)


def read_bytes(path: Path, *, is_text: bool) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: it cannot be read, is empty, or is to be text and is not in UTF-8.

    """
    with disk_errors(path):
        content = path.read_bytes()
    if not content:
        raise DataError("is empty")
    if is_text:
        decode(content)
    return content


def read_text(path: str) -> str:
    """Read a text file, without the byte-order marks that begin it, or the files it is made of.

    Raises:
        DataError: there is no such file, or it is not encoded in UTF-8.

    """
    file = user_path(path)
    with disk_errors(file):
        content = file.read_bytes()
    return decode(content)


def decode(content: bytes) -> str:
    """Return the text of bytes in UTF-8, without byte-order marks.

    Raises:
        DataError: they are not in UTF-8; the message says where.

    """
    try:
        return content.decode().replace("\ufeff", "")
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start:,}"
        raise DataError(f"not a text file in UTF-8 ({reason})") from None


def _exists(path: str) -> bool:
    try:
        return user_path(path).exists()
    except DataError:
        return False


def _files_of(part: Path) -> Iterator[tuple[Path, str]]:
    """Yield a file, or those in a folder, each with the reason why it cannot be read, if any."""
    if not part.is_dir():
        yield part, ""
        return
    with disk_errors(part):
        for name in files_below(part, part):
            yield part / name, problem_of(part, name)

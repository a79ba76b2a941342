"""What is in a folder that people have made, and what of it can be read as a file of theirs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from datasets.errors import DataError

MAX_LISTED = 5
"""Names that a message lists; it only counts the others."""


def user_path(text: str) -> Path:
    """Return a path as a user writes it, where ~ stands for a home folder.

    Raises:
        DataError: there is no such user, or the name is too long for a file.

    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except RuntimeError:
        raise DataError(f"there is no home folder {Path(text).parts[0]}") from None
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    return path


def check_inside(folder: Path, path: Path) -> None:
    """Raise DataError if a path in a folder is a link out of it."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path.relative_to(folder)} is a link to a folder elsewhere")


def visible(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted by name, without hidden and operating-system files."""
    paths = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(paths, key=lambda path: path.name)


def listed(words: Sequence[str]) -> str:
    """Join the first few words, and count the others."""
    more = len(words) - MAX_LISTED
    return ", ".join(words[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def files_below(root: Path, path: Path) -> Iterator[str]:
    """Yield a file, or what is in a folder and those below; links to folders are not followed."""
    pending = visible(path)[::-1] if path.is_dir() else [path]
    while pending:
        path = pending.pop()
        if path.is_dir() and not path.is_symlink():
            pending += visible(path)[::-1]
        else:
            yield path.relative_to(root).as_posix()


def problem_of(root: Path, name: str) -> str:
    """Return why something in the folder cannot be one of its files; empty if it can."""
    path = root / name
    if not path.is_symlink():
        return "" if path.is_file() else "not a regular file"  # a pipe would be read for ever
    if not path.is_file():
        return "a link to a folder" if path.is_dir() else "a link to no file"
    return "" if path.resolve().is_relative_to(root.resolve()) else "a link to a file elsewhere"

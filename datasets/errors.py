"""What can go wrong with data, in words for the user who asked for it."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class DataError(ValueError):
    """The data that was asked for cannot be had.

    The message is one line that says what is wrong and what would be right. It does not name the
    parameter: only the caller knows which one asked.
    """


class DiskError(DataError):
    """A disk is full, or refuses to be read or written."""


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses within, an OSError, into a DiskError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(f"disk full while writing {path}") from error
        raise DiskError(f"{error.filename or path}: {error.strerror or error}") from error

"""Errors of data sets, with messages for the user."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


class DataError(ValueError):
    """The requested data is missing or invalid.

    The message is one line that states the problem and what is allowed. It does not name the
    parameter, which only the caller knows.
    """


class DiskError(DataError):
    """A disk is full, or a file cannot be read or written."""


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised inside the context into a DiskError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskError(f"disk full while writing {path}") from error
        raise DiskError(f"{error.filename or path}: {error.strerror or error}") from error

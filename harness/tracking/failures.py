"""What the disk, the network or a server refuse: told from faults of the code, in one line."""

import errno
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import mlflow
from mlflow.exceptions import MlflowException, RestException
from requests import HTTPError, RequestException, Response
from sqlalchemy.exc import DBAPIError

from harness.tracking.locations import redact_password, to_path

NOT_PERMITTED = errno.EACCES, errno.EPERM, errno.EROFS
SYSTEM = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
    errno.ENODEV,
    errno.EMFILE,
    errno.ENFILE,
)
"""Numbers of errors of the operating system that no program can avoid."""
REFUSED = "PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"
"""Codes of MLflow for what a user has no right to."""


class Failure(NamedTuple):
    """What has failed outside of this program."""

    reason: str
    """In one line."""
    status: int
    """Exit status of the command: 2 where the user can correct it, 1 where the system has to."""


def failure_of(error: BaseException) -> Failure | None:
    """Return what outside of this program has led to an error; None if nothing is known."""
    found = None
    for each in causes(error):
        found = _failure(each) or found  # the one nearest to the origin
    return found


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that have led to it, the first of them last."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _failure(error: BaseException) -> Failure | None:
    store = f"MLFLOW_TRACKING_URI={redact_password(mlflow.get_tracking_uri())}"
    match error:
        case HTTPError(response=Response(status_code=401 | 403)):
            return Failure(f"{store}: {first_line(error)}", 2)
        case RequestException():
            *_, origin = causes(error)
            reason = getattr(origin, "strerror", None) or first_line(origin)
            return Failure(f"{store}: the server does not answer ({reason})", 1)
        case OSError(errno=number) if number in NOT_PERMITTED:
            return Failure(_of_file(error), 2)
        case OSError(errno=number) if number in SYSTEM:
            return Failure(_of_file(error), 1)
        case sqlite3.Error() | DBAPIError():
            database = to_path(mlflow.get_tracking_uri())
            gone = database is not None and not database.exists()
            reason = "its file is gone; put it back" if gone else first_line(error)
            return Failure(f"{store}: the store cannot be used ({reason})", 1)
        case MlflowException(error_code=code) if code in REFUSED:
            return Failure(f"{store}: {first_line(error)}", 2)
        case RestException() if error.get_http_status_code() >= 500:
            return Failure(f"{store}: the server fails ({first_line(error)})", 1)
    return None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(getattr(error, "message", error)).partition("\n")[0].rstrip(".: ")


def _of_file(error: OSError) -> str:
    reason = error.strerror or first_line(error)
    return f"{error.filename}: {reason}" if error.filename else reason

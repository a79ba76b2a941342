"""Where a study's trials are kept: a journal file, or a database that several machines share."""

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import filelock
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from harness.errors import UserError
from tuning import retries

CONNECT_SECONDS = 5
"""How long to wait for a database that does not answer."""
NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""How a folder answers that has no locks of the kind `flock`."""


def open_storage(storage: str) -> BaseStorage:
    """Open a journal file by its path, or a database by its URL.

    Raises:
        UserError: the storage cannot be used.

    """
    if "://" not in storage:
        return _open_journal(Path(storage))
    try:
        url = make_url(storage)
    except ArgumentError:
        raise UserError(f"storage={storage}: is neither a path nor a URL") from None
    if url.get_backend_name() == "sqlite":
        raise UserError(
            f"storage={storage}: sqlite loses trials when several processes write; "
            "give a path for a journal file, or postgresql://..."
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        return _open_database(url)
    except ImportError as error:
        hint = "`pip install psycopg[binary]` brings PostgreSQL's"
        reason = str(error).split("\n")[0]
        raise UserError(f"storage={url}: its driver is missing ({reason}); {hint}") from None
    except (SQLAlchemyError, OptunaError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"storage={url}: cannot be reached ({reason})") from None


def close(opened: BaseStorage) -> None:
    """Close the connections to a database."""
    if isinstance(opened, RDBStorage):
        opened.remove_session()
        opened.engine.dispose()


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(path)
        lock.acquire()
        try:
            _repair_journal(path)
        finally:
            lock.release()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"storage={path}: is no journal that can be used ({error})") from None


def _lock_of(path: Path) -> Any:
    """Return a lock for a journal that works in its folder.

    Optuna's own locks are files: one that a killed process held keeps the others waiting for half a
    minute. The kernel releases that of `flock`, which some network folders do not have.
    """
    lock = filelock.FileLock(f"{path}.lock", fallback_to_soft=False)
    try:
        with lock:
            return lock
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return JournalFileOpenLock(f"{path}.created")  # not the file above, which is never deleted


def _repair_journal(path: Path) -> None:
    """Cut off a last line that a process had no time to finish: none could follow it."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if content and not whole:
        raise ValueError("its content is something else")
    if whole < len(content):
        os.truncate(path, whole)


def _open_database(url: URL) -> BaseStorage:
    seconds = {"connect_timeout": CONNECT_SECONDS} if "postgresql" in url.drivername else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, "connect_args": seconds},
            heartbeat_interval=retries.HEARTBEAT_SECONDS,
            grace_period=retries.STALE_SECONDS,
            heartbeat_stale_trial_callback=retries.enqueue_stale,
        )

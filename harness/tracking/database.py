"""A store in a database of SQLite: it is made whole or not at all."""

import contextlib
import sqlite3
import time
from pathlib import Path

import filelock
from mlflow.store.db import utils
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from harness.tracking.locations import SQLITE, to_database_uri, to_path, to_uri

SECONDS_UNTOUCHED = 10.0
"""Least age of a database without content that is made anew: a process may be at work on it."""
BOOKKEEPING = ("alembic_version", "workspaces")
"""Tables that MLflow fills while it makes a store."""
BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite adds to the name of a database for the files that belong to it."""


def open_store(store_uri: str, artifact_uri: str | None = None) -> SqlAlchemyStore:
    """Open a store, and make it where there is none; in a folder of any name.

    Artifacts lie in `mlruns` here, as MLflow has it, unless a location is given. MLflow itself
    would keep a path as their location, and decode that as if it were a URI.
    """
    database = to_path(store_uri)
    if database is not None:
        with lock(database):
            ensure_store(database)
    place = artifact_uri or to_uri(Path(DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH))
    return SqlAlchemyStore(store_uri, place)


def lock(database: Path) -> filelock.BaseFileLock:
    """Return the lock under which processes open a store; a process may hold it several times."""
    database.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(f"{database}.lock", is_singleton=True)


def make_folder(store_uri: str) -> None:
    """Make the folder of a database; MLflow itself takes the URI's path for the folder's."""
    database = to_path(store_uri) if store_uri.startswith(SQLITE) else None
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)


utils._make_parent_dirs_if_sqlite = make_folder


def ensure_store(database: Path) -> None:
    """Make a store where there is none, or where a killed process has left one half-made.

    The caller holds the lock. Whoever else makes a store here, such as `mlflow ui`, is
    given the time to finish it.
    """
    while holds_nothing(database):
        if seconds_untouched(database) > SECONDS_UNTOUCHED:
            make_store(database)
        else:
            time.sleep(0.1)


def make_store(database: Path) -> None:
    """Make a store beside `database`, and put it there once it is whole."""
    new = database.with_name(f"{database.name}.new")
    delete(new)  # one that a killed process has left
    try:
        artifacts = to_uri(Path(DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH))
        SqlAlchemyStore(to_database_uri(new), artifacts)._dispose_engine()
        if seconds_untouched(database) > SECONDS_UNTOUCHED:  # nobody has made one meanwhile
            delete(database)
            new.rename(database)
    finally:
        delete(new)


def holds_nothing(database: Path) -> bool:
    """Return whether a database is absent, or has no row that somebody has written.

    A store that is whole always has at least one experiment of MLflow.
    """
    if not database.exists():
        return True
    uri = f"{to_uri(database)}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = {name for (name,) in tables} - {*BOOKKEEPING}
        rows = (connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1') for name in names)
        return not any(row.fetchone() for row in rows)


def seconds_untouched(database: Path) -> float:
    """Return the time since a database was last written to; infinite if it does not exist."""
    files = [file for file in files_of(database) if file.exists()]
    return time.time() - max((file.stat().st_mtime for file in files), default=float("-inf"))


def delete(database: Path) -> None:
    """Delete a database, and first what SQLite would otherwise roll back into the next one."""
    for file in reversed(files_of(database)):
        file.unlink(missing_ok=True)


def files_of(database: Path) -> list[Path]:
    """Return the paths of all files that a database may consist of."""
    return [database.with_name(database.name + suffix) for suffix in BESIDE]

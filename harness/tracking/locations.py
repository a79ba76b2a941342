"""Locations of stores and artifacts: paths as URIs, and URIs as paths.

A URI is percent-encoded. Taken for a path, or a path for a URI, a `#`, `?` or `%` in the name of a
folder leads to another folder.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from mlflow.utils.file_utils import local_file_uri_to_path, path_to_local_sqlite_uri

SQLITE = "sqlite:///"


def to_uri(path: Path) -> str:
    """Return the URI of a local file or folder, as MLflow stores locations of artifacts."""
    return path.absolute().as_uri()


def to_database_uri(path: Path) -> str:
    """Return the URI of a database of SQLite, as MLflow and SQLAlchemy read it."""
    return str(path_to_local_sqlite_uri(path))


def to_path(location: str) -> Path | None:
    """Return the local path of a location, and None where it is on a server.

    Args:
        location: a URI of a file or of a database of SQLite, or a path; MLflow decodes paths, too.

    """
    if location.startswith(SQLITE):
        path = unquote(location.removeprefix(SQLITE).partition("?")[0])
        return Path(path) if path not in ("", ":memory:") else None
    # A single letter is a drive of Windows.
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", location)
    is_local = scheme is None or scheme[0] == "file:"
    return Path(local_file_uri_to_path(location)) if is_local else None


def redact_password(location: str) -> str:
    """Return a path or a URL as it may be shown and logged."""
    from sqlalchemy.engine import make_url

    return str(make_url(location)) if "://" in location else location

"""The tracking store: opened by one process at a time, and its errors in one line."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import filelock
import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError

# What MLflow says of its own doings would stand among the lines that are for the user.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raise a `UserError` of one line where MLflow's own says that the store cannot be used."""
    try:
        yield
    except MlflowException as error:
        reason = error.message.split("\n")[0]
        uri = mlflow.get_tracking_uri()
        raise UserError(f"MLFLOW_TRACKING_URI={uri}: the store cannot be used ({reason})") from None


@contextlib.contextmanager
def store_lock() -> Iterator[None]:
    """Let one process at a time open the store: two that create its tables at once break it."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{database}.lock"):
        MlflowClient().search_experiments(max_results=1)  # creates the tables
        yield


def mlflow_experiment_id(architecture: str, parent_id: str | None = None) -> str:
    """Return the id of the MLflow experiment that a new run belongs to.

    It is that of its parent; or the one that the user wants, by MLFLOW_EXPERIMENT_ID or
    MLFLOW_EXPERIMENT_NAME; or that of the architecture, which is created if there is none.

    Raises:
        UserError: MLFLOW_EXPERIMENT_ID names no experiment, or another one than the name.

    """
    client = MlflowClient()
    if parent_id is not None:
        return str(client.get_run(parent_id).info.experiment_id)
    wanted, name = (os.environ.get(f"MLFLOW_EXPERIMENT_{key}") for key in ("ID", "NAME"))
    if wanted:
        try:
            found = client.get_experiment(wanted).name
        except MlflowException as error:
            reason = error.message.split("\n")[0]
            raise UserError(f"MLFLOW_EXPERIMENT_ID={wanted}: no experiment ({reason})") from None
        if name not in (None, found):
            problem = f"is {found}, and MLFLOW_EXPERIMENT_NAME={name} another; unset one of them"
            raise UserError(f"MLFLOW_EXPERIMENT_ID={wanted}: {problem}")
        return wanted
    name = name or architecture
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:  # another process of the same server was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id)


def local_folder(uri: str) -> Path | None:
    """Return the folder of a location of artifacts, and None if it is on a server."""
    location = urlparse(uri)
    return Path(url2pathname(location.path)) if location.scheme in ("", "file") else None


def redact_password(uri: str) -> str:
    """Return a path or a URL as it may be shown and logged."""
    from sqlalchemy.engine import make_url

    return str(make_url(uri)) if "://" in uri else uri

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


def set_mlflow_experiment(architecture: str, parent_id: str | None = None) -> None:
    """Put new runs beside their parent, or where the user wants them, or by architecture."""
    if parent_id is not None:
        mlflow.set_experiment(experiment_id=MlflowClient().get_run(parent_id).info.experiment_id)
    elif "MLFLOW_RUN_ID" in os.environ:
        return  # that run is in its experiment already
    elif experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        _require_experiment(experiment_id)
        mlflow.set_experiment(experiment_id=experiment_id)
    else:
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", architecture))


def _require_experiment(experiment_id: str) -> None:
    """Raise a `UserError` if MLFLOW_EXPERIMENT_ID names no experiment, or contradicts the name."""
    found = {each.experiment_id: each.name for each in mlflow.search_experiments()}
    if experiment_id not in found:
        raise UserError(f"MLFLOW_EXPERIMENT_ID={experiment_id}: the store has no such experiment")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", found[experiment_id])
    if name != found[experiment_id]:
        raise UserError(
            f"MLFLOW_EXPERIMENT_ID={experiment_id}: is {found[experiment_id]}, "
            f"and MLFLOW_EXPERIMENT_NAME={name} another one; unset one of them"
        )


def local_folder(uri: str) -> Path | None:
    """Return the folder of a location of artifacts, and None if it is on a server."""
    location = urlparse(uri)
    return Path(url2pathname(location.path)) if location.scheme in ("", "file") else None


def redact_password(uri: str) -> str:
    """Return a path or a URL as it may be shown and logged."""
    from sqlalchemy.engine import make_url

    return str(make_url(uri)) if "://" in uri else uri

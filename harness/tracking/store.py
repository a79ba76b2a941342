"""The tracking store: opened by one process at a time, and its errors in one line."""

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH as ARTIFACTS
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _register

from harness.errors import UserError
from harness.tracking.failures import failure_of, first_line
from harness.tracking.locations import SQLITE, redact_password, to_path

# What MLflow says of its own doings would stand among the lines that are for the user.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A run says where it can be seen; MLflow would add two lines for each trial on a server.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)
# These report errors that are raised as well, or that the next call will raise.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
# A server that is restarted has half a minute; MLflow would try for four.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "8"}


def _open_database(store_uri: str, artifact_uri: str | None = None) -> AbstractStore:
    from harness.tracking.database import open_store  # it imports what a server makes needless

    return open_store(store_uri, artifact_uri)


_register("sqlite", _open_database)


def connect_worker(tracking_uri: str) -> None:
    """Let a worker process write to the tracking store, to runs of its own."""
    mlflow.set_tracking_uri(tracking_uri)
    os.environ.pop("MLFLOW_RUN_ID", None)  # it names the parent's run


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Let requests to a server that does not answer fail within seconds."""
    before = {name: os.environ.get(name) for name in IMPATIENT}
    os.environ.update(IMPATIENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {name: value} if value is not None else {}


@contextlib.contextmanager
def last_attempt() -> Iterator[None]:
    """Try, briefly, what a store may no longer allow: the error before it is what matters."""
    with contextlib.suppress(Exception), impatient():
        yield


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raise a `UserError` of one line where MLflow's own says that the store cannot be used."""
    try:
        yield
    except MlflowException as error:
        if failure_of(error):
            raise
        uri = redact_password(mlflow.get_tracking_uri())
        reason = first_line(error)
        raise UserError(f"MLFLOW_TRACKING_URI={uri}: the store cannot be used ({reason})") from None


@contextlib.contextmanager
def store_lock() -> Iterator[None]:
    """Open the store, and let no other process do so meanwhile.

    A server sees to that by itself; one that does not answer is noticed here, within seconds.
    """
    with contextlib.ExitStack() as stack:
        database = local_database()
        if database is not None:
            from harness.tracking.database import lock

            stack.enter_context(lock(database))
        with store_errors(), impatient():
            MlflowClient().search_experiments(max_results=1)
        yield


def local_database() -> Path | None:
    """Return the store's database of SQLite; None if it is another one, or on a server."""
    uri = mlflow.get_tracking_uri()
    return to_path(uri) if uri.startswith(SQLITE) else None


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
            raise UserError(
                f"MLFLOW_EXPERIMENT_ID={wanted}: no experiment ({first_line(error)})"
            ) from None
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


def require_artifacts(location: str) -> None:
    """Refuse a store that was moved or copied: its artifacts would go to where it was before.

    Raises:
        UserError: it says where the artifacts lie, and what helps.

    """
    database, folder = local_database(), to_path(location)
    if database is None or folder is None or folder.parent.name != Path(ARTIFACTS).name:
        return
    before, now = folder.parents[1].absolute(), database.parent.absolute()
    if not before.exists():
        link = shlex.join(["ln", "-s", str(now), str(before)])
        raise UserError(
            f"{database}: keeps its artifacts in {folder.parent}, which is gone; "
            f"if its folder was moved, move it back, or link to it: {link}"
        )
    if (now / folder.parent.name / folder.name).exists() and not before.samefile(now):
        raise UserError(
            f"{database}: is a copy, whose artifacts lie in {folder.parent}; "
            f"for a new store, move {database.name} and {folder.parent.name} here elsewhere"
        )

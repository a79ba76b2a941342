"""Where a study's trials are kept: a journal file, or a database that several machines share."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from experiments.harness import tracking
from experiments.harness.errors import UserError

CONNECT_SECONDS = 5
"""How long to wait for a database that does not answer."""
HEARTBEAT_SECONDS, STALE_SECONDS = 15, 60
"""How often a running trial says so, and after which silence it is given up, in a database."""
MAX_RETRIES = 2
"""How often a trial whose process died is tried again: its configuration may be what kills it."""


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
    except ModuleNotFoundError as error:
        hint = "`pip install psycopg[binary]` brings PostgreSQL's"
        raise UserError(f"storage={url}: its driver is missing ({error}); {hint}") from None
    except (SQLAlchemyError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"storage={url}: cannot be reached ({reason})") from None


def hidden(storage: str) -> str:
    """Return how to name a storage where others read it: without the password."""
    return str(make_url(storage)) if "://" in storage else storage


def _open_journal(path: Path) -> BaseStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _KernelLock(path)
        lock.acquire()
        try:
            _mend(path)
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        finally:
            lock.release()
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"storage={path}: is no journal that can be used ({error})") from None


def _mend(path: Path) -> None:
    """Cut off a last line that a process had no time to finish: none could follow it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            if whole == 0:
                raise ValueError("its content is something else")
            file.truncate(whole)


class _KernelLock(JournalFileSymlinkLock):
    """A lock that the kernel releases when its process dies.

    Optuna's own locks are files: one that a killed process held keeps the others waiting for 30 s.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._kernel_lock = filelock.FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._kernel_lock.acquire()
        return True

    def release(self) -> None:
        self._kernel_lock.release()


def _open_database(url: URL) -> BaseStorage:
    seconds = {"connect_timeout": CONNECT_SECONDS} if "postgresql" in url.drivername else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, "connect_args": seconds},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=STALE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MAX_RETRIES),
        )


def ask(study: optuna.Study) -> Trial:
    """Ask for a trial."""
    with warnings.catch_warnings():
        # Its heart is kept beating by `beat`, where Optuna would do so in `Study.optimize` only.
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        return study.ask()


def close(opened: BaseStorage) -> None:
    """Give the connections to a database back."""
    if isinstance(opened, RDBStorage):
        opened.remove_session()
        opened.engine.dispose()


def beat(study: optuna.Study, trial_ids: Iterable[int]) -> None:
    """Say that these trials go on, where the storage wants to hear it."""
    if isinstance(study._storage, BaseHeartbeat):
        for trial_id in trial_ids:
            study._storage.record_heartbeat(trial_id)


def is_alive(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial that is said to run does so, as far as can be known from here."""
    lives = tracking.process_lives(trial.user_attrs.get("process", {}))
    return lives or isinstance(study._storage, BaseHeartbeat)


def put_back_the_dead(study: optuna.Study) -> list[FrozenTrial]:
    """Put the trials back in the queue whose process is gone; return them.

    On this machine that is known of the process itself; of another machine, where the storage
    is a database, by a heartbeat that has stopped.
    """
    dead = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if tracking.process_gone(trial.user_attrs.get("process", {})):
            put_back(study, trial, "its process was killed")
            dead.append(trial)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    return dead


def put_back(
    study: optuna.Study, trial: FrozenTrial, reason: str, max_retries: int | None = MAX_RETRIES
) -> None:
    """Fail a running trial, and queue its parameters anew, unless that was done often enough."""
    study._storage.set_trial_user_attr(trial._trial_id, "failure", reason)
    study.tell(trial.number, state=TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(max_retries)(study, trial)


def replaced(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of trials that were put back in the queue and stand there anew."""
    return {number for trial in trials for number in history(trial)}


def history(trial: FrozenTrial) -> list[int]:
    """Return the numbers under which this trial was tried before."""
    earlier: list[Any] = trial.system_attrs.get("retry_history", [])
    return earlier

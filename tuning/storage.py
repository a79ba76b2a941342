"""Where a study's trials are kept: a journal file, or a database that several machines share."""

import socket
import warnings
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import filelock
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
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
INTERRUPTED = "interrupted"
PROCESS, TRIED_AS, DEATHS = "process", "tried_as", "deaths"
"""What a trial remembers: whose it is, and what became of earlier attempts at it."""
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
    except ImportError as error:
        hint = "`pip install psycopg[binary]` brings PostgreSQL's"
        reason = str(error).split("\n")[0]
        raise UserError(f"storage={url}: its driver is missing ({reason}); {hint}") from None
    except (SQLAlchemyError, OptunaError, OSError) as error:
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
            heartbeat_stale_trial_callback=_put_back_stale,
        )


def _put_back_stale(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial anew that Optuna has failed because its heart had stopped."""
    if trial.user_attrs.get(DEATHS, 0) < MAX_RETRIES:
        _queue(study, trial, died=True)


def ask(study: optuna.Study, worker: int) -> Trial:
    """Ask for a trial, and say whose it is before anything else."""
    with warnings.catch_warnings():
        # Its heart is kept beating by `beat`, where Optuna would do so in `Study.optimize` only.
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
        trial = study.ask()
    trial.set_user_attr(PROCESS, tracking.process_tags())
    trial.set_user_attr("worker", worker)
    beat(study, [trial._trial_id])
    return trial


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


def has_heartbeat(study: optuna.Study) -> bool:
    """Whether the storage knows of processes on other machines."""
    return isinstance(study._storage, BaseHeartbeat)


def is_alive(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial that is said to run does so, as far as can be known from here."""
    process = trial.user_attrs.get(PROCESS)
    if process is None:  # its process has had no time yet to say so, or has died before it could
        return _seconds_since(trial) < STALE_SECONDS
    if process["host"] == socket.gethostname():
        return tracking.process_lives(process)
    return has_heartbeat(study)  # which would have ended it by now


def put_back_the_dead(study: optuna.Study, *, alone: bool = False) -> bool:
    """Put the trials back in the queue whose process is gone; return whether there was one.

    On this machine that is known of the process itself; of another machine, where the storage is
    a database, by a heartbeat that has stopped. With `alone`, no other machine can be at work:
    this one has been called otherwise before.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        # Of other machines a journal hears nothing.
        known = has_heartbeat(study) or alone or not _foreign(trial)
        if known and not is_alive(study, trial):
            put_back(study, trial, "its process was killed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    trials = study.get_trials(deepcopy=False)
    return any(trials[trial.number].state != TrialState.RUNNING for trial in running)


def _foreign(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(PROCESS, {})
    return bool(process) and process["host"] != socket.gethostname()


def _seconds_since(trial: FrozenTrial) -> float:
    return (datetime.now() - (trial.datetime_start or datetime.min)).total_seconds()


def put_back(study: optuna.Study, trial: FrozenTrial, reason: str, *, died: bool = True) -> None:
    """Fail a running trial and queue its parameters anew.

    Args:
        study: which it belongs to.
        trial: which has ended, unless another process has found that out before.
        reason: why it did.
        died: whether its own values may be the reason; after so many deaths it is given up.

    """
    given_up = died and trial.user_attrs.get(DEATHS, 0) >= MAX_RETRIES
    outlook = f"given up after {MAX_RETRIES + 1} times" if given_up else "put back in the queue"
    try:
        study._storage.set_trial_user_attr(trial._trial_id, "failure", f"{reason}; {outlook}")
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return
    if not given_up:
        _queue(study, trial, died=died)


def _queue(study: optuna.Study, trial: FrozenTrial, *, died: bool) -> None:
    """Add a waiting trial that has the parameters of another, and remembers it."""
    memory = {
        TRIED_AS: [*trial.user_attrs.get(TRIED_AS, []), trial.number],
        DEATHS: trial.user_attrs.get(DEATHS, 0) + died,
    }
    # A trial that was given its values and has died before it took them up still has them here.
    fixed = {k: v for k, v in trial.system_attrs.items() if k == "fixed_params"}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=memory,
            system_attrs=fixed,
        )
    )


def replaced(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of trials that were put back in the queue and stand there anew."""
    return {number for trial in trials for number in trial.user_attrs.get(TRIED_AS, [])}

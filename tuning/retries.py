"""Trials whose process died: noticed by their heartbeat, queued again a limited number of times."""

import socket
import warnings
from collections.abc import Iterable
from datetime import datetime

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from harness.tracking.processes import process_lives, this_process

HEARTBEAT_SECONDS, STALE_SECONDS = 15, 60
"""In a database: time between two heartbeats of a running trial, and the silence that ends it."""
INTERRUPTED = "interrupted"
PROCESS, TRIED_AS, DEATHS = "process", "tried_as", "deaths"
"""Attributes of a trial: its process, the numbers of earlier attempts, how many of them died."""
MAX_RETRIES = 2
"""How often a trial whose process died is tried again: its configuration may be the cause."""


class TrialQueue:
    """The trials of a study, which are asked for, kept alive, and queued again."""

    def __init__(self, study: optuna.Study, storage: BaseStorage):
        self.study = study
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._heartbeats = storage if isinstance(storage, RDBStorage) else None
        """A database also holds trials of processes on other machines."""

    def ask(self) -> Trial:
        """Ask for a trial, and record its process before anything else."""
        with warnings.catch_warnings():
            # Optuna sends heartbeats in `Study.optimize` only; here `heartbeat` does.
            warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
            trial = self.study.ask()
        trial.set_user_attr(PROCESS, this_process())
        self.heartbeat([trial.number])
        return trial

    def heartbeat(self, numbers: Iterable[int]) -> None:
        """Record that these trials still run, where the storage keeps that."""
        if self._heartbeats is not None:
            for number in numbers:
                self._heartbeats.record_heartbeat(self._id(number))

    def is_alive(self, trial: FrozenTrial) -> bool:
        """Whether the process of a running trial lives, as far as can be known from here."""
        process = trial.user_attrs.get(PROCESS)
        if process is None:  # not recorded yet, or its process died before it could
            since = datetime.now() - (trial.datetime_start or datetime.min)
            return since.total_seconds() < STALE_SECONDS
        if process["host"] == socket.gethostname():
            return process_lives(process)
        return self._heartbeats is not None  # a stale one would have been ended by now

    def requeue_stale_trials(self, *, alone: bool = False) -> bool:
        """Queue the trials again whose process is gone; return whether there was one.

        On this machine that is known of the process itself; of another machine, where the storage
        is a database, by a heartbeat that has stopped. With `alone`, no other machine can be at
        work: trials of another host are of this machine under an earlier name.
        """
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        here = socket.gethostname()
        for trial in running:
            is_ours = trial.user_attrs.get(PROCESS, {}).get("host", here) == here
            if (is_ours or alone or self._heartbeats is not None) and not self.is_alive(trial):
                self.requeue(trial.number, "its process was killed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        trials = self.study.get_trials(deepcopy=False)
        return any(trials[trial.number].state != TrialState.RUNNING for trial in running)

    def requeue(self, number: int, reason: str, *, died: bool = True) -> None:
        """Fail a trial, if it still runs, for a reason, and queue its parameters again.

        It may have `died` of its own values: after several deaths it is given up.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        given_up = died and trial.user_attrs.get(DEATHS, 0) >= MAX_RETRIES
        outlook = f"given up after {MAX_RETRIES + 1} times" if given_up else "queued again"
        trial_id = self._id(number)
        try:
            self._storage.set_trial_user_attr(trial_id, "failure", f"{reason}; {outlook}")
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return
        if not given_up:
            _enqueue(self.study, trial, died=died)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def enqueue_stale(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again that Optuna has failed because its heartbeat had stopped."""
    if trial.user_attrs.get(DEATHS, 0) < MAX_RETRIES:
        _enqueue(study, trial, died=True)


def requeued(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of trials that were queued again, under a later number."""
    return {number for trial in trials for number in trial.user_attrs.get(TRIED_AS, [])}


def _enqueue(study: optuna.Study, trial: FrozenTrial, *, died: bool) -> None:
    """Add a waiting trial that has the parameters of another, and its number as an attribute."""
    attributes = {
        TRIED_AS: [*trial.user_attrs.get(TRIED_AS, []), trial.number],
        DEATHS: trial.user_attrs.get(DEATHS, 0) + died,
    }
    # A trial that was enqueued with values, and died before it suggested them, has them here only.
    fixed = {k: v for k, v in trial.system_attrs.items() if k == "fixed_params"}
    waiting = optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attributes,
        system_attrs=fixed,
    )
    study.add_trial(waiting)

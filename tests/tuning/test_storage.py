"""Trials whose process is gone, and which process holds the lease of a queue.study."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.tracking.processes import this_process
from tuning import lease, retries, storage
from tuning.retries import TrialQueue


@pytest.fixture
def queue(tmp_path: Path) -> TrialQueue:
    opened = storage.open_storage(str(tmp_path / "journal"))
    return TrialQueue(optuna.create_study(storage=opened, study_name="mine"), opened)


def states(queue: TrialQueue) -> list[str]:
    return [trial.state.name for trial in queue.study.get_trials()]


def begin(queue: TrialQueue, process: dict[str, Any] | None = None) -> FrozenTrial:
    """Begin a trial as a process would that is not this one."""
    trial = queue.ask()
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("y", ["a", "b"])
    if process is not None:
        trial.set_user_attr(retries.PROCESS, process)
    return queue.study.get_trials()[trial.number]


def dead_process() -> dict[str, str]:
    """Describe a process of this machine that had our number before us."""
    return {**this_process(), "process_started": "12345.0"}


def test_a_trial_is_given_up_after_its_process_has_died_thrice(queue: TrialQueue) -> None:
    for attempt in range(3):
        trial = begin(queue, dead_process())
        assert trial.number == attempt
        assert queue.requeue_stale_trials()
    found = queue.study.get_trials()
    assert states(queue) == ["FAIL"] * 3
    assert found[0].params == found[1].params == found[2].params
    assert "queued again" in found[1].user_attrs["failure"]
    assert "given up after 3 times" in found[2].user_attrs["failure"]
    assert retries.requeued(found) == {0, 1}


def test_interruptions_are_no_deaths(queue: TrialQueue) -> None:
    for _ in range(5):
        queue.requeue(begin(queue).number, retries.INTERRUPTED, died=False)
    assert states(queue) == ["FAIL"] * 5 + ["WAITING"]
    again = begin(queue)
    assert again.params == queue.study.get_trials()[0].params
    assert again.user_attrs[retries.TRIED_AS] == [0, 1, 2, 3, 4]
    assert "failure" not in again.user_attrs


def test_a_requeued_trial_belongs_to_no_process_until_it_is_asked_for(queue: TrialQueue) -> None:
    """It must not bear the tags of the dead process, or the next one is taken for dead."""
    begin(queue, dead_process())
    queue.requeue_stale_trials()
    (waiting,) = queue.study.get_trials(states=(TrialState.WAITING,))
    assert retries.PROCESS not in waiting.user_attrs
    begin(queue)
    assert not queue.requeue_stale_trials()
    assert states(queue) == ["FAIL", "RUNNING"]


def test_a_trial_without_process_is_dead_after_a_while(queue: TrialQueue) -> None:
    """Its process was killed between asking for it and recording itself."""
    asked = queue.study.ask()
    trial = queue.study.get_trials()[asked.number]
    assert queue.is_alive(trial)
    trial.datetime_start = datetime.now() - timedelta(seconds=retries.STALE_SECONDS + 1)
    assert not queue.is_alive(trial)


def test_a_journal_from_a_machine_of_another_name(queue: TrialQueue) -> None:
    """A container has been started again: alone with the lease, it knows that the trial is dead."""
    begin(queue, {**this_process(), "host": "a former name"})
    assert not queue.requeue_stale_trials()
    assert queue.requeue_stale_trials(alone=True)
    assert states(queue) == ["FAIL", "WAITING"]


def test_a_trial_that_another_process_has_ended_is_left_alone(queue: TrialQueue) -> None:
    trial = begin(queue)
    queue.study.tell(trial.number, 0.5)
    queue.requeue(trial.number, "late")
    assert states(queue) == ["COMPLETE"]


@pytest.mark.parametrize("content", ["no journal\nat all\n", "no newline", "{}\n{}\n"])
def test_a_file_that_is_something_else_is_refused_and_left_as_it_was(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"storage=.*notes.txt"):
        storage.open_storage(str(path))
    assert path.read_text() == content


@pytest.mark.parametrize("number", storage.NO_FLOCK)
def test_a_journal_in_a_folder_without_flock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on some network folders. The file of an earlier lock may be there."""

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / "journal.lock").touch()
    studies = []
    for _ in range(2):  # two processes, as far as the storage can tell
        opened = storage.open_storage(str(tmp_path / "journal"))
        studies.append(optuna.create_study(storage=opened, study_name="mine", load_if_exists=True))

    def add(study: optuna.Study) -> None:
        for _ in range(10):
            study.add_trial(optuna.create_trial(value=1.0))

    with ThreadPoolExecutor() as threads:
        list(threads.map(add, studies))
    assert [len(study.get_trials()) for study in studies] == [20, 20]
    assert not list(tmp_path.glob("*.created.lock")), "the lock was not released"


def test_one_process_holds_the_lease_and_returns_it(queue: TrialQueue) -> None:
    with lease.lease(queue.study) as ours:
        assert ours
        assert lease._is_this_process(queue.study.user_attrs[lease.OWNER])
    assert queue.study.user_attrs[lease.OWNER] == {}


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ({"host": "here", "process": "other"}, False),
        ({"host": "here", "process": "dead"}, True),
        ({"host": "elsewhere", "seen": 5}, False),
        ({"host": "elsewhere", "seen": 2 * retries.STALE_SECONDS}, True),
    ],
)
def test_the_lease_is_taken_only_where_no_living_process_has_it(
    queue: TrialQueue, owner: dict[str, Any], free: bool
) -> None:
    process = psutil.Process(os.getppid())
    tags = {
        "host": socket.gethostname() if owner["host"] == "here" else "elsewhere",
        "process_id": str(process.pid),
        "process_started": str(process.create_time()),
        "seen": time.time() - owner.get("seen", 0),
    }
    if owner.get("process") == "dead":
        tags["process_started"] = "12345.0"
    queue.study.set_user_attr(lease.OWNER, tags)
    with lease.lease(queue.study) as ours:
        assert ours is free

"""Trials whose process is gone, and who is in charge of a study."""

import os
import signal
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from experiments.harness import signals, tracking
from experiments.harness.errors import UserError
from tuning import charge, storage


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    opened = storage.open_storage(str(tmp_path / "journal"))
    return optuna.create_study(storage=opened, study_name="mine")


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def begin(study: optuna.Study, process: dict[str, Any] | None = None) -> FrozenTrial:
    """Begin a trial as a process would that is not this one."""
    trial = storage.ask(study, worker=0)
    trial.suggest_float("x", 0, 1)
    trial.suggest_categorical("y", ["a", "b"])
    if process is not None:
        trial.set_user_attr(storage.PROCESS, process)
    return study.get_trials()[trial.number]


def dead_process() -> dict[str, str]:
    """Describe a process of this machine that had our number before us."""
    return {**tracking.process_tags(), "process_started": "12345.0"}


def test_a_trial_is_given_up_after_its_process_has_died_thrice(study: optuna.Study) -> None:
    for attempt in range(3):
        trial = begin(study, dead_process())
        assert trial.number == attempt
        assert storage.put_back_the_dead(study)
    trials = study.get_trials()
    assert states(study) == ["FAIL"] * 3
    assert trials[0].params == trials[1].params == trials[2].params
    assert "put back in the queue" in trials[1].user_attrs["failure"]
    assert "given up after 3 times" in trials[2].user_attrs["failure"]
    assert storage.replaced(trials) == {0, 1}


def test_interruptions_are_no_deaths(study: optuna.Study) -> None:
    for _ in range(5):
        storage.put_back(study, begin(study), storage.INTERRUPTED, died=False)
    assert states(study) == ["FAIL"] * 5 + ["WAITING"]
    again = begin(study)
    assert again.params == study.get_trials()[0].params
    assert again.user_attrs[storage.TRIED_AS] == [0, 1, 2, 3, 4]
    assert "failure" not in again.user_attrs


def test_a_trial_put_back_belongs_to_nobody_until_it_is_asked_for(study: optuna.Study) -> None:
    """What it says of the dead process must not have the next one taken for dead."""
    begin(study, dead_process())
    storage.put_back_the_dead(study)
    (waiting,) = study.get_trials(states=(TrialState.WAITING,))
    assert storage.PROCESS not in waiting.user_attrs
    begin(study)
    assert not storage.put_back_the_dead(study)
    assert states(study) == ["FAIL", "RUNNING"]


def test_a_trial_that_says_of_nobody_is_dead_after_a_while(study: optuna.Study) -> None:
    """Its process was killed between asking for it and saying so."""
    asked = study.ask()
    trial = study.get_trials()[asked.number]
    assert storage.is_alive(study, trial)
    trial.datetime_start = datetime.now() - timedelta(seconds=storage.STALE_SECONDS + 1)
    assert not storage.is_alive(study, trial)


def test_a_journal_from_a_machine_of_another_name(study: optuna.Study) -> None:
    """A container has been started again: alone in charge, it knows that the trial is dead."""
    begin(study, {**tracking.process_tags(), "host": "a former name"})
    assert not storage.put_back_the_dead(study)
    assert storage.put_back_the_dead(study, alone=True)
    assert states(study) == ["FAIL", "WAITING"]


def test_a_trial_that_another_process_has_ended_is_left_alone(study: optuna.Study) -> None:
    trial = begin(study)
    study.tell(trial.number, 0.5)
    storage.put_back(study, trial, "late")
    assert states(study) == ["COMPLETE"]


@pytest.mark.parametrize("content", ["no journal\nat all\n", "no newline", "{}\n{}\n"])
def test_a_file_that_is_something_else_is_refused_and_left_as_it_was(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"storage=.*notes.txt"):
        storage.open_storage(str(path))
    assert path.read_text() == content


def test_one_process_is_in_charge_and_gives_it_back(study: optuna.Study) -> None:
    with charge.charge(study) as ours:
        assert ours
        assert charge._is_here(study.user_attrs[charge.OWNER])
    assert study.user_attrs[charge.OWNER] == {}


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ({"host": "here", "process": "other"}, False),
        ({"host": "here", "process": "dead"}, True),
        ({"host": "elsewhere", "seen": 5}, False),
        ({"host": "elsewhere", "seen": 2 * storage.STALE_SECONDS}, True),
    ],
)
def test_charge_is_taken_only_where_nobody_alive_has_it(
    study: optuna.Study, owner: dict[str, Any], free: bool
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
    study.set_user_attr(charge.OWNER, tags)
    with charge.charge(study) as ours:
        assert ours is free


def test_a_signal_waits_for_what_is_not_to_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    gentle = [True, False]
    done = []

    def whole() -> None:
        with signals.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append("the whole of it")

    try:
        signals.listen(gently=lambda: gentle.pop(0))
        os.kill(os.getpid(), signal.SIGINT)  # dealt with gently
        with pytest.raises(KeyboardInterrupt):
            whole()
        assert done == ["the whole of it"]
        os.kill(os.getpid(), signal.SIGTERM)  # one unwinds already: more are ignored
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

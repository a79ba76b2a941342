"""The search: ask Optuna for a configuration, train it in a worker, tell Optuna the result."""

import contextlib
import functools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from harness.errors import UserError
from harness.execution.messages import (
    Died,
    Done,
    Epoch,
    Failed,
    Outcome,
    Pruned,
    Report,
    Task,
    reporting,
)
from harness.execution.run_all import Pool, run_all
from harness.experiment import AnyExperiment, Metrics
from harness.fingerprints import DataSet
from harness.training.config import TrainingConfig
from harness.training.metrics import decimal
from harness.training.train import train
from tuning import retries
from tuning.retries import TrialQueue
from tuning.runs import StudyRuns
from tuning.space import Space
from tuning.tried import REPEATS, Tried, counted

SAME_BUG_LIMIT = 3
"""A study ends when so many trials have failed with the same unexpected error."""
SECONDS_BETWEEN_CALLS = 5.0
"""How often the curves of a running trial are sent to MLflow."""


class _StoppedError(Exception):
    """The search is to end now."""


class TrialBugError(RuntimeError):
    """The code that is tuned has a bug: its traceback is the message."""


@dataclass
class Running:
    """A trial at work, and the epochs that its worker has reported."""

    trial: Trial
    config: TrainingConfig
    run_id: str = ""
    unsent: dict[int, dict[str, float]] = field(default_factory=dict)
    sent: float = field(default_factory=time.monotonic)


class TrialResult(NamedTuple):
    """What a trial has reached."""

    metrics: Metrics
    """Of the best epoch, and what the model costs."""
    data: DataSet


def train_trial(experiment: AnyExperiment, config: TrainingConfig, report: Report) -> TrialResult:
    """Train one configuration in a worker."""
    began = time.perf_counter()

    trained = train(experiment, config, callbacks=(reporting(report),))
    cost = {
        "train_seconds": time.perf_counter() - began,
        "num_parameters": sum(each.numel() for each in trained.model.parameters()),
    }
    return TrialResult(trained.history.best_metrics() | cost, trained.data.data_set)


class Stopper:
    """Handles the first Ctrl-C: the search ends, and the finals follow."""

    asked = over = False
    """Whether the search is to end, and whether it has ended."""

    def stop(self) -> bool:
        """Ask the search to end; return whether there was one to be ended."""
        if self.asked or self.over:
            return False
        self.asked = True
        print("\nStopping: running trials are queued again. Ctrl-C once more ends the study.")
        return True


@dataclass
class Search:
    """The trials of one study that this process runs."""

    queue: TrialQueue
    space: Space
    runs: StudyRuns
    stopper: Stopper
    """Through which Ctrl-C ends it: no more trials start, and those that run are queued again."""
    seed: int
    """Of every trial: they are compared on the same data from the same random numbers."""
    num_trials: int
    """How many the study is to have, those of earlier processes included."""
    deadline: float
    """The time (`time.monotonic`) that ends it in the same way."""
    _running: dict[Task, Running] = field(default_factory=dict)
    _bugs: Counter[str] = field(default_factory=Counter)
    _maintained: float = -math.inf

    @property
    def study(self) -> optuna.Study:
        """The study, whose sampler chooses the trials."""
        return self.queue.study

    @functools.cached_property
    def bar(self) -> "tqdm[Any]":
        """The progress bar."""
        # disable=None: silent where stderr is no terminal.
        return tqdm(desc="trials", total=self.num_trials, unit="trial", disable=None)

    @functools.cached_property
    def tried(self) -> Tried:
        """The configurations that none is to be trained of again."""
        return Tried(self.study, self.space)

    def run(self, pool: Pool) -> None:
        """Run trials until there are enough, or no more time, or somebody wants to stop.

        Raises:
            UserError: a trial has found something that the user has to correct.
            TrialBugError: several trials have failed at the same place.

        """
        trials = run_all(self._trials(), pool, prune=self._report, tick=self._tick, max_retries=0)
        try:
            for task, outcome in trials:
                self._tell(task, outcome)
        except _StoppedError:
            pass
        finally:
            pool.stop()
            for running in self._running.values():
                self.queue.requeue(running.trial.number, retries.INTERRUPTED, died=False)
            if self._running:
                self.runs.close_orphans(self.study.get_trials(deepcopy=False))
            self._running.clear()
            self._show()
            self.bar.close()

    # Ask

    def _trials(self) -> Iterator[Task | None]:
        """Yield the trials to train, and None while only the results of others can tell."""
        while True:
            if self._may_start():
                yield self._ask()
            elif self._running or any(map(self.queue.is_alive, self._of_others())):
                yield None
            else:
                return

    def _may_start(self) -> bool:
        if len(self._counted()) >= self.num_trials:
            return False
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return bool(waiting) or self.tried.untried_point() is not None

    def _of_others(self) -> list[FrozenTrial]:
        """Return the trials that other processes run, whose results are worth a wait."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _counted(self) -> list[FrozenTrial]:
        return counted(self.study.get_trials(deepcopy=False))

    def _ask(self) -> Task | None:
        """Ask for a trial; return its training, or None if it is not to be trained."""
        trial = self.queue.ask()
        try:
            config = self.space.configuration({**self.space.suggest(trial), "seed": self.seed})
        except UserError as error:  # values that contradict each other, which no check has found
            trial.set_user_attr("failure", str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            self._count_bug(str(error), UserError(f"space: {error}"))
            return None
        if (earlier := self.tried.configurations().get(config, trial.number)) != trial.number:
            self._replace(trial, earlier)
            return None
        train_it = partial(train_trial, self.space.experiment, config)
        task = Task(train_it, f"trial {trial.number}")
        self._running[task] = Running(trial, config)
        return task

    def _replace(self, trial: Trial, earlier: int) -> None:
        """End a trial that would repeat an earlier one, and queue an untried point in its place."""
        trial.set_user_attr(REPEATS, earlier)
        trial.set_user_attr("failure", f"has the configuration of trial {earlier}")
        self.study.tell(trial, state=TrialState.FAIL)
        if (point := self.tried.untried_point(self.seed)) is not None:
            self.study.enqueue_trial(point)

    # Run

    def _report(self, task: Task, epoch: Epoch) -> bool:
        """Report an epoch to Optuna; return whether the trial is to be pruned."""
        running, metric = self._running[task], self.space.metric
        if metric not in epoch.metrics:
            known = ", ".join(name for name in epoch.metrics if name.startswith("val/"))
            raise UserError(f"metric={metric}: is not measured; allowed are {known}")
        running.unsent[epoch.number] = epoch.metrics
        if self.space.others:  # Optuna prunes by a single objective only
            return False
        try:
            running.trial.report(epoch.metrics[metric], epoch.number)
        except UpdateFinishedTrialError:
            return True
        return bool(running.trial.should_prune())

    def _tick(self) -> None:
        """Open and write the runs of trials while these train, and send their heartbeats."""
        if self.stopper.asked or time.monotonic() >= self.deadline:
            raise _StoppedError
        for running in self._running.values():
            self._open(running)
            if time.monotonic() - running.sent > SECONDS_BETWEEN_CALLS:
                self._send(running)
        self._maintain()
        self._show()

    def _open(self, running: Running) -> None:
        if not running.run_id:
            running.run_id = self.runs.open_trial(running.trial.number, running.config)

    # Tell

    def _tell(self, task: Task, outcome: Outcome) -> None:
        """Tell Optuna what became of a trial, and end its run."""
        running, metrics = self._running[task], Metrics()
        self._open(running)
        # Another process, which took this one for dead, may have failed the trial.
        with contextlib.suppress(UpdateFinishedTrialError):
            if not self._frozen(running).state.is_finished():
                metrics = self._tell_optuna(running, outcome)
        self._send(running)
        tags = outcome.result.data.tags if isinstance(outcome, Done) else {}
        self.runs.close_trial(running.run_id, self._frozen(running), metrics, tags)
        del self._running[task]
        if isinstance(outcome, Failed) and outcome.kind == "user":
            raise UserError(outcome.reason.removeprefix("UserError: "))
        if isinstance(outcome, Failed) and outcome.kind == "bug":
            text = f"{SAME_BUG_LIMIT} trials failed in the same way, the last so:\n"
            self._count_bug(outcome.origin, TrialBugError(text + outcome.traceback))

    def _tell_optuna(self, running: Running, outcome: Outcome) -> Metrics:
        """Tell Optuna the result of a trial; return its final metrics."""
        number = running.trial.number
        match outcome:
            case Done(TrialResult(metrics)):
                values = {o.name: o.value(metrics) for o in self.space.objectives}
                infinite = [name for name, value in values.items() if not math.isfinite(value)]
                if not infinite:
                    self.study.tell(number, list(values.values()))
                    return metrics
                self._fail(running, f"{infinite[0]} is {values[infinite[0]]}")
            case Pruned():
                self.study.tell(number, state=TrialState.PRUNED)
            case Failed(reason=reason):
                self._fail(running, reason)
            case Died(reason=reason):
                self.queue.requeue(number, f"its worker was killed ({reason})")
        return {}

    def _fail(self, running: Running, reason: str) -> None:
        running.trial.set_user_attr("failure", reason)
        self.study.tell(running.trial.number, state=TrialState.FAIL)

    def _count_bug(self, origin: str, error: Exception) -> None:
        self._bugs[origin] += 1
        if self._bugs[origin] == SAME_BUG_LIMIT:
            raise error

    def _send(self, running: Running) -> None:
        self.runs.log_epochs(running.run_id, running.unsent)
        running.unsent, running.sent = {}, time.monotonic()

    def _frozen(self, running: Running) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[running.trial.number]

    def _maintain(self) -> None:
        """Send heartbeats of our trials, and queue those again whose process has died."""
        if time.monotonic() - self._maintained < retries.HEARTBEAT_SECONDS:
            return
        self._maintained = time.monotonic()
        self.queue.heartbeat([running.trial.number for running in self._running.values()])
        if self.queue.requeue_stale_trials():
            self.runs.close_orphans(self.study.get_trials(deepcopy=False))

    def _reached(self) -> str:
        if self.space.others:
            return f"{len(self.study.best_trials)} on the Pareto front"
        return f"{self.space.metric} {decimal(self.study.best_value)}"

    def _show(self) -> None:
        counted = self._counted()
        self.bar.n = sum(trial.state.is_finished() for trial in counted)
        if any(trial.state == TrialState.COMPLETE for trial in counted):
            self.bar.set_postfix_str(self._reached())
        self.bar.refresh()

"""The search: ask Optuna for a configuration, train it in a worker, tell Optuna the result."""

import contextlib
import functools
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import optuna
from harness.execution.workers import (
    Died,
    Done,
    Epoch,
    Failed,
    Message,
    Pool,
    Pruned,
    Report,
    Worker,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from harness import signals
from harness.config import TrainingConfig
from harness.errors import UserError
from harness.experiment import AnyExperiment, Metrics
from harness.fingerprints import DataSet
from harness.training.history import best_name
from harness.training.loop import Progress
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


class TrialBugError(RuntimeError):
    """The code that is tuned has a bug: its traceback is the message."""


@dataclass
class Running:
    """A trial at work, and the epochs that its worker has reported."""

    trial: Trial
    run_id: str = ""
    unsent: dict[int, dict[str, float]] = field(default_factory=dict)
    sent: float = field(default_factory=time.monotonic)


class TrialResult(NamedTuple):
    """What a trial has reached."""

    metrics: Metrics
    """Of the best epoch, and the time."""
    data: DataSet


def train_trial(experiment: AnyExperiment, config: TrainingConfig, report: Report) -> TrialResult:
    """Train one configuration in a worker."""
    began = time.perf_counter()

    def tell(progress: Progress) -> None:
        report(progress.epoch, progress.history.rows[-1])

    trained = train(experiment, config, callbacks=(tell,))
    seconds = {"train_seconds": time.perf_counter() - began}
    return TrialResult(trained.history.best_metrics() | seconds, trained.data.data_set)


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
    """The time (`time.monotonic`) after which none is started."""
    _running: dict[Worker, Running] = field(default_factory=dict)
    _bugs: Counter[str] = field(default_factory=Counter)
    _maintained: float = -math.inf

    @property
    def study(self) -> optuna.Study:
        """The study, whose sampler chooses the trials."""
        return self.queue.study

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
        # disable=None: silent where stderr is no terminal.
        bar = tqdm(desc="trials", total=self.num_trials, unit="trial", disable=None)
        try:
            while not self.stopper.asked:
                signals.check()
                self._maintain()
                while (worker := pool.idle()) and self._may_start():
                    self._start(worker)
                others = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if not self._running and not any(map(self.queue.is_alive, others)):
                    break  # results of other processes are worth a wait
                for worker, message in pool.receive(timeout_seconds=1.0):
                    self._handle(worker, message)
                self._show(bar)
        finally:
            pool.stop()
            for running in self._running.values():
                self.queue.requeue(running.trial.number, retries.INTERRUPTED, died=False)
            if self._running:
                self.runs.close_orphans(self.study.get_trials(deepcopy=False))
            self._running.clear()
            self._show(bar)
            bar.close()

    def _counted(self) -> list[FrozenTrial]:
        return counted(self.study.get_trials(deepcopy=False))

    def _may_start(self) -> bool:
        if time.monotonic() >= self.deadline or len(self._counted()) >= self.num_trials:
            return False
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return bool(waiting) or self.tried.untried_point() is not None

    def _start(self, worker: Worker) -> None:
        """Ask for a trial and give it to a worker; then open its run, while the worker trains."""
        trial = self.queue.ask(worker.number)
        try:
            config = self.space.configuration({**self.space.suggest(trial), "seed": self.seed})
        except UserError as error:  # values that contradict each other, which no check has found
            trial.set_user_attr("failure", str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            self._count_bug(str(error), UserError(f"space: {error}"))
            return
        if (earlier := self.tried.configurations().get(config, trial.number)) != trial.number:
            self._replace(trial, earlier)
            return
        running = self._running[worker] = Running(trial)
        worker.submit(partial(train_trial, self.space.experiment, config))
        running.run_id = self.runs.open_trial(trial.number, config)

    def _replace(self, trial: Trial, earlier: int) -> None:
        """End a trial that would repeat an earlier one, and queue an untried point in its place."""
        trial.set_user_attr(REPEATS, earlier)
        trial.set_user_attr("failure", f"has the configuration of trial {earlier}")
        self.study.tell(trial, state=TrialState.FAIL)
        if (point := self.tried.untried_point(self.seed)) is not None:
            self.study.enqueue_trial(point)

    def _handle(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Epoch):
            self._handle_epoch(worker, message)
            return
        running, metrics = self._running[worker], Metrics()
        # Another process, which took this one for dead, may have failed the trial.
        with contextlib.suppress(UpdateFinishedTrialError):
            if not self._frozen(running).state.is_finished():
                metrics = self._tell(running, message)
        self._send(running)
        tags = message.result.data.tags if isinstance(message, Done) else {}
        self.runs.close_trial(running.run_id, self._frozen(running), metrics, tags)
        del self._running[worker]
        if isinstance(message, Failed) and message.kind == "user":
            raise UserError(message.reason.removeprefix("UserError: "))
        if isinstance(message, Failed) and message.kind == "bug":
            text = f"{SAME_BUG_LIMIT} trials failed in the same way, the last so:\n"
            self._count_bug(message.origin, TrialBugError(text + message.traceback))

    def _tell(self, running: Running, message: Message) -> Metrics:
        """Tell Optuna the result of a trial; return its final metrics."""
        number, metric = running.trial.number, self.space.metric
        match message:
            case Done(TrialResult(metrics)) if math.isfinite(metrics[best_name(metric)]):
                self.study.tell(number, metrics[best_name(metric)])
                return metrics
            case Done(TrialResult(metrics)):
                self._fail(running, f"{metric} is {metrics[best_name(metric)]}")
            case Pruned():
                self.study.tell(number, state=TrialState.PRUNED)
            case Failed(reason=reason):
                self._fail(running, reason)
            case Died(exit_code=code):
                self.queue.requeue(number, f"its worker was killed (exit status {code})")
        return {}

    def _handle_epoch(self, worker: Worker, epoch: Epoch) -> None:
        running, metric = self._running[worker], self.space.metric
        if metric not in epoch.metrics:
            known = ", ".join(name for name in epoch.metrics if name.startswith("val/"))
            raise UserError(f"metric={metric}: is not measured; allowed are {known}")
        try:
            running.trial.report(epoch.metrics[metric], epoch.number)
        except UpdateFinishedTrialError:
            worker.reply(prune=True)
            return
        worker.reply(prune=running.trial.should_prune())
        running.unsent[epoch.number] = epoch.metrics
        if time.monotonic() - running.sent > SECONDS_BETWEEN_CALLS:
            self._send(running)

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

    def _show(self, bar: "tqdm[Any]") -> None:
        counted = self._counted()
        bar.n = sum(trial.state.is_finished() for trial in counted)
        if any(trial.state == TrialState.COMPLETE for trial in counted):
            bar.set_postfix({self.space.metric: decimal(self.study.best_value)})
        bar.refresh()

"""The search: ask Optuna for a configuration, train it in a worker, tell Optuna the result."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from harness import signals
from harness.config import TrainingConfig
from harness.errors import UserError
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
from harness.experiment import AnyExperiment, Metrics
from harness.training.history import best_name
from harness.training.loop import Progress
from harness.training.metrics import decimal
from harness.training.train import train
from tuning import trials
from tuning.runs import StudyRuns
from tuning.space import Space
from tuning.trials import TrialQueue

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


def train_trial(experiment: AnyExperiment, config: TrainingConfig, report: Report) -> Metrics:
    """Train one configuration in a worker; return the metrics of the best epoch, and the time."""
    began = time.perf_counter()

    def tell(progress: Progress) -> None:
        report(progress.epoch, progress.history.rows[-1])

    history = train(experiment, config, callbacks=(tell,)).history
    return {**history.best_metrics(), "train_seconds": time.perf_counter() - began}


class Search:
    """The trials of one study that this process runs.

    Args:
        queue: the trials of the study.
        space: what is searched.
        seed: of every trial: they are compared on the same data from the same random numbers.
        num_trials: how many the study is to have, those of earlier processes included.
        deadline: the time (`time.monotonic`) after which none is started.
        runs: where they are tracked.

    """

    def __init__(
        self,
        queue: TrialQueue,
        space: Space,
        *,
        seed: int,
        num_trials: int,
        deadline: float,
        runs: StudyRuns,
    ):
        self.queue = queue
        self.study = queue.study
        self.space = space
        self.seed = seed
        self.num_trials = num_trials
        self.deadline = deadline
        self.runs = runs
        self.stopping = False
        self._running: dict[Worker, Running] = {}
        self._bugs: Counter[str] = Counter()
        self._maintained = -math.inf

    def stop(self) -> None:
        """Start no more trials, and queue again those that run."""
        self.stopping = True

    def run(self, pool: Pool) -> None:
        """Run trials until there are enough, or no more time, or somebody wants to stop.

        Raises:
            UserError: a trial has found something that the user has to correct.
            TrialBugError: several trials have failed at the same place.

        """
        # disable=None: silent where stderr is no terminal.
        bar = tqdm(desc="trials", total=self.num_trials, unit="trial", disable=None)
        try:
            while not self.stopping:
                signals.check()
                self._maintain()
                while (worker := pool.idle()) and self._may_start():
                    self._start(worker)
                if not self._running and not self._others_run():
                    break
                for worker, message in pool.receive(timeout_seconds=1.0):
                    self._handle(worker, message)
                self._show(bar)
        finally:
            with signals.deferred():
                pool.stop()
                self._requeue_running()
            self._show(bar)
            bar.close()

    def counted(self) -> list[FrozenTrial]:
        """Return the trials that count: neither waiting nor queued again."""
        found = self.study.get_trials(deepcopy=False)
        again = trials.requeued(found)
        return [t for t in found if t.state != TrialState.WAITING and t.number not in again]

    def _others_run(self) -> bool:
        """Whether other processes run trials of this study, whose results are worth a wait."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(self.queue.is_alive(trial) for trial in running)

    def _may_start(self) -> bool:
        return time.monotonic() < self.deadline and len(self.counted()) < self.num_trials

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
        running = self._running[worker] = Running(trial)
        worker.submit(partial(train_trial, self.space.experiment, config))
        running.run_id = self.runs.open_trial(trial.number, config)

    def _handle(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Epoch):
            self._handle_epoch(worker, message)
            return
        running = self._running[worker]
        try:
            # Another process may have failed it, which took this one for dead.
            ended = self._frozen(running).state.is_finished()
            metrics = {} if ended else self._tell(running, message)
        except UpdateFinishedTrialError:
            metrics = {}
        self._send(running)
        self.runs.close_trial(running.run_id, self._frozen(running), metrics)
        del self._running[worker]
        if isinstance(message, Failed):
            self._handle_failure(message)

    def _tell(self, running: Running, message: Message) -> Metrics:
        """Tell Optuna the result of a trial; return its final metrics."""
        number, metric = running.trial.number, self.space.metric
        match message:
            case Done(dict(metrics)) if math.isfinite(metrics[best_name(metric)]):
                self.study.tell(number, metrics[best_name(metric)])
                return metrics
            case Done(dict(metrics)):
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

    def _handle_failure(self, failure: Failed) -> None:
        """End the study for an error that the values of the trial did not cause."""
        if failure.kind == "user":
            raise UserError(failure.reason.removeprefix("UserError: "))
        if failure.kind == "bug":
            text = f"{SAME_BUG_LIMIT} trials failed in the same way, the last so:\n"
            self._count_bug(failure.origin, TrialBugError(text + failure.traceback))

    def _count_bug(self, origin: str, error: Exception) -> None:
        self._bugs[origin] += 1
        if self._bugs[origin] == SAME_BUG_LIMIT:
            raise error

    def _send(self, running: Running) -> None:
        self.runs.log_epochs(running.run_id, running.unsent)
        running.unsent, running.sent = {}, time.monotonic()

    def _frozen(self, running: Running) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[running.trial.number]

    def _requeue_running(self) -> None:
        """Queue again what still runs when the search ends, and close its runs."""
        for running in self._running.values():
            self.queue.requeue(running.trial.number, trials.INTERRUPTED, died=False)
        if self._running:
            self.runs.close_orphans(self.study.get_trials(deepcopy=False))
        self._running.clear()

    def _maintain(self) -> None:
        """Send heartbeats of our trials, and queue those again whose process has died."""
        if time.monotonic() - self._maintained < trials.HEARTBEAT_SECONDS:
            return
        self._maintained = time.monotonic()
        self.queue.heartbeat([running.trial.number for running in self._running.values()])
        if self.queue.requeue_stale_trials():
            self.runs.close_orphans(self.study.get_trials(deepcopy=False))

    def _show(self, bar: "tqdm[Any]") -> None:
        counted = self.counted()
        bar.n = sum(trial.state.is_finished() for trial in counted)
        complete = [
            t.value for t in counted if t.state == TrialState.COMPLETE and t.value is not None
        ]
        if complete:
            best = max(complete) if self.space.maximise else min(complete)
            bar.set_postfix({self.space.metric: decimal(best)})
        bar.refresh()

"""The search: ask Optuna for a configuration, have it trained, tell Optuna what came of it."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from experiments.harness import signals
from experiments.harness.config import TrainingConfig
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment
from experiments.harness.loop import Progress
from experiments.harness.metrics import decimal
from tuning import storage
from tuning.runs import StudyRuns, summary
from tuning.space import Space
from tuning.workers import Died, Done, Epoch, Failed, Message, Pool, Pruned, Report, Worker

SAME_BUG_LIMIT = 3
"""A study ends when so many trials have failed at the same place for no known reason."""
SECONDS_BETWEEN_CALLS = 5.0
"""How often the curves of a running trial are sent to MLflow."""


class TrialBugError(RuntimeError):
    """The code that is tuned has a bug: its traceback is the message."""


@dataclass
class Running:
    """A trial and what its worker has said so far."""

    trial: Trial
    config: TrainingConfig
    run_id: str = ""
    unsent: dict[int, dict[str, float]] = field(default_factory=dict)
    sent: float = field(default_factory=time.monotonic)


class Trained(NamedTuple):
    """What came of a trial."""

    best: dict[str, float]
    """The metrics of the epoch that was kept."""
    best_epoch: int
    seconds: float
    """Time that training took, data and validation included."""


def train(experiment: Experiment[Any, Any], config: TrainingConfig, report: Report) -> Trained:
    """Train one configuration in a worker."""
    began = time.perf_counter()
    seed_everything(config.seed)
    hardware = Hardware.choose(config)

    def tell(progress: Progress) -> None:
        report(progress.epoch, progress.history.rows[-1])

    history = experiment.learn(config, hardware, None, (tell,)).history
    return Trained(history.best, history.best_epoch, time.perf_counter() - began)


class Search:
    """The trials of one study that this process is in charge of.

    Args:
        study: where trials are asked for and told of.
        space: what is searched.
        seed: of every trial: they are compared on the same data from the same random numbers.
        num_trials: how many the study is to have, those of earlier processes included.
        deadline: the time (`time.monotonic`) after which none is started.
        runs: where they are tracked.

    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        *,
        seed: int,
        num_trials: int,
        deadline: float,
        runs: StudyRuns,
    ):
        self.study = study
        self.space = space
        self.seed = seed
        self.num_trials = num_trials
        self.deadline = deadline
        self.runs = runs
        self.stopping = False
        self._running: dict[Worker, Running] = {}
        self._bugs: Counter[str] = Counter()
        self._looked = -math.inf

    def stop(self) -> None:
        """Start no more trials, and put those that run back in the queue."""
        self.stopping = True

    def run(self, pool: Pool) -> None:
        """Run trials until there are enough, or no more time, or somebody wants to stop.

        Raises:
            UserError: a trial has found something that the user has to mend.
            TrialBugError: several trials have failed at the same place.

        """
        # disable=None: silent where stderr is no terminal.
        bar = tqdm(desc="trials", total=self.num_trials, unit="trial", disable=None)
        try:
            while not self.stopping:
                signals.check()
                self._look_after_others()
                while (worker := pool.idle()) and self._may_start():
                    self._start(worker)
                if not self._running and not self._others_run():
                    break
                for worker, message in pool.listen(seconds=1.0):
                    self._hear(worker, message)
                self._show(bar)
        finally:
            with signals.deferred():
                pool.stop()
                self._put_back_all()
            self._show(bar)
            bar.close()

    def counted(self) -> list[FrozenTrial]:
        """Return the trials that count: neither waiting nor put back in the queue."""
        trials = self.study.get_trials(deepcopy=False)
        again = storage.replaced(trials)
        return [t for t in trials if t.state != TrialState.WAITING and t.number not in again]

    def _others_run(self) -> bool:
        """Whether other processes are at trials of this study, whose results are worth a wait."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(storage.is_alive(self.study, trial) for trial in running)

    def _may_start(self) -> bool:
        return time.monotonic() < self.deadline and len(self.counted()) < self.num_trials

    def _start(self, worker: Worker) -> None:
        """Ask for a trial and hand it to a worker; then track it, while the worker is at work."""
        trial = storage.ask(self.study, worker.number)
        try:
            config = self.space.configuration({**self.space.suggest(trial), "seed": self.seed})
        except UserError as error:  # values that contradict each other, and no check has found
            trial.set_user_attr("failure", str(error))
            self.study.tell(trial, state=TrialState.FAIL)
            self._count_bug(str(error), UserError(f"space: {error}"))
            return
        running = self._running[worker] = Running(trial, config)
        worker.submit(partial(train, self.space.experiment, config))
        running.run_id = self.runs.open_trial(trial.number, config)

    def _hear(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Epoch):
            self._hear_of_epoch(worker, message)
            return
        running = self._running[worker]
        try:
            numbers = self._tell(running, message)
        except UpdateFinishedTrialError:  # another process has taken this one for dead
            numbers = {}
        self._close(running, numbers)
        del self._running[worker]
        if isinstance(message, Failed):
            self._judge_failure(message)

    def _tell(self, running: Running, message: Message) -> dict[str, float]:
        """Tell Optuna what came of a trial; return the numbers that sum it up."""
        number = running.trial.number
        match message:
            case Done(Trained(best, best_epoch, seconds)) if math.isfinite(self._value(best)):
                self.study.tell(number, self._value(best))
                return {**summary(best, best_epoch), "train_seconds": seconds}
            case Done(Trained(best)):
                self._fail(running, f"{self.space.metric} is {self._value(best)}")
            case Pruned():
                self.study.tell(number, state=TrialState.PRUNED)
            case Failed(reason=reason):
                self._fail(running, reason)
            case Died(exit_code=code):
                reason = f"its worker was killed (exit status {code})"
                storage.put_back(self.study, self._frozen(running), reason)
        return {}

    def _hear_of_epoch(self, worker: Worker, epoch: Epoch) -> None:
        running = self._running[worker]
        if self.space.metric not in epoch.row:
            known = ", ".join(name for name in epoch.row if name.startswith("val/"))
            raise UserError(f"metric={self.space.metric}: is not measured; allowed are {known}")
        try:
            running.trial.report(epoch.row[self.space.metric], epoch.number)
        except UpdateFinishedTrialError:
            worker.reply(go_on=False)
            return
        worker.reply(go_on=not running.trial.should_prune())
        running.unsent[epoch.number] = epoch.row
        if time.monotonic() - running.sent > SECONDS_BETWEEN_CALLS:
            self._send(running)

    def _value(self, row: dict[str, float]) -> float:
        return row[self.space.metric]

    def _fail(self, running: Running, reason: str) -> None:
        running.trial.set_user_attr("failure", reason)
        self.study.tell(running.trial.number, state=TrialState.FAIL)

    def _judge_failure(self, failure: Failed) -> None:
        """End the study for what is no fault of the values that were tried."""
        if failure.kind == "mistake":
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

    def _close(self, running: Running, numbers: dict[str, float]) -> None:
        self._send(running)
        self.runs.close_trial(running.run_id, self._frozen(running), numbers)

    def _frozen(self, running: Running) -> FrozenTrial:
        return self.study._storage.get_trial(running.trial._trial_id)

    def _put_back_all(self) -> None:
        """Put back what still runs, when the search ends before it does, and close its runs."""
        for running in self._running.values():
            storage.put_back(self.study, self._frozen(running), storage.INTERRUPTED, died=False)
        if self._running:
            self.runs.close_orphans(self.study.get_trials(deepcopy=False))
        self._running.clear()

    def _look_after_others(self) -> None:
        """Say that our trials go on; put back those of processes that have died."""
        if time.monotonic() - self._looked < storage.HEARTBEAT_SECONDS:
            return
        self._looked = time.monotonic()
        storage.beat(self.study, [running.trial._trial_id for running in self._running.values()])
        if storage.put_back_the_dead(self.study):
            self.runs.close_orphans(self.study.get_trials(deepcopy=False))

    def _show(self, bar: "tqdm[Any]") -> None:
        trials = self.counted()
        bar.n = sum(trial.state.is_finished() for trial in trials)
        complete = [
            t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None
        ]
        if complete:
            best = max(complete) if self.space.maximise else min(complete)
            bar.set_postfix({self.space.metric: decimal(best)})
        bar.refresh()

"""Finalists: configurations trained again with seeds that no trial has seen."""

import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from harness.execution.workers import Died, Done, Epoch, Failed, Message, Pool, Report, Worker
from mlflow.tracking import MlflowClient
from tqdm import tqdm

from harness import signals
from harness.config import TrainingConfig
from harness.errors import UserError
from harness.evaluation import sample_std
from harness.experiment import AnyExperiment
from harness.fingerprints import DataSet
from harness.run_experiment import train_and_evaluate
from harness.tracking.run import data_set_of, model_of
from harness.training.history import best_name
from tuning.retries import MAX_RETRIES
from tuning.runs import FINALIST, StudyRuns


class SeedResult(NamedTuple):
    """One configuration trained with one seed."""

    run_id: str
    model_id: str
    value: float
    """The metric on validation at the best epoch."""
    data: DataSet
    """What it was trained and validated on."""


@dataclass(frozen=True)
class Finalist:
    """One configuration trained with several seeds."""

    name: str
    config: TrainingConfig
    """With any seed."""
    by_seed: Mapping[int, SeedResult]

    @property
    def values(self) -> dict[int, float]:
        """The metric by seed."""
        return {seed: result.value for seed, result in self.by_seed.items()}

    @property
    def mean(self) -> float:
        """Mean of the metric over the seeds."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float:
        """Sample standard deviation of the metric over the seeds."""
        return sample_std(self.values.values())

    @property
    def fingerprints(self) -> str:
        """Fingerprints of what it was trained and validated on, by seed."""
        return " ".join(
            f"{seed}:{of.data.fingerprint}" for seed, of in sorted(self.by_seed.items())
        )

    def best(self, maximise: bool) -> tuple[int, SeedResult]:
        """Return the seed with the best value, and its result."""
        sign = 1 if maximise else -1
        return max(self.by_seed.items(), key=lambda item: sign * item[1].value)


def train_finalist(
    experiment: AnyExperiment,
    config: TrainingConfig,
    metric: str,
    parent_id: str,
    name: str,
    tags: Mapping[str, str],
    report: Report,
) -> SeedResult:
    """Train one configuration in a worker, in a run of its own that holds the model.

    The test split is not read: only a champion is evaluated on it.
    """
    options: dict[str, Any] = {"parent_id": parent_id, "name": name, "tags": tags}
    run = train_and_evaluate(experiment, config, read_test=False, quiet=True, **options)
    return read_result(run.run_id, metric)


def read_result(run_id: str, metric: str) -> SeedResult:
    """Return the result that a finished run has logged."""
    run, model_id = MlflowClient().get_run(run_id), model_of(run_id)
    if model_id is None:
        raise LookupError(f"run {run_id} is finished and has no model")
    value = run.data.metrics[best_name(metric)]
    return SeedResult(run_id, model_id, value, data_set_of(run))


@dataclass
class FinalistTraining:
    """Trains configurations with seeds, several at once; what an earlier process did is kept."""

    experiment: AnyExperiment
    metric: str
    runs: StudyRuns

    def train(
        self, pool: Pool, entries: Mapping[str, TrainingConfig], seeds: Sequence[int]
    ) -> list[Finalist]:
        """Train each entry with each seed; those that fail with one are left out."""
        self.runs.close_finalists()
        trained: dict[str, dict[int, SeedResult]] = {name: {} for name in entries}
        waiting: deque[tuple[str, TrainingConfig]] = deque()
        for seed in seeds:
            for name, entry in entries.items():
                config = entry.replace(seed=seed)
                run = self._earlier(config)
                if run is not None and run.info.status == "FINISHED":
                    trained[name][seed] = read_result(run.info.run_id, self.metric)
                else:
                    waiting.append((name, config))
        try:
            failed = self._train_all(pool, waiting, trained)
        except BaseException:
            pool.stop()
            self.runs.close_finalists()
            raise
        return [
            Finalist(name, entry, trained[name])
            for name, entry in entries.items()
            if name not in failed and len(trained[name]) == len(seeds)
        ]

    def _train_all(
        self,
        pool: Pool,
        waiting: deque[tuple[str, TrainingConfig]],
        trained: dict[str, dict[int, SeedResult]],
    ) -> set[str]:
        """Train what waits; add the results to `trained`, and return the names that failed."""
        running: dict[Worker, tuple[str, TrainingConfig]] = {}
        failed: set[str] = set()
        deaths: Counter[tuple[str, int]] = Counter()
        with tqdm(desc="finals", total=len(waiting), unit="run", disable=None) as bar:
            while waiting or running:
                signals.check()
                while waiting and (worker := pool.idle()):
                    running[worker] = name, config = waiting.popleft()
                    worker.submit(self._task(name, config))
                for worker, message in pool.receive(timeout_seconds=1.0):
                    if isinstance(message, Epoch):
                        worker.reply(prune=False)
                        continue
                    name, config = running.pop(worker)
                    if isinstance(message, Died) and deaths[name, config.seed] < MAX_RETRIES:
                        deaths[name, config.seed] += 1
                        self.runs.close_finalists()
                        waiting.append((name, config))
                        continue
                    bar.update()
                    if isinstance(message, Done) and math.isfinite(message.result.value):
                        trained[name][config.seed] = message.result
                    else:
                        failed.add(name)
                        _explain(name, config, message)
        return failed

    def _earlier(self, config: TrainingConfig) -> Any:
        """Return the latest run of this configuration, or None; all but `resume` is the same."""
        wanted = {name: str(value) for name, value in config.as_parameters().items()}
        for run in reversed(self.runs.children(FINALIST)):
            if {**run.data.params, "resume": ""} == {**wanted, "resume": ""}:
                return run
        return None

    def _task(self, name: str, config: TrainingConfig) -> Callable[[Report], SeedResult]:
        """Return the training of a configuration, which resumes a run that was interrupted."""
        if (run := self._earlier(config)) is not None:
            config = config.replace(resume=run.info.run_id)
        tags = {"optuna.study_name": self.runs.study_name, "tuning.stage": FINALIST}
        title, parent_id = f"{name}, seed {config.seed}", self.runs.parent_id
        return partial(train_finalist, self.experiment, config, self.metric, parent_id, title, tags)


def _explain(name: str, config: TrainingConfig, message: Message) -> None:
    """Say why a finalist is left out; raise an error that its values did not cause."""
    reason = type(message).__name__.lower()
    if isinstance(message, Failed):
        if message.kind == "user":
            raise UserError(message.reason.removeprefix("UserError: "))
        if message.kind == "bug":
            raise RuntimeError(message.traceback)
        reason = message.reason
    elif isinstance(message, Died):
        reason = f"its worker was killed (exit status {message.exit_code})"
    tqdm.write(f"{name} is left out: with seed {config.seed}, {reason}")


def winner(finalists: Iterable[Finalist], maximise: bool) -> Finalist:
    """Return the finalist with the best mean."""
    return max(finalists, key=lambda finalist: finalist.mean * (1 if maximise else -1))

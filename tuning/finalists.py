"""Finalists: configurations trained again with seeds that no trial has seen."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mlflow.tracking import MlflowClient
from tqdm import tqdm

from harness.errors import UserError
from harness.evaluation import sample_std
from harness.execution.messages import Died, Done, Failed, Outcome, Report, Task, reporting
from harness.execution.run_all import Pool, run_all
from harness.experiment import AnyExperiment
from harness.fingerprints import DataSet
from harness.run_experiment import train_and_evaluate
from harness.tracking.run import data_set_of, model_of
from harness.training.config import TrainingConfig
from harness.training.history import best_name
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
    name: str,
    runs: StudyRuns,
    read_test: bool,
    report: Report,
) -> SeedResult:
    """Train one configuration in a worker, in a run of its own that holds the model.

    One that was interrupted is resumed; what an earlier process has reached is returned.
    """
    if (earlier := earlier_run(config, runs)) is not None:
        if earlier.info.status == "FINISHED":
            return read_result(earlier.info.run_id, metric)
        config = config.replace(resume=earlier.info.run_id)
    options: dict[str, Any] = {
        "parent_id": runs.parent_id,
        "name": f"{name}, seed {config.seed}",
        "tags": {"optuna.study_name": runs.study_name, "tuning.stage": FINALIST},
        "callbacks": (reporting(report),),
    }
    run = train_and_evaluate(experiment, config, read_test=read_test, quiet=True, **options)
    return read_result(run.run_id, metric)


def earlier_run(config: TrainingConfig, runs: StudyRuns) -> Any:
    """Return the latest run of this configuration, or None; all but `resume` is the same."""
    wanted = {name: str(value) for name, value in config.as_parameters().items()}
    for run in reversed(runs.children(FINALIST)):
        if {**run.data.params, "resume": ""} == {**wanted, "resume": ""}:
            return run
    return None


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
    read_test: bool = False
    """Whether each is evaluated on the test split: not where one is chosen, and only a champion is
    evaluated on it."""

    def train(
        self, pool: Pool, entries: Mapping[str, TrainingConfig], seeds: Sequence[int]
    ) -> list[Finalist]:
        """Train each entry with each seed; those that fail with one are left out."""
        self.runs.close_finalists()
        tasks = {
            self._task(name, entry.replace(seed=seed)): (name, seed)
            for seed in seeds
            for name, entry in entries.items()
        }
        trained: dict[str, dict[int, SeedResult]] = {name: {} for name in entries}
        failed = set()
        try:
            for task, outcome in run_all(list(tasks), pool, title="finals"):
                name, seed = tasks[task]
                if isinstance(outcome, Done) and math.isfinite(outcome.result.value):
                    trained[name][seed] = outcome.result
                else:
                    failed.add(name)
                    _explain(name, seed, outcome)
        except BaseException:
            pool.stop(gently=True)
            self.runs.close_finalists()
            raise
        return [
            Finalist(name, entry, trained[name])
            for name, entry in entries.items()
            if name not in failed
        ]

    def _task(self, name: str, config: TrainingConfig) -> Task:
        what = self.experiment, config, self.metric, name, self.runs, self.read_test
        return Task(partial(train_finalist, *what), f"{name}, seed {config.seed}")


def _explain(name: str, seed: int, outcome: Outcome) -> None:
    """Say why a finalist is left out; raise an error that its values did not cause."""
    reason = type(outcome).__name__.lower()
    if isinstance(outcome, Failed):
        if outcome.kind == "user":
            raise UserError(outcome.reason.removeprefix("UserError: "))
        if outcome.kind == "bug":
            raise RuntimeError(outcome.traceback)
        reason = outcome.reason
    elif isinstance(outcome, Died):
        reason = f"its worker was killed ({outcome.reason})"
    tqdm.write(f"{name} is left out: with seed {seed}, {reason}")


def winner(finalists: Iterable[Finalist], maximise: bool) -> Finalist:
    """Return the finalist with the best mean."""
    return max(finalists, key=lambda finalist: finalist.mean * (1 if maximise else -1))

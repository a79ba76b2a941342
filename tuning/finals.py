"""The finals: a study's best configurations, trained again with seeds that no trial has seen."""

import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from mlflow.tracking import MlflowClient
from tqdm import tqdm

from experiments.harness import signals, tracking
from experiments.harness.config import TrainingConfig
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment
from tuning.runs import FINALIST, StudyRuns, best_name, child_tags, summary
from tuning.storage import MAX_RETRIES
from tuning.workers import Died, Done, Epoch, Failed, Message, Pool, Report, Worker

Contents = tuple[tuple[str, Any], ...]


class Trained(NamedTuple):
    """One configuration trained with one seed."""

    run_id: str
    model_id: str
    value: float
    """The metric on validation at the epoch that was kept."""
    data: str
    """Fingerprint of the validation split."""


@dataclass(frozen=True)
class Finalist:
    """One configuration trained with several seeds."""

    name: str
    config: TrainingConfig
    """With any seed."""
    by_seed: Mapping[int, Trained]

    @property
    def values(self) -> dict[int, float]:
        """The metric by seed."""
        return {seed: trained.value for seed, trained in self.by_seed.items()}

    @property
    def mean(self) -> float:
        """Mean of the metric over the seeds."""
        return statistics.fmean(self.values.values())

    @property
    def spread(self) -> float:
        """Standard deviation of the metric over the seeds."""
        return tracking.spread(self.values.values())

    @property
    def data(self) -> str:
        """Fingerprint of what it was judged by: the validation split of each seed."""
        return " ".join(f"{seed}:{self.by_seed[seed].data}" for seed in sorted(self.by_seed))

    def best(self, maximise: bool) -> tuple[int, Trained]:
        """Return the seed with the best value, and what it gave."""
        sign = 1 if maximise else -1
        return max(self.by_seed.items(), key=lambda item: sign * item[1].value)


def train_final(
    experiment: Experiment[Any, Any],
    config: TrainingConfig,
    metric: str,
    parent_id: str,
    name: str,
    tags: Mapping[str, str],
    report: Report,
) -> Trained:
    """Train one configuration in a worker, in a run of its own that holds the model.

    The test split is not read: only a champion is judged by it.
    """
    hardware = Hardware.choose(config)
    with tracking.track(config, hardware.name, parent_id=parent_id, name=name, tags=tags) as run:
        seed_everything(config.seed)
        learnt = experiment.learn(config, hardware, run)
        run.log_metrics(summary(learnt.history.best, learnt.history.best_epoch))
        run.log_model(learnt.model, learnt.example, learnt.varying, learnt.meaning)
    return _read(run.run_id, metric)


def _read(run_id: str, metric: str) -> Trained:
    """Read back what a finished run has reached."""
    run, model_id = MlflowClient().get_run(run_id), tracking.model_of(run_id)
    if model_id is None:
        raise LookupError(f"run {run_id} is finished and has no model")
    digests = {
        data.dataset.digest
        for data in run.inputs.dataset_inputs
        if any(tag.value == "validation" for tag in data.tags)
    }
    value = run.data.metrics[best_name(metric)]
    return Trained(run_id, model_id, value, "+".join(sorted(digests)))


class Finals:
    """Trains configurations with seeds, several at once; what an earlier process did is kept."""

    def __init__(self, experiment: Experiment[Any, Any], metric: str, runs: StudyRuns):
        self.experiment = experiment
        self.metric = metric
        self.runs = runs

    def train(
        self, pool: Pool, entries: Mapping[str, TrainingConfig], seeds: Sequence[int]
    ) -> list[Finalist]:
        """Train each entry with each seed; those that fail with one are left out."""
        self.runs.close_finalists()
        earlier = self._earlier()
        trained: dict[str, dict[int, Trained]] = {name: {} for name in entries}
        waiting: deque[tuple[str, TrainingConfig]] = deque()
        for seed in seeds:
            for name, entry in entries.items():
                config = entry.replace(seed=seed)
                run = earlier.get(_contents(config))
                if run is None:
                    waiting.append((name, config))
                elif run.info.status == "FINISHED":
                    trained[name][seed] = _read(run.info.run_id, self.metric)
                else:
                    waiting.append((name, config.replace(resume=run.info.run_id)))
        try:
            failed = self._train_all(pool, waiting, trained)
        except BaseException:
            with signals.deferred():
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
        trained: dict[str, dict[int, Trained]],
    ) -> set[str]:
        """Train what waits; add the results to `trained`, and return the names that failed."""
        at_work: dict[Worker, tuple[str, TrainingConfig]] = {}
        failed: set[str] = set()
        deaths: Counter[tuple[str, int]] = Counter()
        with tqdm(desc="finals", total=len(waiting), unit="run", disable=None) as bar:
            while waiting or at_work:
                signals.check()
                while waiting and (worker := pool.idle()):
                    at_work[worker] = waiting.popleft()
                    worker.submit(self._task(*at_work[worker]))
                for worker, message in pool.listen(seconds=1.0):
                    if isinstance(message, Epoch):
                        worker.reply(go_on=True)
                        continue
                    name, config = at_work.pop(worker)
                    if isinstance(message, Died) and deaths[name, config.seed] < MAX_RETRIES:
                        deaths[name, config.seed] += 1
                        waiting.append((name, self._go_on(config)))
                        continue
                    bar.update()
                    if isinstance(message, Done) and math.isfinite(message.result.value):
                        trained[name][config.seed] = message.result
                    else:
                        failed.add(name)
                        _explain(name, config, message)
        return failed

    def _earlier(self) -> dict[Contents, Any]:
        return {_identity(run): run for run in self.runs.children(FINALIST)}

    def _go_on(self, config: TrainingConfig) -> TrainingConfig:
        """Return what goes on where a worker that was killed has left its run."""
        self.runs.close_finalists()
        run = self._earlier().get(_contents(config))
        return config if run is None else config.replace(resume=run.info.run_id)

    def _task(self, name: str, config: TrainingConfig) -> Callable[[Report], Trained]:
        tags = {**child_tags(self.runs.study_name), "tuning.stage": FINALIST}
        title = f"{name}, seed {config.seed}"
        return partial(
            train_final, self.experiment, config, self.metric, self.runs.parent_id, title, tags
        )


def _explain(name: str, config: TrainingConfig, message: Message) -> None:
    """Say why a finalist is left out; raise what is no fault of its values."""
    reason = f"{type(message).__name__.lower()}"
    if isinstance(message, Failed):
        if message.kind == "mistake":
            raise UserError(message.reason.removeprefix("UserError: "))
        if message.kind == "bug":
            raise RuntimeError(message.traceback)
        reason = message.reason
    elif isinstance(message, Died):
        reason = f"its worker was killed (exit status {message.exit_code})"
    tqdm.write(f"{name} is left out: with seed {config.seed}, {reason}")


def _contents(config: TrainingConfig) -> Contents:
    """Return what makes two configurations the same, as MLflow's parameters are: in text."""
    values = {**config.as_parameters(), "resume": ""}
    return tuple(sorted((name, str(value)) for name, value in values.items()))


def _identity(run: Any) -> Contents:
    return tuple(sorted({**run.data.params, "resume": ""}.items()))


def winner(finalists: Iterable[Finalist], maximise: bool) -> Finalist:
    """Return the finalist with the best mean."""
    return max(finalists, key=lambda finalist: finalist.mean * (1 if maximise else -1))

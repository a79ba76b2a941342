"""From a configuration to a tracked run: train, log the model, evaluate it, draw its figures."""

import statistics
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from harness.config import C
from harness.evaluation import sample_std
from harness.experiment import Experiment, Metrics, Trained
from harness.tracking.lifecycle import reopen, track
from harness.tracking.resume import resumed
from harness.tracking.run import Run
from harness.training.device import Hardware
from harness.training.metrics import decimal, model_cost
from harness.training.train import rebuild, train


class TrackedRun(NamedTuple):
    """A run that has ended, and what it has reached."""

    run_id: str
    metrics: Metrics


def run_experiment(experiment: Experiment[C], config: C) -> TrackedRun:
    """Carry out what `config` asks for as a tracked run, or as one run for each of several seeds.

    Returns:
        The run, with its final metrics; over several seeds, those of each seed's run averaged.

    Raises:
        UserError: the configuration asks for something that is not there.

    """
    if config.resume:
        config = resumed(config)
    if config.seeds == 1:
        return train_and_evaluate(experiment, config)
    first = experiment.load_data(config)  # what a user got wrong is found before any run is opened
    with track(config, Hardware.choose(config).name) as run:
        results = run.finished_children()
        interrupted = run.interrupted_children()
        for seed in range(config.seed, config.seed + config.seeds):
            if seed not in results:
                child = config.replace(seed=seed, seeds=1, resume=interrupted.get(seed, ""))
                data = first if seed == config.seed else None
                results[seed] = train_and_evaluate(
                    experiment, child, parent_id=run.run_id, data=data
                ).metrics
        return TrackedRun(run.run_id, _summarise(results, run))


def train_and_evaluate(
    experiment: Experiment[C],
    config: C,
    *,
    parent_id: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
    read_test: bool = True,
    data: Any = None,
) -> TrackedRun:
    """Train in a run of its own, which ends with the model, its metrics and its figures.

    What an earlier process has done of it is not repeated.

    Args:
        experiment: what is trained.
        config: how; with `resume`, in that run.
        parent_id: of the run that it is a child of.
        name: of the run.
        tags: of the run.
        read_test: whether the model is evaluated on the test split.
        data: what `experiment.load_data(config)` returns, where it is loaded already.

    """
    hardware = Hardware.choose(config)
    data = experiment.load_data(config) if data is None else data
    with track(config, hardware.name, parent_id=parent_id, name=name, tags=tags) as run:
        for split in ("train", "validation"):
            log_split(experiment, data, split, run)
        trained = train(experiment, config, data=data, recorder=run)
        exported = experiment.export(config, trained)
        run.log_model(exported)
        run.log_history(trained.history)
        metrics: Metrics = {
            **trained.history.best_metrics(),
            **model_cost(exported.module, torch.from_numpy(exported.example_input)),
        }
        run.log_metrics(metrics)
        if read_test:
            metrics |= evaluate_in_run(experiment, trained, run)
    return TrackedRun(run.run_id, metrics)


def evaluate_in_run(experiment: Experiment[Any], trained: Trained, run: Run) -> Metrics:
    """Evaluate a model on the test split, which is read here, and log all that comes of it."""
    config = trained.config
    log_split(experiment, trained.data, "test", run)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    run.log_metrics(evaluation.metrics)
    for name, table in evaluation.tables.items():
        run.log_table(name, table)
    for name, values in evaluation.series.items():
        run.log_series(name, values)
    run.describe(evaluation.headline)
    for name, figure in experiment.figures(config, trained, evaluation):
        run.log_figure(name, figure)
    return evaluation.metrics


def evaluate_artifact(
    experiment: Experiment[C], config: C, run_id: str, weights: Mapping[str, torch.Tensor]
) -> Metrics:
    """Evaluate a logged model on the test split, in the run that logged it.

    Args:
        experiment: that the model is of.
        config: that it was trained with.
        run_id: of the run, which has finished.
        weights: those of the artifact itself, which is what is evaluated.

    """
    data = experiment.load_data(config)
    with reopen(run_id, config) as run:
        model = experiment.restore_model(config, data, weights)
        trained = rebuild(experiment, config, data, model, run.load_history())
        return evaluate_in_run(experiment, trained, run)


def log_split(experiment: Experiment[Any], data: Any, split: str, run: Run) -> None:
    """Log a split as a data set; of one without end, the first batch."""
    part = getattr(data, split)
    if hasattr(part, "batches"):
        part = next(iter(part.batches(1)))
    inputs, targets = experiment.example_arrays(part)
    run.log_dataset(data.name, split, inputs, targets, data.fingerprints.get(split))


def _summarise(results: dict[int, Metrics], run: Run) -> Metrics:
    results = {
        seed: {k: v for k, v in metrics.items() if k.startswith(("best/", "test/"))}
        for seed, metrics in results.items()
    }
    run.log_seeds(results)
    common = set.intersection(*(set(metrics) for metrics in results.values()))
    means = {name: statistics.fmean(m[name] for m in results.values()) for name in common}
    deviations = {name: sample_std(m[name] for m in results.values()) for name in common}
    rows = [
        f"| {name} | {decimal(means[name])} | {decimal(deviations[name], beside=means[name])} |"
        for name in sorted(common)
    ]
    heading = f"Over {len(results)} seeds:\n\n| metric | mean | standard deviation |\n|---|---|---|"
    run.describe("\n".join([heading, *rows]))
    return means

"""From a configuration to a tracked run: train, log the model, evaluate it, draw its figures."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from harness import signals, uncertainty
from harness.evaluation import sample_std
from harness.execution.messages import Report, Task, reporting, result_of
from harness.execution.pools import open_pool_if_needed
from harness.execution.run_all import run_all
from harness.experiment import Experiment, Metrics, Trained
from harness.summary import announce
from harness.tracking.abandoned import children_closed
from harness.tracking.lifecycle import reopen, require_unused_run, track
from harness.tracking.resume import resumed
from harness.tracking.run import Run, child_run, require_same_data
from harness.tracking.view import save_view
from harness.training.config import C
from harness.training.data_parallel import ALONE, Processes, joined
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Callback
from harness.training.memory import load_data
from harness.training.metrics import decimal, model_cost, prediction_seconds
from harness.training.train import train
from harness.uncertainty import Calibration


class TrackedRun(NamedTuple):
    """A run that has ended, and what it has reached."""

    run_id: str
    metrics: Metrics


def run_experiment(experiment: Experiment[C], config: C) -> TrackedRun:
    """Carry out what `config` asks for as a tracked run, or as one run for each of several seeds.

    Returns:
        The run, with its final metrics; over several seeds, those of each seed's run averaged. Of
        several processes that train one model, the first alone tracks it.

    Raises:
        UserError: the configuration asks for something that is not there.

    """
    # What a user got wrong is found before the data are loaded, and those before any run is opened.
    with joined(config) as processes:
        if processes.is_first:
            if config.resume:
                config = resumed(config)
            else:
                require_unused_run()
        config = processes.from_first(config)
        if config.seeds > 1:
            return train_seeds(experiment, config)
        if processes.is_first:
            return train_and_evaluate(experiment, config, processes=processes)
        trained = train(experiment, config, processes=processes)
        return TrackedRun("", trained.history.best_metrics())


def train_seeds(experiment: Experiment[C], config: C) -> TrackedRun:
    """Train with each seed in a run of its own, some at the same time, below a parent run."""
    hardware = Hardware.choose(config)
    with signals.interruptible():
        first = load_data(experiment, config, hardware)
    if config.resume:
        require_same_data(config.resume, first.data_set)
    seeds = range(config.seed, config.seed + config.seeds)
    with track(config, hardware.name) as run:
        announce(first)
        save_view(run.run_id, experiment)
        run.log_data(first)
        workers = open_pool_if_needed(config, len(seeds), **hardware.needs)
        with children_closed(run.run_id), workers as pool:
            tasks = {}
            for seed in seeds:
                # Workers load the data themselves; this process has those of the first seed.
                data = first if pool is None and seed == config.seed else None
                train_it = partial(train_seed, experiment, config.for_seed(seed), run.run_id, data)
                tasks[Task(train_it, f"seed {seed}")] = seed
            results = {}
            for task, outcome in run_all(list(tasks), pool, title=experiment.name):
                results[tasks[task]] = result_of(outcome, task.name)
        return TrackedRun(run.run_id, _log_seeds(dict(sorted(results.items())), run))


def train_seed(
    experiment: Experiment[C], config: C, parent_id: str, data: Any, report: Report
) -> Metrics:
    """Train with one seed, or resume that, or return what an earlier process has reached."""
    earlier = child_run(parent_id, config.seed)
    if earlier is not None and earlier.info.status == "FINISHED":
        return dict(earlier.data.metrics)
    settings = config.replace(resume=earlier.info.run_id if earlier else "")
    return train_and_evaluate(
        experiment,
        settings,
        parent_id=parent_id,
        data=data,
        quiet=True,
        callbacks=(reporting(report),),
    ).metrics


def train_and_evaluate(
    experiment: Experiment[C],
    config: C,
    *,
    parent_id: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
    read_test: bool = True,
    data: Any = None,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    processes: Processes = ALONE,
) -> TrackedRun:
    """Train in a run of its own, which ends with the model, its metrics and its figures.

    What an earlier process has done of it is not repeated. `data` is what
    `experiment.load_data(config)` returns, where it is loaded already. A summary of
    it is printed, unless `quiet`.
    """
    hardware = Hardware.choose(config)
    with signals.interruptible():
        data = load_data(experiment, config, hardware) if data is None else data
    if config.resume:
        require_same_data(config.resume, data.data_set)
    with track(config, hardware.name, parent_id=parent_id, name=name, tags=tags) as run:
        if not quiet:
            announce(data)
        if parent_id is None:
            save_view(run.run_id, experiment)
        run.log_data(data)
        log_split(experiment, data, "train", run)
        if experiment.has_validation(config):
            log_split(experiment, data, "validation", run)
        trained = train(
            experiment, config, data=data, callbacks=callbacks, recorder=run, processes=processes
        )
        signals.check()
        calibration = uncertainty.calibrate(experiment, trained)
        exported = uncertainty.kept_with(experiment.export(config, trained), calibration)
        run.log_model(exported)
        run.log_history(trained.history)
        example = torch.from_numpy(exported.example_input)
        cost = model_cost(exported.module, example)
        metrics: Metrics = {**trained.history.best_metrics(), **cost}
        run.log_metrics(metrics)
        # Not among those that are returned, which are the same for the same seed.
        run.log_metrics({"prediction_seconds": prediction_seconds(exported.module, example)})
        if read_test:
            metrics |= evaluate_in_run(experiment, trained, run, calibration)
    return TrackedRun(run.run_id, metrics)


def evaluate_in_run(
    experiment: Experiment[Any], trained: Trained, run: Run, calibration: Calibration | None
) -> Metrics:
    """Evaluate a model on the test split, which is read here, and log all that comes of it.

    What is said of any classifier's probabilities is said here; all else, the experiment says.
    """
    config = trained.config
    with signals.interruptible():
        test = trained.data.test
    log_split(experiment, trained.data, "test", run)
    with signals.interruptible():
        evaluation = experiment.evaluate(config, trained, test)
    uncertain = uncertainty.on_test(experiment, trained, calibration)
    metrics = evaluation.metrics | (uncertain.metrics if uncertain is not None else {})
    run.log_metrics(metrics)
    for name, table in evaluation.tables.items():
        run.log_table(name, table)
    for name, values in evaluation.series.items():
        run.log_series(name, values)
    run.describe(evaluation.headline)
    figures = experiment.figures(config, trained, evaluation)
    if uncertain is not None:
        figures = itertools.chain(figures, uncertain.figures())
    while True:
        with signals.interruptible():
            drawn = next(figures, None)
        if drawn is None:
            break
        run.log_figure(*drawn)
    with signals.interruptible():
        images = experiment.images(config, trained)
    run.log_images(images)
    return metrics


def evaluate_artifact(
    experiment: Experiment[C], config: C, run_id: str, weights: Mapping[str, torch.Tensor]
) -> Metrics:
    """Evaluate a logged model on the test split, in the run that logged it, which has finished.

    The weights are those of the artifact itself, which is what is evaluated.
    """
    with signals.interruptible():
        data = experiment.load_data(config)
    require_same_data(run_id, data.data_set)
    with reopen(run_id, config) as run:
        history, best = run.load_history(), experiment.restore_model(config, data, weights)
        seed_everything(config.seed)
        first = experiment.build_model(config, data).eval()
        trained = Trained(config=config, data=data, model=best, untrained=first, history=history)
        calibration = uncertainty.calibrate(experiment, trained)
        return evaluate_in_run(experiment, trained, run, calibration)


def log_split(experiment: Experiment[Any], data: Any, split: str, run: Run) -> None:
    """Log a split as a data set; of one without end, the first batch."""
    part = getattr(data, split)
    if hasattr(part, "batches"):
        part = next(iter(part.batches(1)))
    arrays = experiment.example_arrays(part)
    run.log_dataset(data.name, split, arrays, data.fingerprint(split))


def _log_seeds(results: dict[int, Metrics], run: Run) -> Metrics:
    """Log mean and standard deviation over seeds of what is final; return the means."""
    common = set.intersection(*(set(metrics) for metrics in results.values()))
    means, rows = {}, ["| metric | mean | standard deviation |", "|---|---|---|"]
    for name in sorted(name for name in common if name.startswith(("best/", "test/"))):
        values = {seed: metrics[name] for seed, metrics in results.items()}
        mean, deviation = statistics.fmean(values.values()), sample_std(values.values())
        run.log_metrics({f"{name}_mean": mean, f"{name}_std": deviation})
        run.log_series(f"seeds/{name}", values)
        rows.append(f"| {name} | {decimal(mean)} | {decimal(deviation, beside=mean)} |")
        means[name] = mean
    run.describe("\n".join([f"Over {len(results)} seeds:\n", *rows]))
    return means

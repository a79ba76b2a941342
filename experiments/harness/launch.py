"""From the command line to a tracked run, and from an error to its exit status."""

import gc
import signal
import statistics
import sys
from collections.abc import Callable
from typing import Any

from experiments.harness import signals, tracking
from experiments.harness.config import C, parse
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment, Metrics
from experiments.harness.metrics import decimal


def launch(experiment: Experiment[C, Any]) -> None:
    """Run an experiment as a command: what `python -m experiments.<name>` does."""
    signals.listen()
    run_command(lambda: conduct(experiment, parse(experiment.config_class)))


def run_command(command: Callable[[], object]) -> None:
    """Run a command, and give its errors the exit status and the words that a user needs."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except signals.Terminated:
        sys.exit(128 + signal.SIGTERM)
    # The interpreter would search all that torch and MLflow hold for garbage once more: 1 s.
    gc.freeze()


def conduct(experiment: Experiment[C, Any], config: C) -> Metrics:
    """Carry out what `config` asks for as a tracked run, or as one run for each of several seeds.

    Returns:
        The run's final metrics; over several seeds, the metrics of each seed's run averaged.

    Raises:
        UserError: the configuration asks for something that is not there.

    """
    if config.resume:
        config = tracking.resumed(config)
    hardware = Hardware.choose(config)
    experiment.prepare(config)
    with tracking.track(config, hardware.name) as run:
        if config.seeds == 1:
            return complete(experiment, config, hardware, run)
        results = run.finished_children()
        interrupted = run.interrupted_children()
        for seed in range(config.seed, config.seed + config.seeds):
            if seed not in results:
                child = config.replace(seed=seed, seeds=1, resume=interrupted.get(seed, ""))
                with tracking.track(child, hardware.name, parent_id=run.run_id) as child_run:
                    results[seed] = complete(experiment, child, hardware, child_run)
        return _summarise(results, run)


def complete(
    experiment: Experiment[C, Any], config: C, hardware: Hardware, run: tracking.Run
) -> Metrics:
    """Train in `run`, log the model, judge it. What an earlier process has done is not repeated."""
    seed_everything(config.seed)
    learnt = experiment.learn(config, hardware, run)
    run.log_model(learnt.model, learnt.example, learnt.varying, learnt.meaning)
    return experiment.judge(config, hardware, learnt, run)


def _summarise(results: dict[int, Metrics], run: tracking.Run) -> Metrics:
    results = {
        seed: {k: v for k, v in metrics.items() if k.startswith(("best/", "test/"))}
        for seed, metrics in results.items()
    }
    run.log_spread(results)
    common = set.intersection(*(set(metrics) for metrics in results.values()))
    means = {name: statistics.fmean(m[name] for m in results.values()) for name in common}
    deviations = {name: tracking.spread(m[name] for m in results.values()) for name in common}
    rows = [
        f"| {name} | {decimal(means[name])} | {decimal(deviations[name], beside=means[name])} |"
        for name in sorted(common)
    ]
    heading = f"Over {len(results)} seeds:\n\n| metric | mean | standard deviation |\n|---|---|---|"
    run.describe("\n".join([heading, *rows]))
    return means

"""Train each architecture with the `small` values of its configuration, then compare the runs."""

from functools import partial

import experiments
from experiments.compare.command import log_comparison
from experiments.compare.config import CompareConfig
from experiments.compare.groups import grouped, select
from experiments.main.config import MainConfig
from harness.errors import UserError
from harness.execution.messages import Report, Task, reporting, result_of
from harness.execution.pools import open_pool_if_needed
from harness.execution.run_all import run_all
from harness.experiment import AnyExperiment
from harness.project import configurations
from harness.run_experiment import train_and_evaluate
from harness.tracking.abandoned import children_closed
from harness.tracking.lifecycle import track_command
from harness.training.config import TrainingConfig
from harness.training.device import Hardware, num_threads
from harness.wording import nearest


def main(config: MainConfig) -> None:
    """Train and compare; an architecture that fails does not stop the others."""
    found = architectures(config)
    on_gpu = Hardware.choose(TrainingConfig()).device.type == "cuda"
    threads = min(num_threads(experiment.config_class()) for experiment in found.values())
    failures = []
    # The runs of the others outlive a user's error in one.
    with track_command(config, "comparison", delete_failed_starts=False) as run_id:
        tasks = [
            Task(partial(train_small, experiment, config, run_id), name)
            for name, experiment in found.items()
        ]
        workers = open_pool_if_needed(config, len(tasks), threads=threads, on_gpu=on_gpu)
        with children_closed(run_id), workers as pool:
            for task, outcome in run_all(tasks, pool, title="architectures"):
                try:
                    result_of(outcome, task.name)
                except Exception as error:
                    print(f"{task.name} has failed: {error}")
                    failures.append(error)
        if len(failures) < len(found):
            comparison = CompareConfig(tags=(f"mlflow.parentRunId={run_id}",))
            runs = select(comparison)
            groups = grouped(comparison, runs)
            log_comparison(comparison, runs, groups, run_id, command=config.as_command())
        if failures:
            raise failures[0]


def train_small(
    experiment: AnyExperiment, config: MainConfig, parent_id: str, report: Report
) -> None:
    """Train an architecture with its small settings, in a run below that of the comparison."""
    settings = {"seed": config.seed, **experiment.config_class.small}
    if config.num_epochs:
        settings["num_epochs"] = config.num_epochs
    small = experiment.config_class(**settings)
    options = {"parent_id": parent_id, "name": small.as_name(), "callbacks": (reporting(report),)}
    train_and_evaluate(experiment, small, **options)


def architectures(config: MainConfig) -> dict[str, AnyExperiment]:
    """Return the experiments that bear the name of their architecture, not their variants.

    A UserError names one that does not exist.
    """
    classes = configurations("experiments").items()
    known = [name for name, each in classes if getattr(each, "family", "") == name]
    for name in config.only:
        if name not in known:
            hint = nearest(name, known, otherwise=f"; there are {', '.join(known)}")
            raise UserError(f"only={name}: no such architecture{hint}")
    return {name: experiments.find(name) for name in config.only or known}

"""Train each architecture with the `small` values of its configuration, then compare the runs."""

import experiments
from experiments.compare.command import log_comparison
from experiments.compare.config import CompareConfig
from experiments.compare.groups import grouped, select
from experiments.main.config import MainConfig
from harness.config import nearest
from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.project import configurations
from harness.run_experiment import train_and_evaluate
from harness.tracking.lifecycle import track_command


def main(config: MainConfig) -> None:
    """Train and compare; an architecture that fails does not stop the others."""
    found = architectures(config)
    failures = []
    # The runs of the others outlive a user's error in one.
    with track_command(config, "comparison", delete_failed_starts=False) as run_id:
        for number, (name, experiment) in enumerate(found.items(), start=1):
            print(f"{number} of {len(found)}: {name}")
            try:
                settings = {"seed": config.seed, **experiment.config_class.small}
                if config.num_epochs:
                    settings["num_epochs"] = config.num_epochs
                small = experiment.config_class(**settings)
                train_and_evaluate(experiment, small, parent_id=run_id, name=small.as_name())
            except Exception as error:
                print(f"{name} has failed: {error}")
                failures.append(error)
        if len(failures) < len(found):
            comparison = CompareConfig(tags=(f"mlflow.parentRunId={run_id}",))
            runs = select(comparison)
            groups = grouped(comparison, runs)
            log_comparison(comparison, runs, groups, run_id, command=config.as_command())
        if failures:
            raise failures[0]


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

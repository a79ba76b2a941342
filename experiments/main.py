"""Every architecture once, with small settings, and how they compare.

    mlflow run . --env-manager local        or: python -m experiments.main

What each of them is trained with is the `small` of its configuration.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from experiments import compare
from experiments.compare import CompareConfig
from experiments.harness import project, signals, tracking
from experiments.harness.config import STRICT, Configuration, CountOrNone, Words, nearest, parse
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment
from experiments.harness.launch import complete, run_command


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MainConfig(Configuration):
    """Train every architecture with small settings, and compare them."""

    entry_point: ClassVar[str] = "main"
    tiny: ClassVar[Mapping[str, Any]] = {"only": ("moe", "rnn"), "num_epochs": 1}

    only: Words = ()
    """Architectures (none named: all)."""
    num_epochs: CountOrNone = 0
    """Passes over the training split (0: as each architecture's small settings say)."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Seed of data, initialisation and order of batches."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.main"


def main(config: MainConfig) -> None:
    """Train, and compare what has been trained; an architecture that fails does not stop the rest.

    Raises:
        UserError: an architecture does not exist.

    """
    experiments = architectures(config)
    failures = []
    # What the others have learnt outlives the mistake of one.
    with tracking.track_command(config, "comparison", delete_mistakes=False) as run_id:
        for number, (name, experiment) in enumerate(experiments.items(), start=1):
            print(f"{number} of {len(experiments)}: {name}")
            try:
                train(config, experiment, run_id)
            except Exception as error:
                print(f"{name} has failed: {error}")
                failures.append(error)
        if len(failures) < len(experiments):
            asked = CompareConfig(tags=(f"mlflow.parentRunId={run_id}",))
            runs = compare.select(asked)
            groups = compare.grouped(asked, runs)
            compare.log_comparison(asked, runs, groups, run_id, command=config.as_command())
        if failures:
            raise failures[0]


def architectures(config: MainConfig) -> dict[str, Experiment[Any, Any]]:
    """Return the experiments that bear the name of their architecture, not their variants.

    Raises:
        UserError: one that was named does not exist.

    """
    known = {
        name: experiment
        for name, experiment in project.experiments().items()
        if experiment.config_class.family == name
    }
    for name in config.only:
        if name not in known:
            hint = nearest(name, known, otherwise=f"; there are {', '.join(known)}")
            raise UserError(f"only={name}: no such architecture{hint}")
    return {name: known[name] for name in config.only or known}


def train(config: MainConfig, experiment: Experiment[Any, Any], parent_id: str) -> None:
    """Train an architecture as a child of the run."""
    settings = {"seed": config.seed, **experiment.config_class.small}
    if config.num_epochs:
        settings["num_epochs"] = config.num_epochs
    small = experiment.config_class(**settings)
    hardware = Hardware.choose(small)
    experiment.prepare(small)
    with tracking.track(small, hardware.name, parent_id=parent_id, name=small.as_name()) as run:
        complete(experiment, small, hardware, run)


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(parse(MainConfig)))

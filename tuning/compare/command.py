"""What `python -m tuning.compare` does: a study for each value, finals on new seeds, a comparison.

Each value of a parameter, such as each encoder, has as many trials as every other one, with the
same seed and so on the same data; the first trial has the defaults. The best configuration of each,
by validation, is then trained with seeds that no trial has used. What is compared are the results
of these on the test split, by which nothing was chosen.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, get_args, get_origin

import optuna
from mlflow.tracking import MlflowClient

from experiments.compare.command import log_comparison
from experiments.compare.config import CompareConfig
from experiments.compare.groups import grouped, select
from experiments.compare.pairs import too_few_pairs
from harness.config import base_type
from harness.errors import UserError
from harness.execution.pools import open_pool
from harness.metric_direction import maximises
from harness.search_space import Choice
from harness.significance import pairs_needed
from harness.tracking.lifecycle import note_how_to_resume, track_command
from harness.tracking.locations import redact_password
from harness.training.device import Hardware
from harness.wording import nearest, plural
from tuning import storage
from tuning.compare.config import TunedComparisonConfig
from tuning.config import SearchConfig, StudyConfig, require_space
from tuning.finalists import Finalist, FinalistTraining
from tuning.finals import best_configurations
from tuning.runs import StudyRuns
from tuning.space import Space, find
from tuning.study import StudyResult, prepare, tune

LEAST_FINAL_SEEDS = 10
"""Of each value, however few values there are."""


def main(config: TunedComparisonConfig) -> None:
    """Tune and compare.

    Raises:
        UserError: something that the user can correct; before any trial where it can be known then.

    """
    require_space(config.experiment)
    compare_tuned(config, find(config.experiment))


def compare_tuned(config: TunedComparisonConfig, space: Space) -> None:
    """Tune and compare the values of a parameter of this space."""
    space.require_parameter(config.parameter, "parameter: ")
    maximises(config.metric, config.direction)  # or a UserError, which is better now than later
    started = f"{config.experiment}-{config.parameter}-{datetime.now():%Y-%m-%d-%H-%M-%S}"
    named = config.replace(study_name=config.study_name or started)
    values = config.values or possible_values(space, config.parameter)
    seeds = final_seeds(config, len(values))
    studies = studies_of(named, values)
    spaces = {value: prepare(study, space) for value, study in studies.items()}
    shown = named.replace(storage=redact_password(named.storage))
    with track_command(shown, "comparison", delete_failed_starts=not config.resume) as run_id:
        try:
            results = {
                value: tune(study, space, try_champion=False) for value, study in studies.items()
            }
            finalists = train_best(config, results, spaces, seeds)
            log_finalists(shown, finalists, [*studies], seeds, run_id)
        except BaseException as error:
            note_how_to_resume(error, run_id, f"{shown.as_command()} --resume")
            raise


def possible_values(space: Space, name: str) -> tuple[str, ...]:
    """Return all values that a parameter can have; a UserError where they cannot be listed."""
    kind, searched = base_type(space.annotation(name)), space.parameters.get(name)
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if kind is bool:
        return "False", "True"
    if isinstance(searched, Choice):
        return tuple(map(str, searched.values))
    raise UserError(f"values: have to be given, as parameter={name} can have any number of them")


def final_seeds(config: TunedComparisonConfig, num_values: int) -> range:
    """Return the new seeds of each of so many values, which are compared in pairs.

    It prints a warning where so few seeds cannot show a difference.
    """
    num_tests = math.comb(num_values, 2)
    needed = max(LEAST_FINAL_SEEDS, pairs_needed(num_tests))
    number = needed if config.final_seeds == "auto" else config.final_seeds
    if too_few := too_few_pairs(num_tests, number):
        print(f"Warning: final_seeds={number}: {too_few}.")
    return range(config.seed + 1, config.seed + 1 + number)


def studies_of(config: TunedComparisonConfig, values: Sequence[str]) -> dict[str, StudyConfig]:
    """Return the study of each value; with `resume`, one that exists is resumed."""
    opened = storage.open_storage(config.storage)
    existing = optuna.get_all_study_names(opened) if config.resume else []
    storage.close(opened)
    shared = {n: v for n, v in config.changes().items() if n in SearchConfig.__dataclass_fields__}
    names = {value: f"{config.study_name}-{value}" for value in values}
    return {
        value: StudyConfig(
            **{**shared, "set": (*config.set, f"{config.parameter}={value}")},
            trials=config.trials,
            finalists=0,
            study_name=name,
            resume=name in existing,
        )
        for value, name in names.items()
    }


def train_best(
    config: TunedComparisonConfig,
    results: Mapping[str, StudyResult],
    spaces: Mapping[str, Space],
    seeds: range,
) -> list[Finalist]:
    """Train the best configuration of each value with the new seeds.

    A value of which no trial is complete, or a seed fails, is left out.
    """
    hardware = Hardware.choose(next(iter(spaces.values())).final_configuration({}))
    trained = []
    with open_pool(config, len(results) * len(seeds), **hardware.needs) as pool:
        for value, (study, parent_id, *_) in results.items():
            space = spaces[value]
            best = list(best_configurations(study, space, 1).values())
            if not best:
                print(f"{value} is left out: no trial is complete.")
                continue
            runs = StudyRuns(parent_id, study.study_name, hardware.name)
            training = FinalistTraining(space.experiment, space.metric, runs, read_test=True)
            trained += training.train(pool, {value: best[0]}, seeds)
    return trained


def log_finalists(
    config: TunedComparisonConfig,
    finalists: Sequence[Finalist],
    values: Sequence[str],
    seeds: range,
    run_id: str,
) -> None:
    """Compare the finalists' runs, one for each of the values, and log the comparison to a run.

    Raises:
        UserError: they do not have the metric; or there are none.

    """
    run_ids = [each.run_id for finalist in finalists for each in finalist.by_seed.values()]
    if not run_ids:
        raise UserError(f"parameter={config.parameter}: no value was trained with every new seed")
    known = MlflowClient().get_run(run_ids[0]).data.metrics
    if config.metric not in known:
        final = [name for name in known if name.startswith(("best/val", "test/"))]
        hint = nearest(config.metric, final, otherwise=f"; there are {', '.join(final)}")
        raise UserError(f"metric={config.metric}: these runs have no such metric{hint}")
    comparison = CompareConfig(
        runs=tuple(run_ids),
        group_by=config.parameter,
        metric=config.metric,
        direction=config.direction,
    )
    runs = select(comparison)
    about = [
        f"Each value of {config.parameter} had {plural(config.trials, 'trial')} on validation with "
        f"seed {config.seed}; the best one was trained with seeds {seeds[0]} to {seeds[-1]}, "
        "which no trial had, and is compared here."
    ]
    trained = [finalist.name for finalist in finalists]
    if left_out := [value for value in values if value not in trained]:
        about.append(f"Left out, as trainings failed: {', '.join(left_out)}.")
    command, groups = config.as_command(), grouped(comparison, runs)
    log_comparison(comparison, runs, groups, run_id, command=command, about=about)

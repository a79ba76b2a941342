"""A study from its command line to its champion: search, pictures, finals, registry."""

import contextlib
import math
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage

from experiments.harness import tracking
from experiments.harness.config import (
    nearest,
)
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from tuning import crown, report, spaces, storage
from tuning.config import StudyConfig
from tuning.registry import Decision
from tuning.runs import StudyRuns, open_parent
from tuning.search import Search
from tuning.space import Space
from tuning.workers import Pool, threads_each

MINIMISED = ("loss", "error", "bits", "perplexity")
"""Words in the name of a metric of which less is better."""


class Outcome(NamedTuple):
    """What a study has come to."""

    study: optuna.Study
    parent_id: str
    version: ModelVersion | None
    """The version that was registered, if one was."""
    decision: Decision | None


def prepare(config: StudyConfig, space: Space | None = None) -> Space:
    """Return the space that the study searches, checked.

    Raises:
        UserError: an unknown experiment or parameter, or a value that is refused.

    """
    space = space or spaces.find(config.experiment)
    if config.metric:
        maximise = not any(word in config.metric for word in MINIMISED)
        space = space.judged_by(config.metric, maximise=maximise)
    if config.direction != "auto":
        space = space.judged_by(space.metric, maximise=config.direction == "maximize")
    if config.space:
        space = space.changed_by(Path(config.space))
    fixed = dict(map(_name_and_value, config.set))
    if fixed:
        space = space.fix(fixed)
    space.check()
    return space


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"set={text}: has to be name=value")
    return name.replace("-", "_"), value


def tune(
    config: StudyConfig, space: Space | None = None, stopper: "Stopper | None" = None
) -> Outcome:
    """Carry out a study: the whole of `python -m tuning`.

    Args:
        config: what the command line says.
        space: searched instead of the one that `config.experiment` names.
        stopper: through which Ctrl-C reaches the search.

    Raises:
        UserError: something that the user can mend; before any trial where it can be known then.
        TrialBugError: several trials have failed at the same place.

    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stopper = stopper or Stopper()
    space = prepare(config, space)
    torch.set_num_threads(threads_each(config.workers, config.threads))
    hardware = Hardware.choose(space.configuration({}))
    opened = storage.open_storage(config.storage)
    try:
        return _carry_out(config, space, opened, hardware, stopper)
    finally:
        storage.close(opened)


def _carry_out(
    config: StudyConfig,
    space: Space,
    opened: BaseStorage,
    hardware: Hardware,
    stopper: "Stopper",
) -> Outcome:
    """Search, picture, hold the finals, register: in the study's parent run."""
    study = open_study(config, space, opened)
    parameters = {**config.as_parameters(), "storage": storage.hidden(config.storage)}
    with _parent(study, space, parameters) as (parent_id, is_ours):
        runs = StudyRuns(parent_id, study.study_name, hardware.name)
        runs.log_text(space.as_text(), "space.json")
        study.set_user_attr("parent_id", parent_id)
        storage.put_back_the_dead(study)
        runs.close_orphans(study.get_trials(deepcopy=False))
        print(f"Study {study.study_name}; `mlflow ui` shows it as run {parent_id}.")
        try:
            with Pool(config.workers, config.threads) as pool:
                search_space(config, space, study, runs, pool, stopper)
        finally:
            report.write(study, space, runs)
        if not is_ours:
            print("Another process is in charge of this study, and will end it.")
            return Outcome(study, parent_id, None, None)
        stopper.finals()
        version, decision = None, None
        if config.finalists:
            with Pool(config.workers, config.threads) as pool:
                version, decision = crown.hold_finals(config, space, study, runs, pool)
    return Outcome(study, parent_id, version, decision)


class Stopper:
    """Takes the first Ctrl-C: it ends the search, and what follows the search goes on."""

    def __init__(self) -> None:
        self.search: Search | None = None
        self.asked = False

    def stop(self) -> None:
        """End the search."""
        self.asked = True
        print("\nStopping: the trials that run go back in the queue. Once more to end it all.")
        if self.search is not None:
            self.search.stop()

    def finals(self) -> None:
        """Say what comes, to somebody who has wanted to stop."""
        if self.asked:
            print("The best configurations are trained again now; Ctrl-C ends that, too.")


def search_space(
    config: StudyConfig,
    space: Space,
    study: optuna.Study,
    runs: StudyRuns,
    pool: Pool,
    stopper: Stopper,
) -> None:
    """Run the trials that the study still lacks."""
    if not study.get_trials(deepcopy=False) and (default := space.default_point()):
        study.enqueue_trial(default)  # what is known to work is the first to beat
    search = Search(
        study,
        space,
        seed=config.seed,
        num_trials=config.trials,
        deadline=time.monotonic() + (config.timeout_seconds or math.inf),
        runs=runs,
    )
    stopper.search = search
    if stopper.asked:
        search.stop()
    search.run(pool)


def open_study(config: StudyConfig, space: Space, opened: BaseStorage) -> optuna.Study:
    """Create the study, or load the one to go on with.

    Raises:
        UserError: it exists and is not to be resumed, or does not and is; or it is one of another
            experiment, metric, direction or space.

    """
    existing = optuna.get_all_study_names(opened)
    name = config.study_name or _default_name(config, space, opened, existing)
    if name in existing:
        attributes = optuna.load_study(study_name=name, storage=opened).user_attrs
        _compare(name, attributes, config, space)
        if not config.resume:
            raise UserError(f"study_name={name}: exists already; --resume goes on with it")
    elif config.resume:
        hint = nearest(name, existing)
        raise UserError(f"study_name={name}: no such study in {config.storage}{hint}")
    num_before = 0
    if name in existing:
        num_before = len(optuna.load_study(study_name=name, storage=opened).get_trials(False))
    study = optuna.create_study(
        storage=opened,
        study_name=name,
        sampler=sampler(config, num_before),
        pruner=pruner(config, space),
        direction="maximize" if space.maximise else "minimize",
        load_if_exists=True,
    )
    study.set_user_attr("experiment", space.experiment.name)
    study.set_user_attr("space", space.as_text())
    study.set_user_attr("seed", config.seed)
    return study


def _default_name(
    config: StudyConfig, space: Space, opened: BaseStorage, existing: list[str]
) -> str:
    if not config.resume:
        return f"{space.experiment.name}-{datetime.now():%Y-%m-%d-%H-%M-%S}"
    of_experiment = [
        summary
        for summary in optuna.get_all_study_summaries(opened)
        if summary.user_attrs.get("experiment") == space.experiment.name
    ]
    if not of_experiment:
        raise UserError(f"resume=True: {config.storage} has no study of {space.experiment.name}")
    return str(max(of_experiment, key=lambda s: s.datetime_start or datetime.min).study_name)


def _compare(name: str, attributes: dict[str, Any], config: StudyConfig, space: Space) -> None:
    """Raise if a study that exists is another one than is asked for now."""
    experiment = attributes.get("experiment")
    if experiment != space.experiment.name:
        raise UserError(
            f"study_name={name}: is a study of {experiment}, not of {space.experiment.name}"
        )
    changed = space.difference(attributes["space"])
    if config.resume and attributes["seed"] != config.seed:
        changed = f"{changed}, seed".removeprefix(", ")
    if config.resume and changed:
        raise UserError(f"study_name={name}: was begun with another {changed}")


def sampler(config: StudyConfig, num_before: int) -> BaseSampler:
    """Return the sampler; one that goes on draws other numbers than it did at first."""
    seed = config.seed + num_before
    match config.sampler:
        case "tpe":
            # Parameters that exist under the same conditions are modelled together.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return TPESampler(seed=seed, multivariate=True, group=True)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)


def pruner(config: StudyConfig, space: Space) -> BasePruner:
    """Return the pruner."""
    num_epochs = space.configuration({}).num_epochs
    match config.pruner:
        case "median":
            return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, num_epochs // 10))
        case "hyperband":
            return HyperbandPruner(min_resource=max(1, num_epochs // 9), max_resource=num_epochs)
        case "none":
            return NopPruner()


@contextlib.contextmanager
def _parent(
    study: optuna.Study, space: Space, parameters: dict[str, Any]
) -> Iterator[tuple[str, bool]]:
    """Open the study's parent run; yield its id, and whether this process is the one to end it."""
    parent_id = study.user_attrs.get("parent_id")
    if parent_id is not None:
        try:
            with tracking.store_errors(), tracking.store_lock():
                run = MlflowClient().get_run(parent_id)
        except UserError:
            parent_id = None  # another tracking store, where the study begins anew
        else:
            if run.info.status == "RUNNING" and not tracking.process_gone(run.data.tags):
                yield parent_id, False
                return
    architecture = space.config_class.architecture
    with open_parent(architecture, parameters, study.study_name, parent_id) as parent_id:
        yield parent_id, True

"""A study from its configuration to its champion: search, figures, finals, registry."""

import contextlib
import dataclasses
import math
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage

from harness import signals
from harness.errors import UserError
from harness.execution.pools import open_pool
from harness.execution.run_all import Pool
from harness.experiment import Splits
from harness.fingerprints import DataSet
from harness.metric_direction import maximises
from harness.summary import announce, summary
from harness.tracking.lifecycle import require_unused_run
from harness.tracking.locations import redact_password
from harness.tracking.run import SUMMARY
from harness.tracking.view import save_view, shown_at
from harness.training.device import Hardware
from harness.training.memory import load_data
from harness.wording import nearest
from tuning import report, space_file, storage
from tuning.config import StudyConfig
from tuning.finals import run_finals
from tuning.lease import lease
from tuning.objectives import objective
from tuning.registry import versions
from tuning.registry.promotion import Decision
from tuning.retries import TrialQueue
from tuning.runs import StudyRuns, open_parent
from tuning.search import Search, Stopper
from tuning.space import Space, Values, find


class StudyResult(NamedTuple):
    """What a study has found."""

    study: optuna.Study
    parent_id: str
    version: ModelVersion | None = None
    """The version that was registered, if one was."""
    decision: Decision | None = None


def prepare(config: StudyConfig, space: Space | None = None) -> Space:
    """Return the space that the study searches, checked.

    Raises:
        UserError: an unknown experiment or parameter, or a value that is refused.

    """
    space = space or find(config.experiment)
    if config.metric and not config.metric.startswith("val/"):
        raise UserError(f"metric={config.metric}: trials are compared on validation: val/...")
    if config.metric:
        maximise = maximises(config.metric, config.direction)
        space = dataclasses.replace(space, metric=config.metric, maximise=maximise)
    if config.direction != "auto":
        space = dataclasses.replace(space, maximise=config.direction == "maximize")
    if config.objectives:
        first, *others = map(objective, config.objectives)
        if not first.name.startswith("val/"):
            raise UserError(f"objectives={first.name}: the first has to be a metric, val/...")
        space = dataclasses.replace(
            space, metric=first.name, maximise=first.maximise, others=tuple(others)
        )
    if config.space:
        space = space_file.changed_by_file(space, Path(config.space))
    fixed = {}
    for text in config.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"set={text}: has to be name=value")
        fixed[name.replace("-", "_")] = value
    space = space.fix(fixed)
    if config.sampler == "grid":
        space = space.as_grid(config.grid_points)
    space.check()
    return space


def tune(
    config: StudyConfig,
    space: Space | None = None,
    stopper: Stopper | None = None,
    *,
    try_champion: bool = True,
) -> StudyResult:
    """Carry out a study: the whole of `python -m tuning`.

    Args:
        config: what the command line says.
        space: searched instead of the one that `config.experiment` names.
        stopper: through which Ctrl-C reaches the search.
        try_champion: whether the champion's configuration is tried after the default.

    Raises:
        UserError: something that the user can correct; before any trial where it can be known then.
        TrialBugError: several trials have failed at the same place.

    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stopper = stopper or Stopper()
    require_unused_run()
    space = prepare(config, space)
    default = space.configuration({"seed": config.seed})
    hardware = Hardware.choose(default)
    # What cannot be had is found before any run is opened.
    with signals.interruptible():
        data = load_data(space.experiment, default, hardware)
    opened = storage.open_storage(config.storage)
    try:
        return _run_study(config, space, opened, hardware, stopper, data, try_champion)
    finally:
        storage.close(opened)


def _run_study(
    config: StudyConfig,
    space: Space,
    opened: BaseStorage,
    hardware: Hardware,
    stopper: Stopper,
    data: Splits[Any],
    try_champion: bool,
) -> StudyResult:
    """Search, draw, run the finals, register: in the study's parent run."""
    study = open_study(config, space, opened)
    require_same_data(study, data.data_set)
    queue = TrialQueue(study, opened)

    def pool(num_tasks: int) -> AbstractContextManager[Pool]:
        return open_pool(config, num_tasks, **hardware.needs)

    with lease(study) as is_ours, _parent(study, space, config, is_ours) as parent_id:
        if not is_ours:  # its points are to be others than those of the process with the lease
            study.sampler = sampler(config, study, others=os.getpid())
        runs = StudyRuns(parent_id, study.study_name, hardware.name)
        MlflowClient().log_text(parent_id, space.as_text(), "space.json")
        MlflowClient().log_text(parent_id, f"{summary(data)}\n", SUMMARY)
        queue.requeue_stale_trials(alone=is_ours)
        runs.close_orphans(study.get_trials(deepcopy=False))
        save_view(parent_id, space.experiment)
        print(f"Study {study.study_name}, run {parent_id}; {shown_at(parent_id)}")
        announce(data)
        try:
            with pool(config.trials) as workers:
                if not study.get_trials(deepcopy=False):
                    for point in known_points(config, space, try_champion=try_champion):
                        study.enqueue_trial(point)
                deadline = time.monotonic() + (config.timeout_seconds or math.inf)
                search = Search(queue, space, runs, stopper, config.seed, config.trials, deadline)
                search.run(workers)
        except (KeyboardInterrupt, signals.Terminated):
            raise  # at once, without figures
        except BaseException:
            report.write(study, space, config.seed, parent_id)
            raise
        report.write(study, space, config.seed, parent_id)
        if not is_ours:
            print("Another process holds the lease of this study, and will end it.")
            return StudyResult(study, parent_id)
        stopper.over = True
        if stopper.asked:
            print("The best configurations are trained again now; Ctrl-C ends that, too.")
        if not config.finalists:
            return StudyResult(study, parent_id)
        with pool(config.finalists * config.final_seeds) as workers:
            return StudyResult(study, parent_id, *run_finals(config, space, study, runs, workers))


def known_points(config: StudyConfig, space: Space, *, try_champion: bool = True) -> list[Values]:
    """Return what is known to work, the first to beat: the default, and what the champion has.

    Of the champion only what is searched counts, moved into its range.
    """
    known = [space.final_configuration({})]
    name = config.registered_model_name or space.config_class.family
    champion = versions.by_alias(name, versions.CHAMPION) if try_champion else None
    if champion is not None and champion.tags.get("entry_point") == space.config_class.entry_point:
        with contextlib.suppress(UserError):  # the experiment has changed, and refuses it
            known.append(versions.configuration(champion, space.experiment))
    points = [space.point_near(each) for each in known]
    return [point for number, point in enumerate(points) if point and point not in points[:number]]


def open_study(config: StudyConfig, space: Space, opened: BaseStorage) -> optuna.Study:
    """Create the study, or load the one to resume.

    Raises:
        UserError: it exists and is not to be resumed, or does not and is; or it is one of another
            experiment, metric, direction or space.

    """
    existing = optuna.get_all_study_names(opened)
    name = config.study_name or _default_name(config, space, opened)
    if name in existing:
        study = optuna.load_study(study_name=name, storage=opened)
        _compare(study, config, space)
        if not config.resume:
            raise UserError(f"study_name={name}: exists already; resume=True resumes it")
    elif config.resume:
        hint = nearest(name, existing)
        raise UserError(f"study_name={name}: no such study in {config.storage}{hint}")
    else:
        directions = [each.direction for each in space.objectives]
        study = optuna.create_study(study_name=name, storage=opened, directions=directions)
        study.set_user_attr("experiment", space.experiment.name)
        study.set_user_attr("space", space.as_text())
        study.set_user_attr("seed", config.seed)
    study.sampler = sampler(config, study)
    study.pruner = pruner(config, space)
    return study


def _default_name(config: StudyConfig, space: Space, opened: BaseStorage) -> str:
    if not config.resume:
        return f"{space.experiment.name}-{datetime.now():%Y-%m-%d-%H-%M-%S}"
    summaries, name = optuna.get_all_study_summaries(opened), space.experiment.name
    of_experiment = [each for each in summaries if each.user_attrs.get("experiment") == name]
    if not of_experiment:
        raise UserError(f"resume=True: {config.storage} has no study of {name}")
    return str(max(of_experiment, key=lambda s: s.datetime_start or datetime.min).study_name)


def _compare(study: optuna.Study, config: StudyConfig, space: Space) -> None:
    """Raise if a study that exists is another one than is asked for now."""
    name, known = study.study_name, study.user_attrs
    if known.get("experiment") != space.experiment.name:
        other = known.get("experiment")
        raise UserError(f"study_name={name}: is a study of {other}, not of {space.experiment.name}")
    changed = space.difference(known["space"])
    if known["seed"] != config.seed:
        changed = f"{changed}, seed".removeprefix(", ")
    if config.resume and changed:
        raise UserError(f"study_name={name}: was started with another {changed}")


def require_same_data(study: optuna.Study, data: DataSet) -> None:
    """Record the data of a new study; raise a UserError if one was started on others."""
    if (known := study.user_attrs.get("data")) is None:
        study.set_user_attr("data", data)
    elif data.differs(before := DataSet(*known)):
        name = study.study_name
        raise UserError(f"study_name={name}: was started on {before}, and the data are {data} now")


def sampler(config: StudyConfig, study: optuna.Study, others: int = 0) -> BaseSampler:
    """Return the sampler; one that resumes or joins a study draws other numbers than the first."""
    seed = (config.seed + len(study.get_trials(deepcopy=False)) + 1_000_003 * others) % 2**32
    match config.sampler:
        case "tpe":
            # Parameters that exist under the same conditions are modelled together.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return TPESampler(seed=seed, multivariate=True, group=True)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "cmaes":
            # It searches numbers together; choices, which it cannot, are drawn at random.
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random" | "grid":  # of a space of choices only, no point is tried twice
            return RandomSampler(seed=seed)


def pruner(config: StudyConfig, space: Space) -> BasePruner:
    """Return the pruner."""
    if space.others:
        return NopPruner()
    num_epochs = space.configuration({}).num_epochs
    match config.pruner:
        case "median":
            # Within the first quarter, where schedules differ most, the best may still be behind.
            return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, num_epochs // 4))
        case "asha":  # asynchronous successive halving: the best third of each rung goes on
            return SuccessiveHalvingPruner(
                min_resource=max(1, num_epochs // 9), reduction_factor=3, bootstrap_count=0
            )
        case "hyperband":
            return HyperbandPruner(min_resource=max(1, num_epochs // 9), max_resource=num_epochs)
        case "none":
            return NopPruner()


@contextlib.contextmanager
def _parent(study: optuna.Study, space: Space, config: StudyConfig, is_ours: bool) -> Iterator[str]:
    """Open the study's parent run if this process holds the lease; yield its id.

    Raises:
        UserError: another process holds it, and has opened no run within a minute.

    """
    if not is_ours:
        for _ in range(60):
            if "parent_id" in study.user_attrs:
                yield study.user_attrs["parent_id"]
                return
            signals.check()
            time.sleep(1)
        raise UserError(f"study_name={study.study_name}: is being started by another process")
    shown = config.replace(
        storage=redact_password(config.storage), study_name=study.study_name, resume=True
    )
    parameters = {**config.as_parameters(), "storage": shown.storage}
    command = f"{shown.as_command()} --resume"
    with open_parent(space.config_class.family, parameters, study, command) as parent_id:
        yield parent_id

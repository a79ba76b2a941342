"""A study from its command line to its champion: search, pictures, finals, registry."""

import contextlib
import math
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import optuna
import torch
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic.dataclasses import dataclass

from experiments.harness import tracking
from experiments.harness.config import (
    STRICT,
    Configuration,
    Count,
    CountOrNone,
    NotNegative,
    TrainingConfig,
    Words,
    nearest,
)
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from tuning import figures, registry, spaces, storage
from tuning.figures import Objective
from tuning.finals import Finalist, Finals, winner
from tuning.registry import Decision, Score
from tuning.runs import StudyRuns, open_parent
from tuning.search import Search
from tuning.space import Space
from tuning.workers import Pool, threads_each

MINIMISED = ("loss", "error", "bits", "perplexity")
"""Words in the name of a metric of which less is better."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StudyConfig(Configuration):
    """Search an experiment's hyperparameters, and register the best model."""

    entry_point: ClassVar[str] = "tune"
    positional: ClassVar[tuple[str, ...]] = ("experiment",)

    experiment: str
    """The experiment to tune, such as moe."""
    trials: Count = 50
    """Trials that the study is to have in all, those before a resume included."""
    timeout_seconds: NotNegative = 0.0
    """Start no trial after so many seconds (0: no limit); those that run then are finished."""
    workers: Count = 1
    """Processes that train at the same time; they share the cores, and the GPUs."""
    threads: CountOrNone = 0
    """Threads of all workers together (0: as many as there are cores)."""
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    """How configurations are chosen: tree-structured Parzen estimator, Gaussian process, chance."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """How trials that do badly are ended early."""
    storage: str = "optuna.journal"
    """Where the trials are kept: a file for processes on one machine, or postgresql://..."""
    study_name: str = ""
    """Name of the study (empty: the experiment and the time; with resume: its latest)."""
    resume: bool = False
    """Go on with a study that exists."""
    metric: str = ""
    """What to judge by, of the kept epoch, such as val/loss (empty: as the space says)."""
    direction: Literal["auto", "maximize", "minimize"] = "auto"
    """Whether more of the metric is better; auto: less is for losses and errors."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Seed of the sampler and of every trial."""
    set: Words = ()
    """Parameters to fix, as name=value."""
    space: str = ""
    """YAML file that narrows or replaces the search space."""
    finalists: CountOrNone = 3
    """Best configurations to train again with new seeds (0: no finals, nothing is registered)."""
    final_seeds: Count = 3
    """New seeds for each of them, from seed + 1 upwards."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning"


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
            report(study, space, runs)
        if not is_ours:
            print("Another process goes on with this study, and will end it.")
            return Outcome(study, parent_id, None, None)
        stopper.finals()
        version, decision = None, None
        if config.finalists:
            with Pool(config.workers, config.threads) as pool:
                version, decision = crown(config, space, study, runs, pool)
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
    if changed and config.resume:
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


def report(study: optuna.Study, space: Space, runs: StudyRuns) -> None:
    """Give the parent run its numbers, pictures and description."""
    trials = study.get_trials(deepcopy=False)
    again = storage.replaced(trials)
    counts = {
        "trials/complete": _count(trials, TrialState.COMPLETE),
        "trials/pruned": _count(trials, TrialState.PRUNED),
        "trials/failed": _count([t for t in trials if t.number not in again], TrialState.FAIL),
        "trials/put_back": float(len(again)),
    }
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    if not complete:
        runs.log_metrics(counts)
        runs.describe(f"Study `{study.study_name}`: no trial is complete yet.")
        return
    best = study.best_trial
    config = space.configuration(best.params)
    warnings = space.near_edge(best.params)
    value = study.best_value
    runs.log_metrics({**counts, f"best/{space.metric.replace('/', '_')}": value})
    runs.log_text(
        "".join(f"{name}: {v}\n" for name, v in config.as_parameters().items()), "best.yaml"
    )
    runs.log_figures(draw(study, space, warnings))
    lines = [
        f"Best of {len(complete)} complete trials: **trial {best.number}, "
        f"`{space.metric}` {value:.4f}** on validation, one seed.",
        "",
        *(
            f"- **Warning:** {warning}; a wider range may do better."
            for warning in warnings.values()
        ),
        "",
        "```",
        config.as_command(),
        "```",
    ]
    runs.describe("\n".join(lines) + "\n")
    print("\n".join(line for line in lines if not line.startswith("```")).strip())


def _count(trials: list[FrozenTrial], state: TrialState) -> float:
    return float(sum(trial.state == state for trial in trials))


def draw(study: optuna.Study, space: Space, warnings: dict[str, str]) -> dict[str, Figure]:
    """Draw every picture of a study that has a complete trial."""
    trials = study.get_trials(deepcopy=False)
    objective = Objective(space.metric, space.maximise)
    pictures = {
        "history": figures.history(trials, objective),
        "slices": figures.slices(trials, objective, warnings),
        "parallel_coordinates": figures.parallel_coordinates(trials, objective),
        "intermediate_values": figures.intermediate_values(trials, objective),
        "timeline": figures.timeline(trials),
    }
    importances = importance(study)
    if importances:
        pictures["importance"] = figures.importances(importances, objective)
    if len(importances) > 1:
        first, second, *_ = importances
        pictures["contour"] = figures.contour(trials, objective, (first, second))
    return pictures


def importance(study: optuna.Study) -> dict[str, float]:
    """Return how much of the differences each parameter explains, the most important first.

    Empty where too few trials are complete to say, or all are equally good.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in complete}) < 4:
        return {}
    with warnings.catch_warnings():
        # A parameter that few trials had is estimated roughly, which is no news.
        warnings.filterwarnings("ignore", "Some regimes", UserWarning)
        return dict(optuna.importance.get_param_importances(study))


def crown(
    config: StudyConfig, space: Space, study: optuna.Study, runs: StudyRuns, pool: Pool
) -> tuple[ModelVersion | None, Decision | None]:
    """Hold the finals, register the winner, and promote it if it beats the champion."""
    entries = best_configurations(study, space, config.finalists)
    if not entries:
        print("Nothing is registered: no trial is complete.")
        return None, None
    seeds = range(config.seed + 1, config.seed + 1 + config.final_seeds)
    finals = Finals(space.experiment, space.metric, runs)
    finalists = finals.train(pool, entries, seeds)
    if not finalists:
        print("Nothing is registered: no finalist could be trained with every seed.")
        return None, None
    objective = Objective(space.metric, space.maximise)
    values = {finalist.name: finalist.values for finalist in finalists}
    runs.log_figures({"finalists": figures.finalists(values, objective)})
    best = winner(finalists, space.maximise)
    runs.log_metrics(
        {"final/mean": best.mean, "final/std": best.spread, "final/seeds": len(best.by_seed)}
    )
    _, trained = best.best(space.maximise)
    known = registry.registered(best.config.architecture, study.study_name, trained.run_id)
    if known is not None:
        print(f"The winner is the same as before: version {known.version}.")
        return known, None
    search = {
        "study_name": study.study_name,
        "parent_id": runs.parent_id,
        "search": f"{len(study.get_trials(deepcopy=False))} trials, {config.sampler}",
    }
    version = registry.register(best, search, space.metric, maximise=space.maximise)
    decision = challenge(version, best, space, finals, pool)
    if decision.promoted:
        version = registry.promote(version.name, version.version, decision.reason, space.experiment)
    else:
        registry.note_decision(version.name, version.version, decision)
    verdict = "is champion" if decision.promoted else "stays challenger"
    print(f"{version.name} version {version.version} {verdict}: {decision.reason}.")
    return version, decision


def best_configurations(study: optuna.Study, space: Space, count: int) -> dict[str, TrainingConfig]:
    """Return the best `count` different configurations of complete trials, the best first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if space.maximise else 1
    found: dict[str, TrainingConfig] = {}
    for trial in sorted(complete, key=lambda trial: sign * (trial.value or 0.0)):
        config = space.configuration(trial.params)
        if config not in found.values() and len(found) < count:
            found[f"trial {trial.number}"] = config
    return found


def challenge(
    version: ModelVersion, challenger: Finalist, space: Space, finals: Finals, pool: Pool
) -> Decision:
    """Compare a challenger with the champion on the same validation data, by the same metric.

    Where the champion was judged by other data or another metric, its configuration is trained
    again with the challenger's seeds. If even then the data are others, because the two are made
    for different tasks, nothing is promoted.
    """
    champion = registry.by_alias(version.name, registry.CHAMPION)
    if champion is None:
        return Decision(True, f"the first champion, with {registry.score(version)}")
    same = ("metric", "data_fingerprint")
    if all(champion.tags.get(tag) == version.tags[tag] for tag in same):
        return registry.decide(
            registry.score(version), registry.score(champion), maximise=space.maximise
        )
    if champion.tags.get("entry_point") != version.tags["entry_point"]:
        return Decision(False, f"not comparable: the champion is of {champion.tags}")
    config = registry.configuration(champion, space.experiment)
    name = f"champion, version {champion.version}, again"
    again = finals.train(pool, {name: config}, list(challenger.by_seed))
    if not again or again[0].data != challenger.data:
        return Decision(False, "not comparable: the champion was made for other data")
    reached = Score(again[0].mean, again[0].spread, len(again[0].by_seed))
    return registry.decide(registry.score(version), reached, maximise=space.maximise)

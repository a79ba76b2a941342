"""The finals of a study: its best configurations, trained again; the winner is registered."""

import itertools
import json

import mlflow
import optuna
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from harness import signals
from harness.errors import UserError
from harness.execution.run_all import Pool
from harness.fingerprints import DataSet
from harness.tracking.models import ENSEMBLE
from harness.training.config import TrainingConfig
from harness.wording import plural
from tuning import figures
from tuning.config import StudyConfig
from tuning.finalists import Finalist, FinalistTraining, winner
from tuning.objectives import front
from tuning.registry import cards, paired_test, promotion, versions
from tuning.registry.promotion import Decision
from tuning.runs import StudyRuns
from tuning.space import Space
from tuning.tried import counted

COMPARED = "compared_by_seed"
"""Tag of a version: by how much it was better than the champion, by seed."""


def run_finals(
    config: StudyConfig, space: Space, study: optuna.Study, runs: StudyRuns, pool: Pool
) -> tuple[ModelVersion | None, Decision | None]:
    """Train the finalists, register the winner, and promote it if it beats the champion."""
    entries = best_configurations(study, space, config.finalists)
    if not entries:
        print("Nothing is registered: no trial is complete.")
        return None, None
    seeds = range(config.seed + 1, config.seed + 1 + config.final_seeds)
    training = FinalistTraining(space.experiment, space.metric, runs)
    finalists = training.train(pool, entries, seeds)
    if not finalists:
        print("Nothing is registered: no finalist could be trained with every seed.")
        return None, None
    values = {finalist.name: finalist.values for finalist in finalists}
    picture = figures.finalists(values, space.metric, space.maximise)
    MlflowClient().log_figure(runs.parent_id, picture, "figures/finalists.png")
    best = winner(finalists, space.maximise)
    final = {"final/mean": best.mean, "final/seeds": len(best.by_seed)}
    if len(best.by_seed) > 1:
        final["final/std"] = best.std
    mlflow.log_metrics(final, run_id=runs.parent_id)
    num_trials = len(counted(study.get_trials(deepcopy=False)))
    origin = {
        "study_name": study.study_name,
        "parent_id": runs.parent_id,
        "search": f"{plural(num_trials, 'trial')}, {config.sampler}",
    }
    name, maximise = config.registered_model_name, space.maximise
    version = versions.register(best, origin, space.metric, maximise=maximise, name=name)
    if "promoted" in version.tags:
        print(f"The winner is the same as before: version {version.version}.")
        return version, None
    decision = compare_with_champion(version, best, space, training, pool)
    if decision.promoted:
        number, reason = version.version, decision.reason
        version = promotion.promote(version.name, number, reason, space.experiment)
    else:
        version = promotion.record_decision(version.name, version.version, decision)
    result = "is champion" if decision.promoted else "stays challenger"
    print(f"{version.name} version {version.version} {result}: {decision.reason}.")
    return version, decision


def best_configurations(study: optuna.Study, space: Space, count: int) -> dict[str, TrainingConfig]:
    """Return the best `count` different configurations of complete trials, the best first.

    Of several objectives, those on the Pareto front that are nearest to the ideal point.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if space.maximise else 1
    ordered = sorted(complete, key=lambda trial: sign * trial.values[0])
    found: dict[str, TrainingConfig] = {}
    for trial in front(study) if space.others else ordered:
        config = space.final_configuration(trial.params)
        if config not in found.values() and len(found) < count:
            found[f"trial {trial.number}"] = config
    return found


def compare_with_champion(
    version: ModelVersion, best: Finalist, space: Space, training: FinalistTraining, pool: Pool
) -> Decision:
    """Compare the best finalist with the champion, both trained with new seeds on the same data.

    The finalist has been chosen for its results, so those do not count: see
    `tuning.registry.paired_test`. A champion of another data set is not replaced.
    """
    champion = versions.by_alias(version.name, versions.CHAMPION)
    if champion is None:
        return Decision(True, f"the first champion, with {cards.score(version.tags)}")
    if champion.version == version.version:  # its promotion was interrupted before it was recorded
        return Decision(True, f"champion, with {cards.score(version.tags)}")
    number = champion.version
    ours, theirs = data_of_both(best, champion, space)
    if difference := difference_in_kind(champion, ours, theirs):
        by_hand = f"`python -m tuning.registry promote {version.name} --version {version.version}`"
        return Decision(False, f"not comparable: {difference}, {by_hand} replaces it")
    unknown = "" if theirs.fingerprint else f"; the data of version {number} were not recorded"
    try:
        config = versions.configuration(champion, space.experiment)
        with signals.interruptible():
            space.experiment.load_data(config)
    except (UserError, KeyError):
        return Decision(False, "not comparable: the champion cannot be trained any more")
    entries = {"challenger": best.config, f"champion, version {number}": config}
    if best.config == config.replace(seed=best.config.seed):
        return Decision(False, f"the same configuration as that of the champion, version {number}")
    differences: dict[int, float] = {}
    for seed in itertools.count(first_new_seed(best, champion)):
        trained = training.train(pool, entries, [seed])
        if len(trained) < len(entries):
            only_ours = [each.name for each in trained] == ["challenger"]
            lost = "the champion's training" if only_ours else "training"
            return Decision(False, f"not comparable: {lost} failed with seed {seed}")
        challenger, again = trained
        if again.fingerprints != challenger.fingerprints:
            return Decision(False, "not comparable: the champion was made for other data")
        gain = challenger.values[seed] - again.values[seed]
        differences[seed] = gain if space.maximise else -gain
        outcome = paired_test.verdict(list(differences.values()))
        if outcome != "undecided":
            break
    MlflowClient().set_model_version_tag(
        version.name, version.version, COMPARED, json.dumps(differences)
    )
    reason = paired_test.reason(differences, f"the champion, version {number},")
    return Decision(outcome == "better", reason + unknown)


def difference_in_kind(champion: ModelVersion, ours: DataSet, theirs: DataSet) -> str:
    """Return why a study's winner cannot take the place of a champion by itself; empty if it can.

    It is of other data, or an ensemble, where the winner is a single network.
    """
    number, apart = champion.version, "registered_model_name=NAME keeps a champion of its own"
    if ours.differs(theirs):
        other = f"it was trained on {ours}, the champion, version {number}, on {theirs}"
        return f"{other}; {apart} for these data"
    if ENSEMBLE in champion.tags:
        return f"the champion, version {number}, is an ensemble; {apart} for single networks"
    return ""


def first_new_seed(best: Finalist, champion: ModelVersion) -> int:
    """Return a seed from which on neither configuration has been trained or compared."""
    used = {best.config.seed, *best.by_seed, versions.seed(champion)}
    for tag in ("metric_by_seed", COMPARED):
        used |= {int(seed) for seed in json.loads(champion.tags.get(tag, "{}"))}
    return max(used) + 1


def data_of_both(best: Finalist, champion: ModelVersion, space: Space) -> tuple[DataSet, DataSet]:
    """Return what the finalist and the champion were trained on, with the champion's seed.

    Splits may depend on the seed: the finalist's are loaded, if it was not trained with that one.
    """
    theirs, (seed, *_) = versions.data_set(champion), best.by_seed
    if theirs.fingerprint:
        seed = versions.seed(champion)
    if seed in best.by_seed:
        return best.by_seed[seed].data, theirs
    with signals.interruptible():
        return space.experiment.load_data(best.config.replace(seed=seed)).data_set, theirs

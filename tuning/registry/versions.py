"""Versions of a registered model: registered by a study, found by alias, described by a card."""

import contextlib
import io
import json
from collections.abc import Mapping

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config import TrainingConfig
from harness.experiment import AnyExperiment
from harness.fingerprints import DataSet
from harness.tracking.run import data_set_of
from tuning.finalists import Finalist
from tuning.registry import cards

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


def register(
    finalist: Finalist, study: Mapping[str, str], metric: str, *, maximise: bool, name: str = ""
) -> ModelVersion:
    """Register the model of a study's winner as a new version, the challenger.

    If the study, before it was resumed, has registered it, that version is challenger again.

    Args:
        finalist: the winner; the model is that of its best seed.
        study: the study's `study_name`, its parent run's `parent_id`, and other tags.
        metric: by which the finalists were compared.
        maximise: whether more of that is better.
        name: of the registered model (empty: that of the architecture).

    """
    client = MlflowClient()
    config = finalist.config
    best_seed, best = finalist.best(maximise)
    name = name or config.family
    text = f"Winners of studies of `{config.family}`; the alias `champion` is the best."
    try:
        client.create_registered_model(name, description=text)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    logged = client.get_run(best.run_id).data.tags
    tags = {
        **study,
        "architecture": config.family,
        "entry_point": config.entry_point,
        "configuration": json.dumps({**config.as_parameters(), "seed": best_seed, "resume": ""}),
        "command": config.replace(seed=best_seed).as_command(),
        "metric": metric,
        "metric_mean": repr(finalist.mean),
        "metric_std": repr(finalist.std),
        "metric_by_seed": json.dumps(finalist.values),
        "data": best.data.name,
        "data_fingerprint": finalist.fingerprints,
        "run_id": best.run_id,
        **{tag: logged.get(tag, "unknown") for tag in ("git_commit", "git_dirty", "device")},
    }
    same = {tag: tags[tag] for tag in ("study_name", "run_id", "metric_by_seed")}.items()
    known = next((each for each in versions(name) if same <= each.tags.items()), None)
    if known is not None:
        client.set_registered_model_alias(name, CHALLENGER, known.version)
        return known
    with contextlib.redirect_stderr(io.StringIO()):  # it says what it does, twice
        version = mlflow.register_model(f"models:/{best.model_id}", name, tags=tags)
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    return write_card(name, version.version)


def configuration(version: ModelVersion, experiment: AnyExperiment) -> TrainingConfig:
    """Rebuild the configuration that a version was trained with.

    Raises:
        UserError: the experiment has changed since, and refuses it.

    """
    values = json.loads(version.tags["configuration"])
    rebuilt: TrainingConfig = experiment.config_class(**values)
    return rebuilt


def seed(version: ModelVersion) -> int:
    """Return the seed with which a version's model was trained."""
    return int(json.loads(version.tags["configuration"])["seed"])


def data_set(version: ModelVersion) -> DataSet:
    """Return what a version's model was trained on.

    Of one that was registered by an earlier version of this suite only the name is known, or
    nothing.
    """
    if "data" in version.tags:
        by_seed = dict(each.split(":") for each in version.tags["data_fingerprint"].split())
        return DataSet(version.tags["data"], by_seed[str(seed(version))])
    try:
        return data_set_of(MlflowClient().get_run(version.tags.get("run_id", "")))
    except MlflowException:  # that run is gone
        return DataSet("", "")


def by_alias(name: str, alias: str) -> ModelVersion | None:
    """Return the version that bears an alias, if one does."""
    try:
        return MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def versions(name: str) -> list[ModelVersion]:
    """Return all versions of a registered model, the oldest first."""
    found = MlflowClient().search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version))


def write_card(name: str, number: str) -> ModelVersion:
    """Write a version's model card, from its tags, as its description."""
    client = MlflowClient()
    version = client.get_model_version(name, number)
    text = cards.card(version.tags, name, data_set(version))
    return client.update_model_version(name, number, text)

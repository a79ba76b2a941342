"""Versions of a registered model: registered, found by alias, described by a card."""

import contextlib
import io
import json
from collections.abc import Mapping

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.experiment import AnyExperiment
from harness.fingerprints import DataSet
from harness.tracking.run import data_set_of
from harness.training.config import TrainingConfig
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
    best_seed, best = finalist.best(maximise)
    tags = {
        **study,
        **origin(MlflowClient().get_run(best.run_id), finalist.config.replace(seed=best_seed)),
        "metric": metric,
        "metric_mean": repr(finalist.mean),
        "metric_std": repr(finalist.std),
        "metric_by_seed": json.dumps(finalist.values),
        "data": best.data.name,
        "data_fingerprint": finalist.fingerprints,
    }
    return create(name, best.model_id, tags)


def origin(run: Run, config: TrainingConfig) -> dict[str, str]:
    """Return the tags that say where a model comes from: its run, and its configuration."""
    return {
        "architecture": config.family,
        "entry_point": config.entry_point,
        "configuration": json.dumps({**config.as_parameters(), "seed": config.seed, "resume": ""}),
        "command": config.as_command(),
        "run_id": run.info.run_id,
        **{tag: run.data.tags.get(tag, "unknown") for tag in ("git_commit", "git_dirty", "device")},
    }


def create(name: str, model_id: str, tags: dict[str, str]) -> ModelVersion:
    """Make a version of a registered model, the challenger; the same one only once.

    Args:
        name: of the registered model (empty: that of the architecture).
        model_id: of the model that a run has logged.
        tags: what is known of the version; its card is written from them.

    """
    client, name = MlflowClient(), name or tags["architecture"]
    text = f"Models of `{tags['architecture']}`; the alias `champion` is the best."
    try:
        client.create_registered_model(name, description=text)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    same = {tag: tags.get(tag) for tag in ("study_name", "run_id", "metric_by_seed")}
    for known in versions(name):
        if same == {tag: known.tags.get(tag) for tag in same}:
            client.set_registered_model_alias(name, CHALLENGER, known.version)
            return known
    with contextlib.redirect_stderr(io.StringIO()):  # it says what it does, twice
        version = mlflow.register_model(f"models:/{model_id}", name, tags=tags)
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

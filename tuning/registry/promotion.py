"""Promotion: when a challenger becomes champion, what that changes, and the way back."""

from datetime import datetime
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import experiments
from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.run_experiment import evaluate_artifact
from harness.tracking import models
from tuning.registry.versions import (
    CHAMPION,
    PREVIOUS,
    by_alias,
    configuration,
    versions,
    write_card,
)


class Decision(NamedTuple):
    """Whether a challenger is promoted, and why, in one line with its numbers."""

    promoted: bool
    reason: str


def promote(
    name: str, number: str, reason: str, experiment: AnyExperiment | None = None
) -> ModelVersion:
    """Make a version champion; the former champion becomes previous.

    The registered model is evaluated on the test split, unless an earlier promotion has done so;
    metrics and figures are logged to the run that trained it.

    Raises:
        UserError: the version is none of this suite's, or its model or that run is gone.

    """
    client = MlflowClient()
    version = client.get_model_version(name, number)
    if "run_id" not in version.tags:
        raise UserError(f"version={number}: of {name} was not registered by a study of this suite")
    weights = models.load(f"models:/{name}/{number}").weights
    if "tested" not in version.tags:
        _require_run(version)
        experiment = experiment or experiments.find(version.tags["entry_point"])
        config = configuration(version, experiment)
        metrics = evaluate_artifact(experiment, config, version.tags["run_id"], weights)
        for metric, value in metrics.items():
            if metric.startswith("test/"):
                client.set_model_version_tag(name, number, metric, repr(value))
        client.set_model_version_tag(name, number, "tested", "once, when it was promoted")
    former, previous = by_alias(name, CHAMPION), by_alias(name, PREVIOUS)
    if former is not None and former.version != version.version:
        client.set_registered_model_alias(name, PREVIOUS, former.version)
    elif (
        previous is not None and previous.version == version.version
    ):  # the former champion is deleted
        client.delete_registered_model_alias(name, PREVIOUS)
    client.set_registered_model_alias(name, CHAMPION, number)
    record_decision(name, number, Decision(True, reason))
    return client.get_model_version(name, number)


def _require_run(version: ModelVersion) -> None:
    """Raise a UserError if the run that trained a version is deleted, and say what helps."""
    run_id = version.tags["run_id"]
    lacking = f"version={version.version}: the run that trained it, {run_id},"
    try:
        stage = MlflowClient().get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        again = f"train and register it again: {version.tags['command']}"
        raise UserError(f"{lacking} is gone, as after `mlflow gc`; {again}") from None
    if stage == "deleted":
        restore = f"`mlflow runs restore --run-id {run_id}` restores it"
        raise UserError(f"{lacking} is deleted; {restore}")


def record_decision(name: str, number: str, decision: Decision) -> ModelVersion:
    """Tag a version with a decision about it, and add that to the history in its card."""
    client = MlflowClient()
    history = client.get_model_version(name, number).tags.get("promotion_history", "")
    entry = f"- {datetime.now():%Y-%m-%d %H:%M}: {decision.reason}\n"
    client.set_model_version_tag(name, number, "promoted", str(decision.promoted))
    client.set_model_version_tag(name, number, "promotion", decision.reason)
    client.set_model_version_tag(name, number, "promotion_history", history + entry)
    return write_card(name, number)


def rollback(name: str) -> tuple[str, str | None]:
    """Let champion and previous change places; return the new champion's number and the old one's.

    Where the champion was deleted, the previous one takes its place, and there is no old one.

    Raises:
        UserError: there is no previous champion, or its model is gone.

    """
    champion, previous = by_alias(name, CHAMPION), by_alias(name, PREVIOUS)
    if previous is None:
        others = ", ".join(str(each.version) for each in versions(name)) or "none"
        raise UserError(
            f"name={name}: has no previous champion to roll back to, or it is deleted; "
            f"`promote {name} --version N` makes another version champion; there are: {others}"
        )
    models.load(f"models:/{name}/{previous.version}")  # a champion is there to be used
    client = MlflowClient()
    client.set_registered_model_alias(name, CHAMPION, previous.version)
    if champion is None:
        client.delete_registered_model_alias(name, PREVIOUS)
        back = "champion again, as the champion was deleted, by hand"
        record_decision(name, previous.version, Decision(True, back))
        return str(previous.version), None
    client.set_registered_model_alias(name, PREVIOUS, champion.version)
    back = f"champion again, in place of version {champion.version}, by hand"
    record_decision(name, previous.version, Decision(True, back))
    gone = f"rolled back to version {previous.version}, by hand"
    record_decision(name, champion.version, Decision(False, gone))
    return str(previous.version), str(champion.version)

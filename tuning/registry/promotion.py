"""Promotion: when a challenger becomes champion, what that changes, and the way back."""

import json
import statistics
from datetime import datetime
from typing import NamedTuple

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import experiments
from harness.errors import UserError
from harness.evaluation import pooled_standard_error, sample_std
from harness.experiment import AnyExperiment
from harness.run_experiment import evaluate_artifact
from harness.tracking import models
from harness.training.metrics import decimal
from tuning.registry.versions import (
    CHAMPION,
    PREVIOUS,
    by_alias,
    configuration,
    versions,
    write_card,
)


class Score(NamedTuple):
    """What a configuration reached on validation, over seeds."""

    mean: float
    std: float
    """Sample standard deviation over the seeds."""
    num_seeds: int

    def __str__(self) -> str:
        std = f" ± {decimal(self.std, beside=self.mean)}" if self.num_seeds > 1 else ""
        return f"{decimal(self.mean)}{std} (n={self.num_seeds})"


class Decision(NamedTuple):
    """Whether a challenger is promoted, and why, in one line with its numbers."""

    promoted: bool
    reason: str


def decide(challenger: Score, champion: Score, *, maximise: bool) -> Decision:
    """Promote what beats the champion by more than the pooled standard error of the difference.

    With one seed each there is no variance to estimate, and nothing is promoted.
    """
    if challenger.num_seeds == champion.num_seeds == 1:
        unknown = "one seed each does not tell how much seeds differ; final_seeds=2 or more does"
        return Decision(False, f"{challenger} beside the champion's {champion}: {unknown}")
    error = pooled_standard_error(*challenger[1:], *champion[1:])
    gain = (challenger.mean - champion.mean) * (1 if maximise else -1)
    verb = "beats" if gain > error else "does not beat"
    better = "better" if gain >= 0 else "worse"
    numbers = f"{better} by {decimal(abs(gain))}, pooled standard error {decimal(error)}"
    return Decision(gain > error, f"{challenger} {verb} the champion's {champion}: {numbers}")


def score(version: ModelVersion) -> Score:
    """Return what a version's configuration reached on validation."""
    values = list(json.loads(version.tags["metric_by_seed"]).values())
    return Score(statistics.fmean(values), sample_std(values), len(values))


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


def record_decision(name: str, number: str, decision: Decision) -> None:
    """Tag a version with a decision about it, and add that to the history in its card."""
    client = MlflowClient()
    history = client.get_model_version(name, number).tags.get("promotion_history", "")
    entry = f"- {datetime.now():%Y-%m-%d %H:%M}: {decision.reason}\n"
    client.set_model_version_tag(name, number, "promoted", str(decision.promoted))
    client.set_model_version_tag(name, number, "promotion", decision.reason)
    client.set_model_version_tag(name, number, "promotion_history", history + entry)
    write_card(name, number)


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

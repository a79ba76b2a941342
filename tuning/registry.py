"""The registry: versions of each architecture's model, and which of them is the champion.

    python -m tuning.registry list                    every version and what it is worth
    python -m tuning.registry promote moe             make the challenger champion, by hand
    python -m tuning.registry rollback moe            let champion and previous change places

A registered model bears the name of its architecture. `challenger` is the winner of the latest
study, `champion` the best so far, `previous` the champion before it.
"""

import contextlib
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, NamedTuple

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from pydantic.dataclasses import dataclass

from experiments.harness import signals, tracking
from experiments.harness.config import (
    STRICT,
    Configuration,
    CountOrNone,
    TrainingConfig,
    construct,
    nearest,
    parse,
)
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment, find
from experiments.harness.launch import complete, run_command
from experiments.harness.metrics import decimal
from tuning import cards
from tuning.finals import Finalist

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


class Score(NamedTuple):
    """What a configuration reached on validation, over seeds."""

    mean: float
    spread: float
    """Standard deviation over the seeds."""
    num_seeds: int

    def __str__(self) -> str:
        return (
            f"{decimal(self.mean)} ± {decimal(self.spread, beside=self.mean)} (n={self.num_seeds})"
        )


class Decision(NamedTuple):
    """Whether a challenger is promoted, and why, in one line with its numbers."""

    promoted: bool
    reason: str


def decide(challenger: Score, champion: Score, *, maximise: bool) -> Decision:
    """Promote what beats the champion by more than the pooled standard error of the difference.

    That is s sqrt(1/n1 + 1/n2), with the pooled variance s^2 = ((n1-1) s1^2 + (n2-1) s2^2) /
    (n1 + n2 - 2). With one seed each there is no spread to compare with: it counts as none.
    """
    n1, n2 = challenger.num_seeds, champion.num_seeds
    squares = (n1 - 1) * challenger.spread**2 + (n2 - 1) * champion.spread**2
    error = math.sqrt(squares / max(n1 + n2 - 2, 1) * (1 / n1 + 1 / n2))
    gain = (challenger.mean - champion.mean) * (1 if maximise else -1)
    verb = "beats" if gain > error else "does not beat"
    reason = (
        f"{challenger} {verb} the champion's {champion}: better by {gain:.5f}, "
        f"pooled standard error {error:.5f}"
    )
    return Decision(gain > error, reason)


def register(
    finalist: Finalist, study: Mapping[str, str], metric: str, *, maximise: bool
) -> ModelVersion:
    """Register the model of a study's winner as a new version, the challenger.

    Args:
        finalist: the winner; the model is that of its best seed.
        study: the study's `study_name`, its parent run's `parent_id`, and what else is to be told.
        metric: what it was judged by.
        maximise: whether more of that is better.

    """
    client = MlflowClient()
    config = finalist.config
    seed, best = finalist.best(maximise)
    name = config.family
    try:
        client.create_registered_model(
            name, description=f"Winners of studies of `{name}`; the alias `champion` is the best."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    run = client.get_run(best.run_id)
    tags = {
        **study,
        "architecture": name,
        "entry_point": config.entry_point,
        "configuration": json.dumps({**config.as_parameters(), "seed": seed, "resume": ""}),
        "command": config.replace(seed=seed).as_command(),
        "metric": metric,
        "metric_mean": repr(finalist.mean),
        "metric_std": repr(finalist.spread),
        "metric_by_seed": json.dumps(finalist.values),
        "data_fingerprint": finalist.data,
        "run_id": best.run_id,
        "git_commit": run.data.tags.get("git_commit", "unknown"),
        "git_dirty": run.data.tags.get("git_dirty", "unknown"),
        "device": run.data.tags.get("device", "unknown"),
    }
    with contextlib.redirect_stderr(io.StringIO()):  # it says what it does, twice
        version = mlflow.register_model(f"models:/{best.model_id}", name, tags=tags)
    make_challenger(version)
    return write_card(name, version.version)


def find_version(finalist: Finalist, study_name: str, maximise: bool) -> ModelVersion | None:
    """Return the version that this study has made of these very results already, if it has."""
    _, best = finalist.best(maximise)
    wanted = {
        "study_name": study_name,
        "run_id": best.run_id,
        "metric_by_seed": json.dumps(finalist.values),
    }
    for version in versions(finalist.config.family):
        if all(version.tags.get(name) == value for name, value in wanted.items()):
            return version
    return None


def make_challenger(version: ModelVersion) -> None:
    """Give a version the alias `challenger`."""
    MlflowClient().set_registered_model_alias(version.name, CHALLENGER, version.version)


def score(version: ModelVersion) -> Score:
    """Return what a version's configuration reached on validation."""
    values = list(json.loads(version.tags["metric_by_seed"]).values())
    return Score(statistics.fmean(values), tracking.spread(values), len(values))


def configuration(version: ModelVersion, experiment: Experiment[Any, Any]) -> TrainingConfig:
    """Rebuild the configuration that a version was trained with.

    Raises:
        UserError: the experiment has changed since, and refuses it.

    """
    values = json.loads(version.tags["configuration"])
    rebuilt: TrainingConfig = construct(experiment.config_class, values)
    return rebuilt


def promote(
    name: str, number: str, reason: str, experiment: Experiment[Any, Any] | None = None
) -> ModelVersion:
    """Make a version champion; what was champion becomes previous.

    The model is judged by the test split, unless that was done at an earlier promotion. Its run
    goes on for that from its checkpoint, and so has the pictures, too.
    """
    client = MlflowClient()
    version = client.get_model_version(name, number)
    if "run_id" not in version.tags:
        raise UserError(f"version={number}: of {name} was not registered by a study of this suite")
    if "tested" not in version.tags:
        experiment = experiment or find(version.tags["entry_point"])
        run_id = version.tags["run_id"]
        config = configuration(version, experiment).replace(resume=run_id)
        hardware = Hardware.choose(config)
        with tracking.track(config, hardware.name) as run:
            metrics = complete(experiment, config, hardware, run)
        for metric, value in metrics.items():
            if metric.startswith("test/"):
                client.set_model_version_tag(name, number, metric, repr(value))
        client.set_model_version_tag(name, number, "tested", "once, when it was promoted")
    former = by_alias(name, CHAMPION)
    if former is not None and former.version != number:
        client.set_registered_model_alias(name, PREVIOUS, former.version)
    client.set_registered_model_alias(name, CHAMPION, number)
    note_decision(name, number, Decision(True, reason))
    return client.get_model_version(name, number)


def note_decision(name: str, number: str, decision: Decision) -> None:
    """Tag a version with what was decided about it, and write it into the card's history."""
    client = MlflowClient()
    history = client.get_model_version(name, number).tags.get("promotion_history", "")
    entry = f"- {datetime.now():%Y-%m-%d %H:%M}: {decision.reason}\n"
    tags = {
        "promoted": str(decision.promoted),
        "promotion": decision.reason,
        "promotion_history": history + entry,
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value)
    write_card(name, number)


def rollback(name: str) -> tuple[str, str]:
    """Let champion and previous change places; return the new champion's number and the old one's.

    Raises:
        UserError: there is none to go back to.

    """
    champion, previous = by_alias(name, CHAMPION), by_alias(name, PREVIOUS)
    if champion is None or previous is None:
        raise UserError(f"name={name}: has no previous champion to go back to")
    client = MlflowClient()
    client.set_registered_model_alias(name, CHAMPION, previous.version)
    client.set_registered_model_alias(name, PREVIOUS, champion.version)
    back = f"champion again, in place of version {champion.version}, by hand"
    note_decision(name, previous.version, Decision(True, back))
    gone = f"rolled back to version {previous.version}, by hand"
    note_decision(name, champion.version, Decision(False, gone))
    return str(previous.version), str(champion.version)


def by_alias(name: str, alias: str) -> ModelVersion | None:
    """Return the version that bears an alias, if one does."""
    try:
        return MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        missing = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
        if error.error_code in (missing, "INVALID_PARAMETER_VALUE"):
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
    return client.update_model_version(name, number, cards.card(version.tags))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RegistryCommand(Configuration):
    """List the registered models, promote one, or go back to the champion before."""

    entry_point: ClassVar[str] = ""
    tiny: ClassVar[Mapping[str, Any]] = {"action": "list"}
    positional: ClassVar[tuple[str, ...]] = ("action", "name")

    action: Literal["list", "promote", "rollback"]
    """list, promote or rollback."""
    name: str = ""
    """The registered model, such as moe; list shows all of them without it."""
    version: CountOrNone = 0
    """promote: the version to make champion (0: the challenger)."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning.registry"


def carry_out(command: RegistryCommand) -> None:
    """Do what a person has asked for, and say what was done.

    Raises:
        UserError: no such model or version, or nothing to go back to.

    """
    with tracking.store_errors(), tracking.store_lock():
        known = [model.name for model in mlflow.search_registered_models()]
    if command.name and command.name not in known:
        allowed = ", ".join(known) or "none yet; a study registers its winner"
        hint = nearest(command.name, known)
        raise UserError(
            f"name={command.name}: no such registered model{hint}; there are: {allowed}"
        )
    if command.action == "list":
        names = [command.name] if command.name else known
        print("\n\n".join(table(name) for name in names) or "No model is registered yet.")
        return
    if not command.name:
        raise UserError(f"name: {command.action} needs one; there are: {', '.join(known)}")
    if command.action == "rollback":
        new, old = rollback(command.name)
        print(f"{command.name}: version {new} is champion again; version {old} is previous.")
        return
    version = _asked_for(command)
    promote(command.name, version.version, "promoted by hand")
    print(f"{command.name}: version {version.version} is champion.\n\n{table(command.name)}")


def _asked_for(command: RegistryCommand) -> ModelVersion:
    if command.version:
        found = {int(version.version): version for version in versions(command.name)}
        if command.version not in found:
            allowed = ", ".join(map(str, found))
            raise UserError(f"version={command.version}: {command.name} has only {allowed}")
        version = found[command.version]
    else:
        challenger = by_alias(command.name, CHALLENGER)
        if challenger is None:
            raise UserError(f"version=0: {command.name} has no challenger")
        version = challenger
    champion = by_alias(command.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        raise UserError(f"version={version.version}: is the champion of {command.name} already")
    return version


def table(name: str) -> str:
    """Return the versions of a registered model as lines of text, the newest first."""
    aliases: dict[str, list[str]] = {}
    for alias, number in MlflowClient().get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    rows = [("version", "aliases", "metric", "validation", "test", "study")]
    for version in reversed(versions(name)):
        tags = version.tags
        tested = tags.get("metric", "").replace("val/", "test/")
        rows.append(
            (
                str(version.version),
                ", ".join(sorted(aliases.get(str(version.version), []))),
                tags.get("metric", ""),
                cards.score(tags) if "metric_mean" in tags else "",
                decimal(float(tags[tested])) if tested in tags else "not read",
                tags.get("study_name", ""),
            )
        )
    return f"{name}\n" + "\n".join(_aligned(rows))


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: carry_out(parse(RegistryCommand)))

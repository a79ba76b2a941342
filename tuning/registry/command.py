"""What `python -m tuning.registry` does: list versions, register or promote one, roll back."""

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.tracking.store import store_errors, store_lock
from harness.training.metrics import decimal
from harness.wording import nearest
from tuning.registry import cards
from tuning.registry.by_hand import register_run
from tuning.registry.config import RegistryConfig
from tuning.registry.promotion import promote, rollback
from tuning.registry.versions import CHALLENGER, CHAMPION, by_alias, data_set, versions


def main(config: RegistryConfig) -> None:
    """Carry out the action, and print its result.

    Raises:
        UserError: no such model or version, or no previous champion.

    """
    with store_errors(), store_lock():
        known = [model.name for model in mlflow.search_registered_models()]
    if config.action == "register":
        version = register_run(config.run, config.name)
        name, number = version.name, version.version
        print(f"{name}: version {number} is challenger; `promote {name}` makes it champion.")
        print(f"\n{table(name)}")
        return
    if config.name and config.name not in known:
        allowed = ", ".join(known) or "none yet; a study registers its winner"
        hint = nearest(config.name, known)
        raise UserError(f"name={config.name}: no such registered model{hint}; there are: {allowed}")
    if config.action == "list":
        names = [config.name] if config.name else known
        print("\n\n".join(table(name) for name in names) or "No model is registered yet.")
        return
    if not config.name:
        raise UserError(f"name: {config.action} needs one; there are: {', '.join(known)}")
    if config.action == "rollback":
        new, old = rollback(config.name)
        rest = f"version {old} is previous" if old else "there is no previous one"
        print(f"{config.name}: version {new} is champion again; {rest}.")
        return
    version = _chosen_version(config)
    former = by_alias(config.name, CHAMPION)
    promote(config.name, version.version, "promoted by hand")
    line = f"{config.name}: version {version.version} is champion, trained on {data_set(version)}"
    if former is not None:
        line += f", in place of version {former.version}, trained on {data_set(former)}"
    print(f"{line}.\n\n{table(config.name)}")


def _chosen_version(config: RegistryConfig) -> ModelVersion:
    found = {int(version.version): version for version in versions(config.name)}
    there_are = f"there are: {', '.join(map(str, found)) or 'none'}"
    version: ModelVersion | None
    if config.version:
        if (version := found.get(config.version)) is None:
            raise UserError(f"version={config.version}: {config.name} has no such one; {there_are}")
    elif (version := by_alias(config.name, CHALLENGER)) is None:
        raise UserError(f"version: {config.name} has no challenger; give one; {there_are}")
    champion = by_alias(config.name, CHAMPION)
    if champion is not None and champion.version == version.version:
        raise UserError(f"version={version.version}: is the champion of {config.name} already")
    return version


def table(name: str) -> str:
    """Return the versions of a registered model as lines of text, the newest first."""
    aliases: dict[str, list[str]] = {}
    for alias, number in MlflowClient().get_registered_model(name).aliases.items():
        aliases.setdefault(str(number), []).append(alias)
    rows = [("version", "aliases", "metric", "validation", "test", "data", "study")]
    for version in reversed(versions(name)):
        tags = version.tags
        tested = tags.get(tags.get("metric", "").replace("val/", "test/"))
        unknown = "read" if "tested" in tags else "not read"
        rows.append(
            (
                str(version.version),
                ", ".join(sorted(aliases.get(str(version.version), []))),
                tags.get("metric", ""),
                cards.score(tags) if "metric_mean" in tags else "",
                decimal(float(tested)) if tested else unknown,
                str(data_set(version)),
                tags.get("study_name", ""),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n  ".join([name, *lines])

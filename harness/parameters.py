"""docs/parameters.md, written from the configurations.

python -m harness.parameters     write it (`make project`)
"""

import dataclasses
from typing import Any, Literal, get_args, get_origin

from harness.command_line import grouped
from harness.config import Configuration, base_type, conditions, describe
from harness.execution.config import SEVERAL
from harness.project import ROOT, configurations
from harness.training.config import TrainingConfig
from harness.wording import as_text

PATH = ROOT / "docs" / "parameters.md"
HEADING = """# Parameters

<!-- Written by `make project` from the configurations: change defaults and docstrings there. -->

Every parameter has the same name on the command line (`--num-epochs` or `--num_epochs`), under
`mlflow run` (`-P num_epochs=5`), in Python (`num_epochs=5`) and in the run; `--help` of each
command lists the same. What is `true` or `false` is set by `--animation`, `--no-animation`, or
`--animation false`. A parameter that has an effect *only with* some values of others is refused
beside other values, and is then not logged.
"""
SHARED = "Shared by all experiments"
KINDS = {bool: "`true`, `false`", str: "text", int: "integer", float: "number"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def document() -> str:
    """Return the content of docs/parameters.md."""
    by_name = dict(sorted(configurations().items()))
    titles = {TrainingConfig: SHARED} | {each: name for name, each in by_name.items()}
    parts = [HEADING, f"## {SHARED}\n", *_tables(TrainingConfig, Configuration)]
    for name, config_class in by_name.items():
        text = (config_class.__doc__ or "").strip()
        base = next((each for each in config_class.__mro__[1:] if each in titles), Configuration)
        if base in titles:
            link = f"[{titles[base]}](#{titles[base].lower().replace(' ', '-')})"
            text += f" It has the parameters under {link}, with these additions and defaults:"
        parts += [f"## {name}\n", f"    python -m {config_class.module()}\n", f"{text}\n"]
        parts += _tables(config_class, base)
    return "\n".join(parts)


def _tables(config_class: type[Configuration], base: type[Configuration]) -> list[str]:
    """Return a table for each group, of the parameters that differ from those of `base`."""
    known = {_row(base, field) for field in dataclasses.fields(base)}
    tables = []
    for group, fields in grouped(config_class).items():
        rows = [row for field in fields if (row := _row(config_class, field)) not in known]
        title = "parameter" if group == "options" else group
        if rows:
            heading = [f"| {title} | default | values | meaning |", "| --- | --- | --- | --- |"]
            tables.append("\n".join([*heading, *rows, ""]))
    return tables


def _row(config_class: type[Configuration], field: dataclasses.Field[Any]) -> str:
    meaning = describe(config_class, field.name)
    has_seeds = any(each.name == "seeds" for each in dataclasses.fields(config_class))
    for condition in conditions(config_class, field.name):
        if condition is SEVERAL and not has_seeds:
            continue  # a study, say, always has several trainings
        meaning += f" *Only with {condition.description}.*"
    text = as_text(field.default)
    text = text.lower() if isinstance(field.default, bool) else text
    default = f"`{text}`" if text else "empty"
    if field.default is dataclasses.MISSING:
        default = "required"
    return f"| `{field.name}` | {default} | {_values(field.type)} | {meaning} |"


def _values(annotation: Any) -> str:
    """Return the values that a type allows, such as `integer ≥ 1`."""
    kind = base_type(annotation)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "words"
    if get_args(kind):
        return " or ".join(_values(part) for part in get_args(kind))
    metadata = getattr(annotation, "__metadata__", ())
    limits = {name: value for each in metadata for name, value in dataclasses.asdict(each).items()}
    bounds = (f"{sign} {limits[name]}" for name, sign in SIGNS.items() if name in limits)
    return f"{KINDS[kind]} {', '.join(bounds)}".strip()


if __name__ == "__main__":
    PATH.write_text(document())

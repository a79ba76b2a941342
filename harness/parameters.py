"""docs/parameters.md, written from the configurations.

python -m harness.parameters     write it (`make project`)
"""

import dataclasses
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from harness.command_line import grouped
from harness.config import Configuration, TrainingConfig, base_type, conditions, describe
from harness.project import ROOT, configurations

PATH = ROOT / "docs" / "parameters.md"

HEADING = """# Parameters

<!-- Written by `make project` from the configurations: change defaults and docstrings there. -->

Every parameter has the same name on the command line (`--num-epochs` or `--num_epochs`), under
`mlflow run` (`-P num_epochs=5`), in Python (`num_epochs=5`) and in the run; `--help` of each
command lists the same. A parameter with a condition in the column *only with* is refused where the
condition does not hold, and is then not logged.
"""
SHARED = "Shared by all experiments"


def document() -> str:
    """Return the content of docs/parameters.md."""
    parts = [HEADING, f"## {SHARED}\n", *_tables(TrainingConfig, None)]
    for name, config_class in sorted(configurations().items()):
        base = _base(config_class)
        parts += [f"## {name}\n", f"    python -m {config_class.module()}\n"]
        parts.append((config_class.__doc__ or "").strip())
        if base is not None:
            title = base.entry_point or SHARED
            link = f"[{title}](#{title.lower().replace(' ', '-')})"
            parts[-1] += f" It has the parameters under {link}, with these additions and defaults:"
        parts[-1] += "\n"
        parts += _tables(config_class, base)
    return "\n".join(parts)


def _base(config_class: type[Configuration]) -> type[Configuration] | None:
    """Return what a configuration extends: an entry point, what all experiments share, or none."""
    for parent in config_class.__mro__[1:]:
        if parent is TrainingConfig or parent in configurations().values():
            return parent
    return None


def _tables(config_class: type[Configuration], base: type[Configuration] | None) -> list[str]:
    """Return a table for each group, of the parameters that differ from those of `base`."""
    known = _rows(base) if base is not None else {}
    rows = {name: row for name, row in _rows(config_class).items() if known.get(name) != row}
    tables = []
    for group, fields in grouped(config_class).items():
        chosen = [rows[field.name] for field in fields if field.name in rows]
        if chosen:
            title = "parameter" if group == "options" else group
            columns = [title, "default", "values", "meaning", "only with"]
            if not any(row[-1] for row in chosen):
                columns.pop()
            lines = [columns, ["---"] * len(columns), *(row[: len(columns)] for row in chosen)]
            tables.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n")
    return tables


def _rows(config_class: type[Configuration]) -> dict[str, list[str]]:
    """Return the cells of each parameter's row in a table."""
    rows = {}
    for field in dataclasses.fields(config_class):
        needs = (condition.description for condition in conditions(config_class, field.name))
        cells = [
            f"`{field.name}`",
            _default(field),
            _values(field.type),
            describe(config_class, field.name),
            "; ".join(needs),
        ]
        rows[field.name] = [cell.replace("|", r"\|") for cell in cells]
    return rows


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    value = field.default
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return f"`{text}`" if text else "empty"


def _values(annotation: Any) -> str:
    """Return the values that a type allows, such as `integer >= 1`."""
    kind = base_type(annotation)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_values(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return "words"
    name = {bool: "`true`, `false`", str: "text", int: "integer", float: "number"}[kind]
    limits = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    bounds = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in limits
        for bound, (sign, attribute) in signs.items()
        if isinstance(limit, bound)
    ]
    return f"{name} {', '.join(bounds)}".strip()


if __name__ == "__main__":
    PATH.write_text(document())

"""YAML files that narrow, widen or replace a search space."""

import dataclasses
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml

from harness.config import base_type
from harness.errors import UserError
from harness.search_space import Choice, Parameter, Range
from tuning import parameters
from tuning.space import Space


def changed_by_file(space: Space, path: Path) -> Space:
    """Return a space as a file changes it.

    Each entry names a parameter and gives a range (`{low: 1, high: 8}`, with `log` and `step`), a
    list of choices, or one value, which fixes it; `when` makes it conditional. Parameters that the
    file does not name stay as they are, unless it says `replace: true`.

    Raises:
        UserError: no such file, no such parameter, or an entry of another form.

    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"space={path}: cannot be read ({reason})") from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"space={path}: has to name parameters and what to search for each")
    replaces = content.pop("replace", False)
    searched, fixed = {} if replaces else dict(space.parameters), {}
    for name, entry in content.items():
        space.require_parameter(name, f"space={path}: ")
        if isinstance(entry, dict | list):
            searched[name] = _read_entry(space, name, entry, f"space={path}: ")
        else:
            fixed[name] = entry
    return dataclasses.replace(space, parameters=searched).fix(fixed)


def _read_entry(
    space: Space, name: str, entry: dict[str, Any] | list[Any], place: str
) -> Parameter:
    """Read a list of choices, or a range or choices with a condition."""
    before = space.parameters.get(name)
    entry = {"choices": entry} if isinstance(entry, list) else dict(entry)
    conditions: Any = entry.pop("when", dict(before.when) if before else {})
    try:
        when = {k: tuple(v if isinstance(v, list | tuple) else [v]) for k, v in conditions.items()}
        for other, allowed in when.items():
            space.require_parameter(other, place)
            if not allowed:
                raise ValueError(f"when {other} has no value")
        real = _is_real(space.annotation(name))  # YAML reads 1e-3 as a word
        parameter: Parameter
        if set(entry) == {"choices"}:
            values = entry["choices"]
            parameter = Choice(tuple(map(float, values)) if real else tuple(values), when)
        else:
            if real:
                entry |= {key: float(entry[key]) for key in ("low", "high") if key in entry}
            parameter = Range(**entry, when=when)
        parameters.distribution(parameter)
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        meant = "a list of choices, or low and high (with log, step), and when"
        raise UserError(f"{place}{name}: {entry} is not {meant} ({error})") from None
    return parameter


def _is_real(annotation: Any) -> bool:
    kind = base_type(annotation)
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return float in map(base_type, parts)

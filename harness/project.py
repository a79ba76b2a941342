"""MLproject and conda.yaml, written from the configurations and from pyproject.toml.

    python -m harness.project        write both (`make project`)

Every configuration in a module `config` of these packages that names an entry point is one.
"""

import dataclasses
import importlib
import importlib.util
import pkgutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from harness.config import Configuration, option

ROOT = Path(__file__).parents[1]
PACKAGES = ("experiments", "tuning")


def configurations(*packages: str) -> dict[str, type[Configuration]]:
    """Return the configuration of every entry point in these packages, by its name.

    It stands in the module `config` of the package itself, or of a folder in it.
    """
    return {
        value.entry_point: value
        for package in packages or PACKAGES
        for module in _config_modules(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Configuration)
        and value.__module__ == module.__name__
        and value.entry_point
    }


def _config_modules(package: str) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if info.name == "config":
            yield importlib.import_module(f"{package}.config")
        elif info.ispkg and importlib.util.find_spec(f"{package}.{info.name}.config"):
            yield importlib.import_module(f"{package}.{info.name}.config")


def mlproject() -> dict[str, Any]:
    """Return the content of MLproject."""
    entry_points = {name: _entry_point(config) for name, config in configurations().items()}
    return {
        "name": _project_table()["name"],
        "conda_env": "conda.yaml",
        "entry_points": entry_points,
    }


def conda_environment() -> dict[str, Any]:
    """Return the content of conda.yaml: the versions that pyproject.toml pins."""
    table = _project_table()
    python = table["requires-python"].removeprefix(">=")
    return {
        "name": table["name"],
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": table["dependencies"]}],
    }


def _entry_point(config_class: type[Configuration]) -> dict[str, Any]:
    parameters: dict[str, dict[str, Any]] = {}
    words = ["python", "-m", config_class.module()]
    for field in dataclasses.fields(config_class):
        number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        parameters[field.name] = {"type": "float" if number else "string"}
        if field.default is not dataclasses.MISSING:
            default = field.default if number else _as_text(field.default)
            parameters[field.name]["default"] = default
        if field.name not in config_class.positional:
            words.append(f"--{option(field.name)}")
        words.append(f"{{{field.name}}}")
    return {"parameters": parameters, "command": " ".join(words)}


def _as_text(default: Any) -> str:
    return " ".join(default) if isinstance(default, tuple) else str(default)


def _project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def _write(name: str, content: dict[str, Any], flow_style: bool | None) -> None:
    heading = "# Written by `make project`; change the dataclass or pyproject.toml instead.\n"
    (ROOT / name).write_text(
        heading + yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=flow_style)
    )


if __name__ == "__main__":
    _write("MLproject", mlproject(), flow_style=None)  # one line for each parameter
    _write("conda.yaml", conda_environment(), flow_style=False)

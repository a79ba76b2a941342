"""MLproject and conda.yaml, written from the configurations and from pyproject.toml.

    python -m experiments.harness.project        write both (`make project`)

Every `Configuration` defined in a module of these packages is an entry point.
"""

import dataclasses
import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from experiments.harness.config import Configuration, option
from experiments.harness.experiment import Experiment

ROOT = Path(__file__).parents[2]
PACKAGES = ("experiments", "tuning")


def experiments() -> dict[str, Experiment[Any, Any]]:
    """Return every experiment by the name of its entry point."""
    found = {}
    for module in _modules("experiments"):
        experiment = getattr(module, "EXPERIMENT", None)
        if experiment is not None and experiment.config_class.__module__ == module.__name__:
            found[experiment.name] = experiment
    return found


def configurations() -> dict[str, type[Configuration]]:
    """Return the configuration class of every entry point, by its name."""
    return {
        value.entry_point: value
        for package in PACKAGES
        for module in _modules(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Configuration)
        and value.__module__ == module.__name__
        and value.entry_point
    }


def _modules(package: str) -> Iterator[ModuleType]:
    """Import the modules of a package, those of its folders and the one it runs as excepted."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not info.ispkg and info.name != "__main__":
            yield importlib.import_module(f"{package}.{info.name}")


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

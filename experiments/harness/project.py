"""MLproject and conda.yaml, written from the configurations and from pyproject.toml.

    python -m experiments.harness.project        write both (`make project`)

Every module in `experiments/` that defines a `TrainingConfig` is an entry point.
"""

import dataclasses
import importlib
import pkgutil
import tomllib
from pathlib import Path
from typing import Any

import yaml

import experiments
from experiments.harness.config import TrainingConfig, option

ROOT = Path(__file__).parents[2]


def configurations() -> dict[str, type[TrainingConfig]]:
    """Return the configuration class of every entry point that trains, by its name."""
    found = {}
    for module_info in pkgutil.iter_modules(experiments.__path__):
        if module_info.ispkg:
            continue
        module = importlib.import_module(f"experiments.{module_info.name}")
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, TrainingConfig)
                and value.__module__ == module.__name__
            ):
                found[value.entry_point] = value
    return found


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


def _entry_point(config_class: type[TrainingConfig]) -> dict[str, Any]:
    parameters = {}
    options = []
    for field in dataclasses.fields(config_class):
        number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        default = field.default if number else str(field.default)
        parameters[field.name] = {"type": "float" if number else "string", "default": default}
        options.append(f"--{option(field.name)} {{{field.name}}}")
    module = f"python -m experiments.{config_class.entry_point}"
    return {"parameters": parameters, "command": " ".join([module, *options])}


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

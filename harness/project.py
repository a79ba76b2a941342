"""MLproject and conda.yaml, written from the configurations and from pyproject.toml.

    python -m harness.project        write both (`make project`)

Every configuration in a module `config` of these packages that names an entry point is one.
"""

import dataclasses
import importlib
import tomllib
from pathlib import Path
from typing import Any

import yaml

from harness.config import Configuration, as_text, option

ROOT = Path(__file__).parents[1]
PACKAGES = ("experiments", "tuning")


def configurations(*packages: str) -> dict[str, type[Configuration]]:
    """Return the configuration of every entry point in these packages, by its name."""
    return {
        value.entry_point: value
        for package in packages or PACKAGES
        for path in sorted((ROOT / package).rglob("config.py"))
        for module in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Configuration)
        if value.__module__ == module and value.entry_point
    }


def mlproject() -> dict[str, Any]:
    """Return the content of MLproject."""
    return {
        "name": _project_table()["name"],
        "conda_env": "conda.yaml",
        "entry_points": {name: _entry_point(each) for name, each in configurations().items()},
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
            parameters[field.name]["default"] = field.default if number else as_text(field.default)
        if field.name not in config_class.positional:
            words.append(f"--{option(field.name)}")
        words.append(f"{{{field.name}}}")
    return {"parameters": parameters, "command": " ".join(words)}


def _project_table() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


if __name__ == "__main__":
    heading = "# Written by `make project`; change the dataclass or pyproject.toml instead.\n"
    # One line for each parameter of an entry point.
    text = yaml.safe_dump(mlproject(), sort_keys=False, width=100, default_flow_style=None)
    (ROOT / "MLproject").write_text(heading + text)
    text = yaml.safe_dump(conda_environment(), sort_keys=False)
    (ROOT / "conda.yaml").write_text(heading + text)

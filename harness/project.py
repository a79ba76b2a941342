"""MLproject and conda.yaml, written from the configurations and from pyproject.toml.

    python -m harness.project        write both (`make project`)

Every configuration in a module `config` of these packages that names an entry point is one.
"""

import dataclasses
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from harness.config import Configuration
from harness.wording import as_text, option

ROOT = Path(__file__).parents[1]
PACKAGES = ("experiments", "tuning")


def configurations(*packages: str) -> dict[str, type[Configuration]]:
    """Return the configuration of every entry point in these packages, by its name."""
    return {each.entry_point: each for each in declared(*packages) if each.entry_point}


def declared(*packages: str) -> Iterator[type[Configuration]]:
    """Yield every configuration that is declared in a module `config` of these packages."""
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("config.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for value in vars(importlib.import_module(module)).values():
                is_one = isinstance(value, type) and issubclass(value, Configuration)
                if is_one and value.__module__ == module:
                    yield value


def mlproject() -> dict[str, Any]:
    """Return the content of MLproject."""
    return {
        "name": distribution()["name"],
        "conda_env": "conda.yaml",
        "entry_points": {name: _entry_point(each) for name, each in configurations().items()},
    }


def conda_environment() -> dict[str, Any]:
    """Return the content of conda.yaml: the versions that pyproject.toml pins."""
    table = distribution()
    python = table["requires-python"].removeprefix(">=")
    return {
        "name": table["name"],
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": table["dependencies"]}],
    }


def distribution() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml: name, version, dependencies."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def _entry_point(config_class: type[Configuration]) -> dict[str, Any]:
    parameters: dict[str, dict[str, Any]] = {}
    words = ["python", "-m", config_class.module()]
    for field in sorted(dataclasses.fields(config_class), key=lambda f: config_class.place(f.name)):
        number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        parameters[field.name] = {"type": "float" if number else "string"}
        if field.default is not dataclasses.MISSING:
            parameters[field.name]["default"] = field.default if number else as_text(field.default)
        if field.name not in config_class.positional:
            words.append(f"--{option(field.name)}")
        words.append(f"{{{field.name}}}")
    return {"parameters": parameters, "command": " ".join(words)}


if __name__ == "__main__":
    heading = "# Written by `make project`; change the dataclass or pyproject.toml instead.\n"
    # One line for each parameter of an entry point.
    text = yaml.safe_dump(mlproject(), sort_keys=False, width=100, default_flow_style=None)
    (ROOT / "MLproject").write_text(heading + text)
    text = yaml.safe_dump(conda_environment(), sort_keys=False)
    (ROOT / "conda.yaml").write_text(heading + text)

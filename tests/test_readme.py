"""What the README tells can be done: its commands are accepted, its parameters exist."""

import dataclasses
import importlib
import importlib.util
import re
import shlex
from collections.abc import Sequence

import pytest

from experiments import doctor
from experiments.harness import project
from experiments.harness.config import Configuration, TrainingConfig, parse
from experiments.harness.errors import UserError
from tests.conftest import ROOT
from tuning import registry

README = (ROOT / "README.md").read_text()
BLOCKS = [line[4:] for line in README.splitlines() if re.match(" {4}(python|mlflow|make) ", line)]
COMMANDS = sorted({*BLOCKS, *re.findall(r"`((?:python -m|mlflow|make) [^`]*)`", README)})

CONFIGURATIONS: dict[str, list[type[Configuration]]] = {
    "experiments.doctor": [doctor.DoctorConfig],
    "tuning.registry": [registry.RegistryCommand],
    "experiments.predict": [
        importlib.import_module(f"experiments.prediction.{family}").PREDICTION.question_class
        for family in {each.config_class.family for each in project.experiments().values()}
    ],
}
for each in project.configurations().values():
    CONFIGURATIONS.setdefault(each.module(), [each])


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_given(command: str) -> None:
    words = shlex.split(command, comments=True)
    match words:
        case ["python", "-m", module, *arguments] if module in CONFIGURATIONS:
            check_arguments(module, arguments)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module), f"no module {module}"
        case ["mlflow", "run", ".", *options]:
            check_entry_point(options)
        case ["mlflow", *_]:
            assert words[1:2] in (["models"], ["ui"], ["run"], []), words
        case ["make", *targets]:
            names = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in targets if "=" not in word} <= set(names)


def check_arguments(module: str, arguments: Sequence[str]) -> None:
    """Let the module's configuration, or one of several, take the arguments."""
    if "--help" in arguments:
        return
    mistakes = []
    for config_class in CONFIGURATIONS[module]:
        try:
            parse(config_class, arguments)
        except UserError as mistake:
            mistakes.append(mistake)
        else:
            return
    raise AssertionError(mistakes)


def check_entry_point(options: Sequence[str]) -> None:
    """Look up an entry point and its parameters as `mlflow run` does."""
    name = options[options.index("-e") + 1] if "-e" in options else "main"
    parameters = project.mlproject()["entry_points"][name]["parameters"]
    given = [options[i + 1] for i, word in enumerate(options) if word == "-P"]
    assert {each.partition("=")[0] for each in given} <= set(parameters)


@pytest.mark.parametrize("name", project.configurations())
def test_the_table_of_entry_points_names_what_each_can_be_told(name: str) -> None:
    table = README.split("## Entry points")[1].split("## ")[0]
    (row,) = re.findall(rf"^\| `{name}` \|.*\|(.*)\|$", table, re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", row))
    config_class = project.configurations()[name]
    fields = {field.name for field in dataclasses.fields(config_class)}
    shared = {field.name for field in dataclasses.fields(TrainingConfig)}
    for other in told & set(project.configurations()) - fields:  # "those of `moe`"
        fields -= {field.name for field in dataclasses.fields(project.configurations()[other])}
        told.remove(other)
    if issubclass(config_class, TrainingConfig):
        assert fields - shared <= told <= fields
        everywhere = set(re.findall(r"`(\w+)`", README))
        assert shared <= everywhere
    else:
        assert told == fields

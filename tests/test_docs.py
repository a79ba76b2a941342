"""What README and docs say can be done: commands are accepted, links and parameters exist."""

import dataclasses
import importlib.util
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

import experiments
from experiments.doctor.config import DoctorConfig
from experiments.ensemble.config import EnsembleConfig
from experiments.mislabelled.config import MislabelledConfig
from experiments.ui.config import UiConfig
from harness import parameters
from harness.command_line import parse
from harness.commands import commands as commands_by_name
from harness.config import Configuration
from harness.errors import UserError
from harness.project import configurations, mlproject
from tests.conftest import ROOT
from tuning.registry.config import RegistryConfig

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
WORKED_EXAMPLE = ROOT / "docs/adding-an-architecture.md"
"""Its commands are those of an experiment that tests/test_adding_an_architecture.py adds."""

PROGRAMS = r"(?:python -m|python make\.py|dl-experiments|mlflow|make)"

REQUESTS = {
    name: experiments.find(name).companion("inference").INFERENCE.request_class
    for name in experiments.names()
}
CONFIGURATIONS: dict[str, list[type[Configuration]]] = {
    "experiments.doctor": [DoctorConfig],
    "experiments.ensemble": [EnsembleConfig],
    "experiments.mislabelled": [MislabelledConfig],
    "experiments.ui": [UiConfig],
    "tuning.registry": [RegistryConfig],
    "experiments.predict": list(dict.fromkeys(REQUESTS.values())),
}
for config_class in configurations().values():
    CONFIGURATIONS.setdefault(config_class.module(), [config_class])


def text_of(page: Path) -> str:
    """Return a page without its fenced blocks, which are Python."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def commands() -> list[str]:
    found = set()
    for page in PAGES:
        if page in (WORKED_EXAMPLE, ROOT / "CHANGELOG.md"):  # the latter has those of before
            continue
        text = text_of(page)
        found |= set(re.findall(rf"^ {{4}}({PROGRAMS} .*)$", text, re.M))
        found |= set(re.findall(rf"`({PROGRAMS} [^`]*)`", text))
    return sorted(found)


def test_there_are_commands() -> None:
    assert len(commands()) > 50


@pytest.mark.parametrize("command", commands())
def test_a_command_can_be_given(command: str) -> None:
    words = shlex.split(command.rstrip(" &"), comments=True)
    match words:
        case ["python", "-m", module, *arguments] if module in CONFIGURATIONS:
            check_arguments(module, arguments)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module), f"no module {module}"
        case ["dl-experiments", name, *arguments] if name in commands_by_name():
            check_arguments(commands_by_name()[name].module(), arguments)
        case ["python", "make.py", name, *_]:
            assert name in {"install", "test", "ui", "COMMAND", "--help", *commands_by_name()}
        case ["dl-experiments", *words]:
            assert words in (["--help"], ["--version"])
        case ["mlflow", "run", ".", *options]:
            check_entry_point(options)
        case ["mlflow", *_]:
            assert words[1] in ("artifacts", "gc", "models", "run", "runs", "server", "ui")
        case ["make", *targets]:
            names = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert {word for word in targets if "=" not in word} <= set(names)


def check_arguments(module: str, arguments: Sequence[str]) -> None:
    """Let the module's configuration, or one of several, take the arguments."""
    if {"--help", "NAME"} & set(arguments) or not arguments:
        return
    errors = []
    for config_class in CONFIGURATIONS[module]:
        try:
            parse(config_class, arguments)
        except UserError as error:
            errors.append(error)
        else:
            return
    raise AssertionError(errors)


def check_entry_point(options: Sequence[str]) -> None:
    """Look up an entry point and its parameters as `mlflow run` does."""
    name = options[options.index("-e") + 1] if "-e" in options else "main"
    known = mlproject()["entry_points"][name]["parameters"]
    given = [options[i + 1] for i, word in enumerate(options) if word == "-P"]
    assert {each.partition("=")[0] for each in given} <= set(known)


def links() -> list[tuple[Path, str]]:
    found = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)]+)\)", text_of(page))]
    return [(page, link) for page, link in found if "://" not in link]


@pytest.mark.parametrize(("page", "link"), links(), ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.is_file()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", text_of(target), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """A path in backticks, such as `models/moe.py`; NAME stands for any experiment."""
    folders = "benchmarks|datasets|docs|experiments|harness|models|playground|tests|tuning"
    if page.name in (WORKED_EXAMPLE.name, "CHANGELOG.md"):
        return
    for path in re.findall(rf"`((?:{folders})/[\w/.-]+)`", text_of(page)):
        assert (ROOT / path.replace("NAME", "moe")).exists(), path


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 170
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT)})" in text, page


@pytest.mark.parametrize("name", configurations())
def test_the_readme_names_every_entry_point(name: str) -> None:
    table = README.read_text().split("## Commands")[1].split("## ")[0]
    assert f"\n| `{name}` |" in table


def test_the_page_of_parameters_is_up_to_date() -> None:
    assert parameters.PATH.read_text() == parameters.document(), "run `make project`"


@pytest.mark.parametrize("name", REQUESTS)
def test_the_page_of_inference_names_what_each_architecture_can_be_told(name: str) -> None:
    named = set(re.findall(r"`(\w+)`", text_of(ROOT / "docs/inference.md")))
    assert {field.name for field in dataclasses.fields(REQUESTS[name])} - named <= {
        "model",
        "inputs",
    }

"""`dl-experiments NAME`: every command of the project by its name, from any folder."""

import importlib.metadata
import platform
import runpy
import sys
from collections.abc import Sequence

from harness.command_line import run_command
from harness.config import Configuration
from harness.errors import UserError
from harness.project import ROOT, declared, distribution
from harness.training.config import TrainingConfig
from harness.wording import nearest

SHOWN_VERSIONS = ("torch", "mlflow", "optuna")
Commands = dict[str, type[Configuration]]


def commands() -> Commands:
    """Return the configuration of every package that `python -m` runs, by the command's name.

    That is the name of its entry point, or else the last part of its module's.
    """
    return {
        each.entry_point or each.module().rpartition(".")[2]: each
        for each in declared()
        if each.__module__ == f"{each.module()}.config"
    }


def main(words: Sequence[str]) -> None:
    """Carry out what follows `dl-experiments`; an unknown name ends with exit status 2."""
    run_command(lambda: _carry_out(*words or ["--help"]))


def _carry_out(name: str, *arguments: str) -> None:
    known = commands()
    if name in ("-h", "--help"):
        print(overview(known))
    elif name == "--version":
        print(version())
    elif config_class := known.get(name.replace("-", "_")):
        sys.argv[1:] = arguments
        runpy.run_module(config_class.module(), run_name="__main__", alter_sys=True)
    else:
        hint = nearest(name, known, otherwise="; dl-experiments --help lists them")
        raise UserError(f"{name}: no such command{hint}")


def overview(known: Commands) -> str:
    """Return a line for each command: first those that train, then the others."""
    width = max(map(len, known))
    summaries = {name: str(each.__doc__).partition("\n")[0] for name, each in known.items()}
    lines = {name: f"  {name:{width}}  {text}" for name, text in summaries.items()}
    trains = {name for name, each in known.items() if issubclass(each, TrainingConfig)}
    return "\n".join(
        [
            "usage: dl-experiments COMMAND [--name value ...]",
            "       dl-experiments COMMAND --help     all parameters of a command",
            "       dl-experiments --version          what is installed, for a report",
            "\nexperiments:",
            *(line for name, line in lines.items() if name in trains),
            "\nother commands:",
            *(line for name, line in lines.items() if name not in trains),
        ]
    )


def version() -> str:
    """Return what a bug report needs: versions, system, and the folder of the clone."""
    project = distribution()
    installed = [f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS]
    return "\n".join(
        [
            f"{project['name']} {project['version']} in {ROOT}",
            f"Python {platform.python_version()} on {platform.platform()}",
            ", ".join(installed),
        ]
    )

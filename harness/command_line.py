"""From a command line to a configuration, and from an error to its exit status."""

import argparse
import contextlib
import dataclasses
import functools
import gc
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from harness import signals, torchrun
from harness.config import Configuration, K, base_type, describe, group_of
from harness.errors import UserError
from harness.execution import forkserver
from harness.execution.config import ExecutionConfig
from harness.training.config import TrainingConfig
from harness.wording import as_text, nearest, option

GROUPS = (
    "data",
    "model",
    "augmentation",
    "training",
    "learning-rate decay",
    "distillation",
    "hardware",
    "execution",
    "tracking",
)
"""Headings of `--help`, in their order; those of a command alone come first."""


def launch(config_class: type[Configuration]) -> None:
    """Do what `python -m experiments.NAME` does: read the command line, then run.

    The package has a module `lesson` with an EXPERIMENT, or a module `command` with a `main` that
    takes the configuration. Neither is imported before the command line is known to be valid.
    """

    def command() -> None:
        with errors_as_typed(config_class):
            config = parse(config_class)
            _require_one_model(config)
            package = config_class.module()
            if isinstance(config, ExecutionConfig) and config.needs_forkserver:
                forkserver.start()  # it imports what workers need, while this process does, too
            if issubclass(config_class, TrainingConfig):
                run = importlib.import_module("harness.run_experiment").run_experiment
                experiment = importlib.import_module(f"{package}.lesson").EXPERIMENT
                signals.check()
                run(experiment, config)
            else:
                main = importlib.import_module(f"{package}.command").main
                signals.check()
                main(config)

    signals.listen()
    run_command(command)


def _require_one_model(config: Configuration) -> None:
    """Raise a `UserError` if torchrun has started several processes, and not to train one model."""
    if torchrun.world_size() > 1 and not (isinstance(config, TrainingConfig) and config.seeds == 1):
        raise UserError("torchrun: its processes train one model; several need --workers instead")


def run_command(command: Callable[[], object]) -> None:
    """Run a command; an error ends with the exit status and the words that a user needs."""
    # Figures become files: the backend of a notebook, for one, may not exist in its terminal.
    os.environ["MPLBACKEND"] = "agg"
    # What a GPU of Apple's has no kernel for is computed on the CPU; torch reads it when imported.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a letter that the terminal lacks is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    # Warnings are for the user; mlflow.pytorch would silence them where nothing is set up yet.
    logging.basicConfig(format="%(message)s")
    try:
        command()
    except UserError as error:
        if torchrun.rank() == 0:  # the others have found the same
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, signals.Terminated) as interruption:
        if "MLFLOW_RUN_ID" in os.environ:
            importlib.import_module("harness.tracking.lifecycle").end_unused_run()
        for note in getattr(interruption, "__notes__", [])[-1:]:  # of the outermost run
            print(note, file=sys.stderr)
        sys.exit(signals.STATUS[type(interruption)])
    except Exception as error:
        from harness.tracking.failures import failure_of  # it imports MLflow

        failure = failure_of(error)
        if failure is None:
            raise
        hint = getattr(error, "__notes__", [])[-1:]
        print("; ".join([f"error: {failure.reason}", *hint]), file=sys.stderr)
        sys.exit(failure.status)
    # The interpreter would search all that torch and MLflow hold for garbage once more: 1 s.
    gc.freeze()


@contextlib.contextmanager
def errors_as_typed(config_class: type[Configuration]) -> Iterator[None]:
    """Let a `UserError` name the parameters as they are typed: `--num-experts 0`."""
    try:
        yield
    except UserError as error:
        raise UserError(as_typed(str(error), config_class)) from error.__cause__


def as_typed(message: str, config_class: type[Configuration]) -> str:
    """Return a message with its parameters spelled as on the command line.

    `num_experts=0` becomes `--num-experts 0`, and `animation=False` becomes `--no-animation`. A
    name that could be a word of the text, such as `data`, is one only before `=`, or where the
    message begins with it.
    """
    fields = [field.name for field in dataclasses.fields(config_class)]
    names = "|".join(name for name in fields if name not in config_class.positional)
    outside = r"[\w./?&-]"

    def typed(found: re.Match[str]) -> str:
        name, follows = option(found["name"]), found["follows"]
        if follows == "=False":
            return f"--no-{name}"
        if follows:
            return f"--{name}" if follows == "=True" else f"--{name} "
        begins = found.start() == 0 and re.match(":| is ", message[found.end() :])
        return f"--{name}" if begins or "-" in name else found[0]

    pattern = rf"(?<!{outside})(?P<name>{names})(?P<follows>=(True|False)\b|=|(?!{outside}))"
    return re.sub(pattern, typed, message)


def parse(config_class: type[K], arguments: Sequence[str] | None = None) -> K:
    """Read a configuration from the command line: `--num-epochs 5` or `--num_epochs 5`.

    What is true or false is set by `--animation` and `--no-animation`, or `--animation false`.

    Raises:
        UserError: an unknown parameter, a value of the wrong type or out of range.

    """
    words = sys.argv[1:] if arguments is None else arguments
    # An option in its one spelling, and any other word as it is.
    words = [re.sub(r"^--[\w-]+", lambda name: option(name[0]), word) for word in words]
    return config_class(**vars(_parser(config_class).parse_args(words)))


def grouped(config_class: type[Configuration]) -> dict[str, list[dataclasses.Field[Any]]]:
    """Return the fields of a configuration by the group that `--help` shows them in, in order."""
    by_group: dict[str, list[dataclasses.Field[Any]]] = {}
    for field in config_class.parameters():
        by_group.setdefault(group_of(config_class, field.name), []).append(field)
    own = [name for name in by_group if name not in GROUPS]
    return {name: by_group[name] for name in (*own, *GROUPS) if name in by_group}


def _parser(config_class: type[Configuration]) -> "_Parser":
    command = f"python -m {config_class.module()}"
    examples = [f"  {command} {example}".rstrip() for example in config_class.examples]
    parser = _Parser(
        prog=command,
        usage=" ".join([command, *map(str.upper, config_class.positional), "[--name value ...]"]),
        description=(config_class.__doc__ or "").strip(),
        epilog="\n".join(["examples:", *examples]) if examples else None,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=functools.partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=32, width=100
        ),
    )
    for name, fields in grouped(config_class).items():
        group = parser if name == "options" else parser.add_argument_group(name)
        for field in fields:
            _add_argument(group, config_class, field)
    return parser


def _add_argument(
    group: "argparse._ArgumentGroup | _Parser",
    config_class: type[Configuration],
    field: dataclasses.Field[Any],
) -> None:
    text, kind = describe(config_class, field.name).replace("%", "%%"), base_type(field.type)
    several, default = get_origin(kind) is tuple, field.default
    if field.name in config_class.positional:
        nargs = "+" if several else None if default is dataclasses.MISSING else "?"
        group.add_argument(field.name, help=text, nargs=nargs)
        return
    name, how = option(field.name), dict[str, Any]()
    if several:
        how = {"nargs": "*", "action": "extend"}
    if kind is bool:
        how = {"nargs": "?", "const": "true"}
        off: dict[str, Any] = {"action": "store_const", "const": "false"}
        group.add_argument(f"--no-{name}", dest=field.name, help=argparse.SUPPRESS, **off)
    if default not in ("", ()):
        text += f" (default: {as_text(default)}{f'; --no-{name}' * (default is True)})"
    group.add_argument(f"--{name}", metavar=_placeholder(kind), help=text, **how)


def _placeholder(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "TEXT"
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_args(kind):  # one type or another
        return "|".join(_placeholder(base_type(part)).strip("{}") for part in get_args(kind))
    return "{true,false}" if kind is bool else str(kind.__name__).upper()


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line, with the nearest parameter where one is near."""

    def error(self, message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        if not unknown:
            raise UserError(message.removeprefix("argument "))
        name = unknown.split()[0]
        known = [name for action in self._actions for name in action.option_strings]
        hint = nearest(name, known, otherwise="; --help lists them")
        raise UserError(f"unknown parameter {name}{hint}")

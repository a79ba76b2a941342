"""Configuration: a frozen dataclass per command, the only place where a default stands.

The dataclass makes the command line (`parse`), the logged parameters (`as_parameters`) and the
entry point in MLproject (`experiments.harness.project`). pydantic checks types and ranges on
construction, so a configuration that exists is a valid one.
"""

import argparse
import dataclasses
import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from experiments.harness.errors import UserError

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]
CountOrNone = Annotated[int, Ge(0)]


def _split(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for text in words for word in text.split())


Words = Annotated[tuple[str, ...], AfterValidator(_split)]
"""Several words, separated by blanks or given one by one."""

ScheduleName = Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Configuration:
    """What a command can be told."""

    entry_point: ClassVar[str]
    """Name of the entry point in MLproject; empty for a command that is none."""
    tiny: ClassVar[Mapping[str, Any]]
    """Values with which it takes seconds, for the tests that try every entry point."""
    positional: ClassVar[tuple[str, ...]] = ()
    """Parameters that the command line takes without their name."""

    @classmethod
    def module(cls) -> str:
        """Return the module that `python -m` runs."""
        raise NotImplementedError

    def as_parameters(self) -> dict[str, Any]:
        """Return every field by name, as MLflow logs them."""
        return dataclasses.asdict(self)

    def changes(self) -> dict[str, Any]:
        """Return the values that are not the default, by name."""
        values = [(field, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return {field.name: value for field, value in values if value != field.default}

    def as_name(self) -> str:
        """Return a name that tells this run from others: the entry point and what was changed."""
        changed = {name: value for name, value in self.changes().items() if name != "resume"}
        return " ".join([self.entry_point, *as_words(changed)])

    def as_command(self) -> str:
        """Return the shortest command that repeats this."""
        words = ["python", "-m", self.module()]
        for name, value in self.changes().items():
            if name == "resume":
                continue
            if name not in self.positional:
                words.append(f"--{option(name)}")
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
        return shlex.join(words)


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Return values as people read them: name=value, several values with commas between."""
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]


K = TypeVar("K", bound=Configuration)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig(Configuration):
    """What every experiment can be told; each one adds its own fields to these.

    The entry point bears the name of the experiment's module in `experiments/`.
    """

    family: ClassVar[str]
    """The tag `architecture`, the name of the registered model and of the MLflow experiment."""
    small: ClassVar[Mapping[str, Any]] = {}
    """Values with which `main` trains it within a minute, and without network."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Seed of data, initialisation and order of batches."""
    seeds: Count = 1
    """Repeat with this many seeds, from `seed` upwards, as child runs of one parent."""
    num_epochs: Count = 40
    """Passes over the training split."""
    batch_size: Count = 128
    """Samples per optimiser step."""
    learning_rate: Positive = 1e-3
    """Highest learning rate of the schedule."""
    lr_schedule: ScheduleName = "one_cycle"
    """How the learning rate decays."""
    lr_warmup_fraction: Fraction = 0.0
    """Part of all steps over which the learning rate first rises (0: none; for one_cycle: 0.3)."""
    lr_decay_epochs: Count = 10
    """step: epochs between two decays; plateau: epochs without improvement before one."""
    lr_decay_factor: Annotated[float, Gt(0), Le(1)] = 0.3
    """step, plateau: what a decay multiplies the learning rate by."""
    lr_final_fraction: Annotated[float, Gt(0), Le(1)] = 0.01
    """exponential, cosine: final learning rate as a part of the highest."""
    weight_decay: NotNegative = 0.0
    """Decay of the weights: decoupled from the gradient in Adam, a part of it in SGD."""
    gradient_clip_norm: NotNegative = 0.0
    """Longest gradient, as a Euclidean norm over all parameters (0: no clipping)."""
    weight_average_decay: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Judge and keep an exponential moving average of the weights, with this decay (0: none)."""
    early_stopping_epochs: CountOrNone = 0
    """Stop after this many epochs without a better validation result (0: never)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; auto is bf16 (and TF32) on a GPU and fp32 elsewhere."""
    compile: bool = False
    """Compile the model (torch.compile); pays in long runs on a GPU."""
    checkpoint_seconds: NotNegative = 10.0
    """Least time between two checkpoints; one is written at the end of an epoch."""
    resume: str = ""
    """Id of an interrupted run to go on with, in the same run and with its configuration."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return f"experiments.{cls.entry_point}"

    def changes(self) -> dict[str, Any]:
        """Return the values that are not the default; the experiment's own come first."""
        shared = {field.name for field in dataclasses.fields(TrainingConfig)}
        return dict(sorted(super().changes().items(), key=lambda item: item[0] in shared))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed, validated anew."""
        return construct(type(self), {**self.as_parameters(), **changes})


C = TypeVar("C", bound=TrainingConfig)


def option(name: str) -> str:
    """Return the spelling of a parameter on the command line."""
    return name.replace("_", "-")


def construct(config_class: type[K], values: Mapping[str, Any]) -> K:
    """Build a configuration from raw values, such as the strings of a command line.

    Raises:
        UserError: a value of the wrong type or out of range, or values that contradict each other.

    """
    try:
        return config_class(**values)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # a check of several fields names them itself
            raise UserError(reason) from None
        name = first["loc"][0]
        if first["type"] == "unexpected_keyword_argument":
            known = [field.name for field in dataclasses.fields(config_class)]
            raise UserError(f"{name}: no such parameter{nearest(str(name), known)}") from None
        raise UserError(f"{name}={first['input']!s}: {reason[0].lower()}{reason[1:]}") from None


def describe(config_class: type[Configuration], name: str) -> str:
    """Return the docstring of a field, from the class that declared it first."""
    for parent in config_class.__mro__:
        fields = getattr(parent, "__pydantic_fields__", {})
        if name in fields and fields[name].description:
            return str(fields[name].description)
    raise LookupError(f"{config_class.__name__}.{name} has no docstring")


def parse(config_class: type[K], arguments: Sequence[str] | None = None) -> K:
    """Read a configuration from the command line: `--num-epochs 5` or `--num_epochs 5`.

    Raises:
        UserError: an unknown parameter, a value of the wrong type or out of range.

    """
    parser = _Parser(
        prog=f"python -m {config_class.module()}",
        description=(config_class.__doc__ or "").strip(),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for field in dataclasses.fields(config_class):
        text = describe(config_class, field.name)
        if field.name in config_class.positional:
            required = field.default is dataclasses.MISSING
            several_words = get_origin(base_type(field.type)) is tuple
            number = "+" if several_words else None if required else "?"
            parser.add_argument(field.name, help=text, nargs=number)
            continue
        several: dict[str, Any] = {"nargs": "*", "action": "extend"}
        switch: dict[str, Any] = {"nargs": "?", "const": "true"}
        kind = base_type(field.type)
        parser.add_argument(
            *dict.fromkeys([f"--{option(field.name)}", f"--{field.name}"]),
            dest=field.name,
            metavar=_placeholder(kind),
            help=f"{text} (default: {field.default!r})",
            **(several if get_origin(kind) is tuple else switch if kind is bool else {}),
        )
    return construct(config_class, vars(parser.parse_args(arguments)))


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint at the known name nearest to `name`, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else otherwise


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line, with the nearest parameter where one is near."""

    def error(self, message: str) -> NoReturn:
        _, _, unknown = message.partition("unrecognized arguments: ")
        if not unknown:
            raise UserError(message)
        known = [name for action in self._actions for name in action.option_strings]
        hint = nearest(unknown.split()[0], known, otherwise="; --help lists them")
        raise UserError(f"unknown parameter {unknown}{hint}")


def base_type(annotation: Any) -> Any:
    """Return the type of a field without what limits it: `int` of `Annotated[int, Ge(1)]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _placeholder(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "TEXT"
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    return "{true,false}" if kind is bool else str(kind.__name__).upper()

"""Configurations: a frozen dataclass per command, the only place where a default stands.

The dataclass makes the command line, the logged parameters and the entry point in MLproject.
pydantic checks types and ranges on construction, so a configuration that exists is a valid one.

This module and every `config.py` import nothing heavy: `--help` takes a fraction of a second.
"""

import copy
import dataclasses
import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

from annotated_types import Ge, Le, Lt
from pydantic import AfterValidator, ConfigDict, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from harness.errors import UserError
from harness.wording import as_words, nearest, option

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

MAX_INTEGER = 2**63 - 1
"""What fits into 64 bits, as sizes and numbers of tensors have to."""
MAX_SEED = 2**32 - 1
Seed = Annotated[int, Ge(0), Le(MAX_SEED)]
Fraction = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Ge(0), Lt(1)]
"""A fraction that leaves something over, such as a dropout rate."""
Depth = Annotated[int, Ge(1), Le(32)]
"""A number of layers."""
Words = Annotated[tuple[str, ...], AfterValidator(lambda words: tuple(" ".join(words).split()))]
"""Several words, separated by blanks or given one by one."""


def _divide(words: tuple[str, ...]) -> tuple[str, ...]:
    """Divide words where a name follows a blank, and an equals sign the name."""
    return tuple(filter(None, re.split(r"\s+(?=[\w.-]+=)", " ".join(words).strip())))


Settings = Annotated[tuple[str, ...], AfterValidator(_divide)]
"""Several `name=value`, separated as words are; there may be blanks in a value."""


@dataclasses.dataclass(frozen=True)
class OnlyIf:
    """Metadata of a parameter that has an effect only where `holds(config)`.

    Without effect, it is refused when it is given, and neither logged nor searched.
    """

    description: str
    """The condition as a message says it, such as `lr_schedule=step or plateau`."""
    holds: Callable[[Any], bool]


def only_if(**allowed: str | int | bool | tuple[Any, ...]) -> OnlyIf:
    """Return the condition that each parameter named has the value, or one of the values, given."""
    conditions = {k: v if isinstance(v, tuple) else (v,) for k, v in allowed.items()}
    words = (f"{name}={_one_of(values)}" for name, values in conditions.items())
    return OnlyIf(
        " and ".join(words),
        lambda config: all(getattr(config, name) in values for name, values in conditions.items()),
    )


def _one_of(values: tuple[Any, ...]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


class _OneLineErrors(type):
    """Raises a `UserError` of one line where pydantic would describe an error in several."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # a check of several fields names them itself
            raise UserError(reason)
        name = str(first["loc"][0])
        if first["type"] == "unexpected_keyword_argument":
            known = inspect.signature(cls).parameters
            raise UserError(f"{name}: no such parameter{nearest(name, known)}")
        raise UserError(f"{name}={first['input']!s}: {reason[0].lower()}{reason[1:]}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Configuration(metaclass=_OneLineErrors):
    """What a command can be told; a `UserError` if values are invalid or contradict each other."""

    entry_point: ClassVar[str] = ""
    """Name of the entry point in MLproject; empty for a command that is none."""
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Values with which it takes seconds, for the tests that try every entry point."""
    positional: ClassVar[tuple[str, ...]] = ()
    """Parameters that the command line takes without their name."""
    examples: ClassVar[tuple[str, ...]] = ()
    """Arguments of two or so commands, for `--help`."""
    group: ClassVar[str] = "options"
    """Heading in `--help` of the parameters that a class declares."""
    is_shared: ClassVar[bool] = False
    """Whether those that a class itself declares are shown last, as they are of all experiments."""

    @classmethod
    def module(cls) -> str:
        """Return the module that `python -m` runs."""
        return f"experiments.{cls.entry_point}"

    @classmethod
    def parameters(cls) -> list[dataclasses.Field[Any]]:
        """Return its fields: its own, then those that all experiments share."""
        return sorted(
            dataclasses.fields(cls),
            key=lambda field: vars(_declaring(cls, field.name)[-1]).get("is_shared", False),
        )

    @model_validator(mode="after")
    def _refuse_huge_integers(self) -> Self:
        for name, value in self.changes().items():
            if isinstance(value, int) and value > MAX_INTEGER:
                raise ValueError(f"{name}={value}: at most {MAX_INTEGER}")
        return self

    @model_validator(mode="after")
    def _refuse_without_effect(self) -> Self:
        for name, value in self.changes().items():
            for needed in conditions(type(self), name):
                if not needed.holds(self):
                    message = f"{name}={value}: has no effect here; it needs {needed.description}"
                    raise ValueError(message)
        return self

    def has_effect(self, name: str) -> bool:
        """Return whether a parameter has any effect beside the others."""
        return all(condition.holds(self) for condition in conditions(type(self), name))

    def as_parameters(self) -> dict[str, Any]:
        """Return every parameter that has an effect, by name, as MLflow logs them.

        The experiment's own come first: the MLflow UI keeps the order in which they were logged.
        """
        names = (field.name for field in self.parameters())
        return {name: getattr(self, name) for name in names if self.has_effect(name)}

    def changes(self) -> dict[str, Any]:
        """Return the values that are not the default, by name; the experiment's own come first."""
        values = [(field, getattr(self, field.name)) for field in self.parameters()]
        return {field.name: value for field, value in values if value != field.default}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed, validated anew."""
        return type(self)(**{**self.changes(), **changes})

    @classmethod
    def effective(cls, **values: Any) -> Self:
        """Return the configuration of those values that have an effect beside the others."""
        beside = copy.copy(cls())
        vars(beside).update(values)
        return cls(**{name: value for name, value in values.items() if beside.has_effect(name)})

    def as_name(self) -> str:
        """Return a name that tells this run from others: the entry point and what was changed."""
        return " ".join([self.entry_point, *as_words(self._settings())])

    def as_command(self) -> str:
        """Return the shortest command that repeats this."""
        words, settings = ["python", "-m", self.module()], self._settings()
        for name in sorted(settings, key=self.place):
            if name not in self.positional:
                words.append(f"--{option(name)}")
            words += settings[name] if isinstance(settings[name], tuple) else [settings[name]]
        return shlex.join(map(str, words))

    @classmethod
    def place(cls, name: str) -> int:
        """Return where a parameter stands in a command: those without their name come first.

        After an option of several words, they would be taken for more of these.
        """
        return [*cls.positional, name].index(name)

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.changes().items() if name != "resume"}


K = TypeVar("K", bound=Configuration)


def describe(config_class: type[Configuration], name: str) -> str:
    """Return the docstring of a parameter, from the class that is nearest to its use."""
    for parent in config_class.__mro__:
        fields = getattr(parent, "__pydantic_fields__", {})
        if name in fields and fields[name].description:
            return " ".join(str(fields[name].description).split())
    raise LookupError(f"{config_class.__name__}.{name} has no docstring")


def group_of(config_class: type[Configuration], name: str) -> str:
    """Return the heading under which `--help` shows a parameter: that of its first declaration."""
    return str(_declaring(config_class, name)[-1].group)


def conditions(config_class: type[Configuration], name: str) -> list[OnlyIf]:
    """Return the conditions under which a parameter has an effect; they are inherited."""
    declaring = _declaring(config_class, name)
    declared = [inspect.get_annotations(parent)[name] for parent in declaring]
    metadata = [each for kind in declared for each in getattr(kind, "__metadata__", ())]
    metadata += [vars(parent).get("condition") for parent in declaring]  # of all that it declares
    return [each for each in metadata if isinstance(each, OnlyIf)]


def _declaring(config_class: type[Configuration], name: str) -> list[Any]:
    """Return the classes that declare a parameter; last the one that was first to do so."""
    return [each for each in config_class.__mro__ if name in inspect.get_annotations(each)]


def base_type(annotation: Any) -> Any:
    """Return the type of a field without what limits it: `int` of `Annotated[int, Ge(1)]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation

"""Configurations: a frozen dataclass per command, the only place where a default stands.

The dataclass makes the command line, the logged parameters and the entry point in MLproject.
pydantic checks types and ranges on construction, so a configuration that exists is a valid one.

This module and every `config.py` import nothing heavy: `--help` takes a fraction of a second.
"""

import copy
import dataclasses
import difflib
import inspect
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from harness.errors import UserError

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

MAX_INTEGER = 2**63 - 1
"""What fits into 64 bits, as sizes and numbers of tensors have to."""
MAX_SEED = 2**32 - 1
MAX_LETTERS = 80
"""Of the name of a run, which stands in a narrow column."""
Seed = Annotated[int, Ge(0), Le(MAX_SEED)]
Fraction = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Ge(0), Lt(1)]
"""A fraction that leaves something over, such as a dropout rate."""
Depth = Annotated[int, Ge(1), Le(32)]
"""A number of layers."""
Words = Annotated[tuple[str, ...], AfterValidator(lambda words: tuple(" ".join(words).split()))]
"""Several words, separated by blanks or given one by one."""

ScheduleName = Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
OptimizerName = Literal["adamw", "sgd", "muon"]
Direction = Literal["auto", "maximize", "minimize"]

MINIMISED = ("loss", "error", "bits", "perplexity", "seconds")
MAXIMISED = ("accuracy", "area")
"""Words in the name of a metric of which less is better, and of which more is."""


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


SEVERAL = OnlyIf("seeds=2 or more", lambda config: config.has_several_trainings)
"""The condition of parameters about trainings that run at the same time."""


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

    @classmethod
    def module(cls) -> str:
        """Return the module that `python -m` runs."""
        return f"experiments.{cls.entry_point}"

    @classmethod
    def parameters(cls) -> list[dataclasses.Field[Any]]:
        """Return its fields: its own, then those that all experiments share."""
        shared = TrainingConfig.__dataclass_fields__
        return sorted(dataclasses.fields(cls), key=lambda field: field.name in shared)

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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LearningRateDecay(Configuration):
    """How the learning rate changes from the first optimiser step to the last."""

    group: ClassVar[str] = "learning-rate decay"

    lr_schedule: ScheduleName = "one_cycle"
    """How the learning rate decays."""
    lr_warmup_fraction: Fraction | Literal["auto"] = "auto"
    """Fraction of all steps of linear warm-up (0: none; auto: 0.3 for one_cycle, else 0)."""
    lr_decay_epochs: Annotated[PositiveInt, only_if(lr_schedule=("step", "plateau"))] = 10
    """step: epochs between two decays; plateau: epochs without improvement before one."""
    lr_decay_factor: Annotated[float, Gt(0), Le(1), only_if(lr_schedule=("step", "plateau"))] = 0.3
    """step, plateau: what a decay multiplies the learning rate by."""
    lr_final_fraction: Annotated[
        float, Gt(0), Le(1), only_if(lr_schedule=("exponential", "cosine"))
    ] = 0.01
    """exponential, cosine: final learning rate as a fraction of the highest."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HardwareConfig(Configuration):
    """Where a run computes, and in which arithmetic."""

    group: ClassVar[str] = "hardware"

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass (auto: bf16 where there are units for it that help)."""
    compile: bool = False
    """Compile the model (torch.compile); pays in long runs on a GPU."""
    threads: Annotated[int, Ge(0), Le(1024)] = 0
    """CPU threads to compute with (0: as many as there are cores and as help)."""

    def useful_threads(self) -> int | None:
        """Return how many CPU threads help a run of this size (None: as many as there are)."""
        return None

    def gains_from_bf16(self) -> bool:
        """Return whether bf16 is faster on a CPU that has units for it: large convolutions are."""
        return False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExecutionConfig(Configuration):
    """Where several trainings run at the same time, and how many."""

    group: ClassVar[str] = "execution"

    workers: Annotated[PositiveInt | Literal["auto"], SEVERAL] = "auto"
    """Trainings at the same time (auto: as many as have cores, or a GPU, of their own)."""
    backend: Annotated[Literal["local", "ray"], SEVERAL] = "local"
    """Processes of this machine, or workers of an existing Ray cluster."""
    address: Annotated[str, SEVERAL, only_if(backend="ray")] = "auto"
    """ray: host:port of the cluster (auto: that of this machine, or of RAY_ADDRESS)."""
    runs_per_gpu: Annotated[int, Ge(1), Le(64), SEVERAL] = 1
    """Trainings that share a GPU."""

    @property
    def has_several_trainings(self) -> bool:
        """Whether there is more than one training to be carried out."""
        return True

    @property
    def needs_forkserver(self) -> bool:
        """Whether workers may be forked on this machine."""
        return self.has_several_trainings and self.backend == "local" and self.workers != 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrackingConfig(Configuration):
    """Which runs there are, and how they are kept."""

    group: ClassVar[str] = "tracking"

    seed: Seed = 0
    """Seed of data, initialisation and order of batches."""
    seeds: PositiveInt = 1
    """Repeat with this many seeds, from `seed` upwards, as child runs of one parent."""
    checkpoint_seconds: NonNegativeFloat = 10.0
    """Least time between two checkpoints, in seconds; one is written at the end of an epoch."""
    resume: str = ""
    """Id of an interrupted run to resume, in the same run and with its configuration."""

    @model_validator(mode="after")
    def _seeds_are_seeds(self) -> Self:
        require_seeds(self.seed, "seeds", self.seeds)
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig(ExecutionConfig, TrackingConfig, HardwareConfig, LearningRateDecay):
    """What every experiment can be told; its entry point is named like its folder."""

    group: ClassVar[str] = "training"
    family: ClassVar[str]
    """The tag `architecture`, the name of the registered model and of the MLflow experiment."""
    compares: ClassVar[bool] = False
    """Whether an evaluation trains networks of its own, to compare them."""
    small: ClassVar[Mapping[str, Any]] = {}
    """Values with which `main` trains it within a minute, and without network."""

    num_epochs: PositiveInt = 40
    """Passes over the training split."""
    batch_size: PositiveInt = 128
    """Samples per optimiser step."""
    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate of the schedule."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay: decoupled from the gradient in AdamW and Muon, part of it in SGD."""
    gradient_clip_norm: NonNegativeFloat = 0.0
    """Largest Euclidean norm of the gradient over all parameters (0: no clipping)."""
    ema_decay: Rate = 0.0
    """Decay of an exponential moving average of the weights, which is evaluated (0: none)."""
    early_stopping_epochs: NonNegativeInt = 0
    """Stop after this many epochs without a better validation result (0: never)."""

    @property
    def has_several_trainings(self) -> bool:
        """Whether there are several seeds, or networks to compare."""
        return self.seeds > 1 or self.compares

    @property
    def needs_forkserver(self) -> bool:
        """Whether workers may be forked: not where a single run, by default, takes every core."""
        is_alone = self.workers == "auto" and self.useful_threads() is None
        return super().needs_forkserver and not is_alone

    def for_seed(self, seed: int) -> Self:
        """Return the configuration of a single run with a seed."""
        return type(self).effective(**{**self.changes(), "seed": seed, "seeds": 1, "resume": ""})

    def as_run_name(self) -> str:
        """Return what this run has other than the defaults; of one that has nothing, its seed.

        The MLflow experiment is that of the architecture: other entry points of it are named. Of a
        path, only the last part is.
        """
        settings = {
            name: value.rpartition("/")[2] if isinstance(value, str) else value
            for name, value in self._settings().items()
        }
        words = as_words(settings or {"seed": self.seed})
        if not settings or self.entry_point != self.family:
            words = [self.entry_point, *words]
        name = " ".join(words)
        return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 4]} ..."


C = TypeVar("C", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ComparisonConfig(TrainingConfig):
    """For experiments that train several networks of each kind, to compare the kinds."""

    group: ClassVar[str] = "training"
    compares: ClassVar[bool] = True

    seeds_of_each: PositiveInt = 3
    """Networks of each kind to compare, with seeds from `seed` upwards."""

    @model_validator(mode="after")
    def _seeds_of_each_are_seeds(self) -> Self:
        require_seeds(self.seed + self.seeds - 1, "seeds_of_each", self.seeds_of_each)
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig(Configuration):
    """For experiments that leave the choice of the optimiser to the user."""

    group: ClassVar[str] = "training"

    optimizer: OptimizerName = "adamw"
    """Optimiser; SGD has a Nesterov momentum of 0.9; Muon is for large matrices and kernels."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DropoutConfig(Configuration):
    """For experiments whose networks have dropout."""

    group: ClassVar[str] = "model"

    dropout_rate: Rate = 0.0
    """Fraction of the features that dropout zeroes in training."""


TAUGHT = OnlyIf("a teacher", lambda config: bool(config.teacher))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillationConfig(Configuration):
    """For experiments whose networks can learn from the probabilities of another one."""

    group: ClassVar[str] = "distillation"

    teacher: str = ""
    """Run id or URI of a trained model whose probabilities are learned, too (empty: none)."""
    distillation_weight: Annotated[Fraction, TAUGHT] = 0.5
    """Weight of the teacher's probabilities in the loss; that of the labels is the rest."""
    distillation_temperature: Annotated[PositiveFloat, TAUGHT] = 2.0
    """What the logits of both networks are divided by before they are compared."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GeneratedDataConfig(Configuration):
    """For experiments whose samples are generated, as many as are wanted."""

    group: ClassVar[str] = "data"

    num_train: PositiveInt = 500
    """Samples of a training epoch."""
    num_validation: PositiveInt = 500
    """Samples that the epoch is chosen by."""
    num_test: PositiveInt = 1000
    """Samples that the chosen model is evaluated on, once."""


def require_seeds(first: int, name: str, count: int) -> None:
    """Raise a ValueError that names parameter `name` if seeds from `first` on become too large."""
    if first + count - 1 > MAX_SEED:
        raise ValueError(f"{name}={count}: seeds from {first} upwards exceed {MAX_SEED}")


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Return values as people read them: name=value, several values with commas between."""
    return [f"{name}={as_text(value, ',')}" for name, value in values.items()]


def as_text(value: Any, between: str = " ") -> str:
    """Return a value as text; several words as the command line takes them, with blanks between."""
    return between.join(map(str, value)) if isinstance(value, tuple) else str(value)


def maximises(metric: str, direction: str) -> bool:
    """Return whether more of a metric is better: as `direction` says, or for auto as its name does.

    Raises:
        UserError: the name does not say it.

    """
    if direction != "auto":
        return direction == "maximize"
    found = [word for word in (*MINIMISED, *MAXIMISED) if word in metric]
    if not found:
        which = "direction=maximize or direction=minimize"
        raise UserError(f"metric={metric}: does not say whether more of it is better; add {which}")
    return found[0] in MAXIMISED


def code_block(command: str, width: int = 80) -> str:
    """Return a command as a code block in Markdown, broken over lines of some `width`.

    A long line in a description would push what stands beside it out of the MLflow UI.
    """
    pieces: list[str] = []
    for word in shlex.split(command):
        if pieces and re.fullmatch(r"--[\w-]+", pieces[-1]) and not word.startswith("--"):
            pieces[-1] += f" {shlex.quote(word)}"  # an option and its value stay together
        else:
            pieces.append(shlex.quote(word))
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) < width:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}")
    return "\n".join(["```", " \\\n".join(lines), "```"])


def option(name: str) -> str:
    """Return the spelling of a parameter on the command line, after the two hyphens."""
    return name.replace("_", "-")


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint at the known name nearest to `name`, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else otherwise


def describe(config_class: type[Configuration], name: str) -> str:
    """Return the docstring of a parameter, from the class that is nearest to its use."""
    for parent in config_class.__mro__:
        fields = getattr(parent, "__pydantic_fields__", {})
        if name in fields and fields[name].description:
            return " ".join(str(fields[name].description).split())
    raise LookupError(f"{config_class.__name__}.{name} has no docstring")


def group_of(config_class: type[Configuration], name: str) -> str:
    """Return the heading under which `--help` shows a parameter: that of its first declaration."""
    declaring: list[Any] = [c for c in config_class.__mro__ if name in inspect.get_annotations(c)]
    return str(declaring[-1].group)


def conditions(config_class: type[Configuration], name: str) -> list[OnlyIf]:
    """Return the conditions under which a parameter has an effect; they are inherited."""
    declaring = [c for c in config_class.__mro__ if name in inspect.get_annotations(c)]
    declared = [inspect.get_annotations(parent)[name] for parent in declaring]
    metadata = [each for kind in declared for each in getattr(kind, "__metadata__", ())]
    metadata += [vars(parent).get("condition") for parent in declaring]  # of all that it declares
    return [each for each in metadata if isinstance(each, OnlyIf)]


def base_type(annotation: Any) -> Any:
    """Return the type of a field without what limits it: `int` of `Annotated[int, Ge(1)]`."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation

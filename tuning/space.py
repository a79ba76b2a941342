"""Search spaces: which parameters of an experiment are searched, over which values, and when.

A space only makes configurations. What a study finds is rebuilt from the winner's configuration,
without Optuna.
"""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast, get_args

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from experiments.harness.config import (
    ScheduleName,
    TrainingConfig,
    base_type,
    construct,
    nearest,
)
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment

Values = dict[str, Any]
Condition = Mapping[str, tuple[Any, ...]]

EDGE = 0.05
"""A best value within this part of the range from its end is worth a warning."""
NOT_SEARCHED = ("seed", "seeds", "resume")
"""Parameters that belong to the study and not to a trial."""


@dataclass(frozen=True)
class Parameter:
    """The values that are searched for one parameter."""

    distribution: BaseDistribution
    when: Condition
    """Searched only where each of these other parameters has one of these values."""


def numbers(
    low: float,
    high: float,
    *,
    log: bool = False,
    step: float | None = None,
    when: Condition = MappingProxyType({}),
) -> Parameter:
    """Search from `low` to `high`, both included: integers where both are, else real numbers."""
    if isinstance(low, int) and isinstance(high, int):
        return Parameter(IntDistribution(low, high, log=log, step=int(step or 1)), when)
    return Parameter(FloatDistribution(float(low), float(high), log=log, step=step), when)


def choice(*values: Any, when: Condition = MappingProxyType({})) -> Parameter:
    """Search among `values`."""
    return Parameter(CategoricalDistribution(values), when)


def learning_rate_decay(num_epochs: int | None = None) -> dict[str, Parameter]:
    """Return the kinds of decay, and the parameters of each for training of so many epochs.

    Without a number of epochs, only kinds that stretch with the training, however long it is.
    """
    in_steps = {"lr_schedule": ("step", "plateau")}
    to_an_end = {"lr_schedule": ("exponential", "cosine")}
    kinds = [k for k in get_args(ScheduleName) if num_epochs or k not in in_steps["lr_schedule"]]
    decay = {"lr_schedule": choice(*kinds), "lr_warmup_fraction": numbers(0.0, 0.5)}
    if num_epochs:
        decay["lr_decay_epochs"] = numbers(1, max(num_epochs // 2, 2), when=in_steps)
        decay["lr_decay_factor"] = numbers(0.1, 0.8, when=in_steps)
    decay["lr_final_fraction"] = numbers(0.001, 0.3, log=True, when=to_an_end)
    return decay


@dataclass(frozen=True)
class Space:
    """What a study of one experiment searches, and what it judges by."""

    experiment: Experiment[Any, Any]
    parameters: Mapping[str, Parameter]
    """In the order in which they are chosen: a condition looks back only."""
    metric: str = "val/accuracy"
    """Of the epoch that was kept."""
    maximise: bool = True
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values other than the default that trials and finals have."""
    sketch: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values that make trials cheap and so many; the finals have the defaults instead."""

    @property
    def config_class(self) -> type[TrainingConfig]:
        """The configurations that this space makes."""
        return cast("type[TrainingConfig]", self.experiment.config_class)

    def suggest(self, trial: Trial) -> Values:
        """Let Optuna choose a value for each parameter whose condition holds."""
        return self._walk(lambda name, parameter: _suggest(trial, name, parameter.distribution))

    def configuration(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration of a trial with these values, real numbers to four digits.

        More digits make no difference but to the reader of a command.
        """
        return self._construct({**self.sketch, **values})

    def final_configuration(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the same for the finals: what was sketched is carried out in full."""
        return self._construct(values)

    def _construct(self, values: Mapping[str, Any]) -> TrainingConfig:
        rounded = {name: self._round(name, value) for name, value in values.items()}
        return construct(self.config_class, {**self.fixed, **rounded})

    def default_point(self) -> Values:
        """Return the default configuration, its numbers moved into their ranges.

        It is empty where a default is none of the choices.
        """
        default = self.final_configuration({})
        point = self._walk(lambda name, p: _nearest(p.distribution, getattr(default, name)))
        return {} if None in point.values() else point

    def near_edge(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return a warning for each number that lies within 5 % of an end of its range."""
        warnings = {}
        for name, value in values.items():
            distribution = self.parameters[name].distribution
            if not isinstance(distribution, FloatDistribution | IntDistribution):
                continue
            low, high = distribution.low, distribution.high
            scale = math.log if distribution.log else float
            position = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1)
            if low < high and min(position, 1 - position) <= EDGE:
                end = "low" if position < 0.5 else "high"
                warnings[name] = f"{name}={value:.4g} is at the {end} end of {low:g} to {high:g}"
        return warnings

    def judged_by(self, metric: str, *, maximise: bool) -> "Space":
        """Return this space with another metric."""
        return dataclasses.replace(self, metric=metric, maximise=maximise)

    def difference(self, text: str) -> str:
        """Return in which parts this space differs from one that `as_text` wrote."""
        before, now = json.loads(text), json.loads(self.as_text())
        keys = ("metric", "maximise", "fixed", "sketch")
        parts = [key for key in keys if before.get(key) != now.get(key)]
        names = sorted({*before["parameters"], *now["parameters"]})
        parts += [n for n in names if before["parameters"].get(n) != now["parameters"].get(n)]
        words = {"maximise": "direction", "fixed": "choice of fixed parameters"}
        words["sketch"] = "way to make trials cheap"
        return ", ".join(words.get(part, part) for part in parts)

    def fix(self, values: Mapping[str, Any]) -> "Space":
        """Return this space with some parameters set and no longer searched.

        Raises:
            UserError: an unknown parameter, or a value that the configuration refuses.

        """
        for name in values:
            self._known(name)
        checked = construct(self.config_class, {**self.fixed, **values})
        fixed = {**self.fixed, **{name: getattr(checked, name) for name in values}}
        searched = {n: p for n, p in self.parameters.items() if n not in fixed}
        sketch = {n: v for n, v in self.sketch.items() if n not in fixed}
        return dataclasses.replace(self, parameters=searched, fixed=fixed, sketch=sketch)

    def changed_by(self, path: Path) -> "Space":
        """Return this space narrowed, widened or replaced by a YAML file.

        Each entry names a parameter and gives a range (`{low: 1, high: 8}`, with `log` and
        `step`), a list of choices, or one value, which fixes it; `when` makes it conditional.
        Parameters that the file does not name stay as they are, unless it says `replace: true`.

        Raises:
            UserError: no such file, no such parameter, or an entry that means nothing.

        """
        try:
            content = yaml.safe_load(path.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"space={path}: cannot be read ({reason})") from None
        if not isinstance(content, dict) or not content:
            raise UserError(f"space={path}: has to name parameters and what to search for each")
        replaces = content.pop("replace", False)
        parameters, fixed = {} if replaces else dict(self.parameters), {}
        for name, entry in content.items():
            self._known(name, f"space={path}: ")
            if isinstance(entry, dict | list):
                parameters[name] = self._read(name, entry, f"space={path}: ")
            else:
                fixed[name] = entry
        return dataclasses.replace(self, parameters=parameters).fix(fixed)

    def check(self) -> None:
        """Try every end of a range and every choice, among random others, before any trial does.

        Raises:
            UserError: the configuration refuses one of them, or a condition names no parameter
                that is chosen before.

        """
        generator = random.Random(0)
        if not self.parameters:
            raise UserError("space: nothing is left to search; every parameter is fixed")
        order = list(self.parameters)
        for name, parameter in self.parameters.items():
            for other in parameter.when:
                if other in order and order.index(other) > order.index(name):
                    raise UserError(
                        f"space: {name} depends on {other}, which has to come before it"
                    )
        for name, parameter in self.parameters.items():
            for value in _ends(parameter.distribution):
                pinned = {name: value, **self._needed(name)}

                def pick(name: str, parameter: Parameter, pinned: Values = pinned) -> Any:
                    return pinned.get(name, _draw(generator, parameter.distribution))

                for _ in range(8):
                    try:
                        self.configuration(self._walk(pick))
                    except UserError as error:
                        raise UserError(
                            f"space: it holds values that are refused: {error}"
                        ) from None

    def as_text(self) -> str:
        """Return the space as JSON, which is the same for equal spaces."""
        content = {
            "experiment": self.experiment.name,
            "metric": self.metric,
            "maximise": self.maximise,
            "fixed": dict(self.fixed),
            "sketch": dict(self.sketch),
            "parameters": {
                name: {**json.loads(distribution_to_json(p.distribution)), "when": dict(p.when)}
                for name, p in self.parameters.items()
            },
        }
        return json.dumps(content, indent=2, sort_keys=True)

    def _round(self, name: str, value: Any) -> Any:
        parameter = self.parameters.get(name)
        if parameter is None or not isinstance(parameter.distribution, FloatDistribution):
            return value
        return _nearest(parameter.distribution, float(f"{value:.4g}"))

    def _walk(self, pick: Callable[[str, Parameter], Any]) -> Values:
        """Choose a value for each parameter whose condition holds, in order."""
        defaults, values = self.configuration({}), Values()
        for name, parameter in self.parameters.items():
            if all(
                values.get(other, getattr(defaults, other)) in allowed
                for other, allowed in parameter.when.items()
            ):
                values[name] = pick(name, parameter)
        return values

    def _needed(self, name: str) -> Values:
        """Return values of other parameters under which `name` is searched."""
        needed = {other: allowed[0] for other, allowed in self.parameters[name].when.items()}
        for other in list(needed):
            if other in self.parameters:
                needed = {**self._needed(other), **needed}
        return needed

    def _known(self, name: str, place: str = "") -> None:
        known = [field.name for field in dataclasses.fields(self.config_class)]
        if name not in known:
            of = self.experiment.name
            raise UserError(f"{place}{of} has no parameter {name}{nearest(str(name), known)}")
        if name in NOT_SEARCHED:
            raise UserError(f"{place}{name} belongs to the study and not to its space")

    def _read(self, name: str, entry: Any, place: str) -> Parameter:
        """Read an entry of a file: a list of choices, or a range or choices with a condition."""
        before = self.parameters.get(name)
        entry = {"choices": entry} if isinstance(entry, list) else dict(entry)
        conditions: Any = entry.pop("when", dict(before.when) if before else {})
        try:
            when = {
                k: tuple(v if isinstance(v, list | tuple) else [v]) for k, v in conditions.items()
            }
            for other, allowed in when.items():
                self._known(other, place)
                if not allowed:
                    raise ValueError(f"when {other} has no value")
            real = self._is_real(name)  # YAML takes 1e-3 for a word
            if set(entry) == {"choices"}:
                values = entry["choices"]
                return choice(*(map(float, values) if real else values), when=when)
            if real:
                entry |= {key: float(entry[key]) for key in ("low", "high") if key in entry}
            return numbers(**entry, when=when)
        except UserError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            meant = "a list of choices, or low and high (with log, step), and when"
            raise UserError(f"{place}{name}: {entry} is not {meant} ({error})") from None

    def _is_real(self, name: str) -> bool:
        (annotation,) = (f.type for f in dataclasses.fields(self.config_class) if f.name == name)
        return base_type(annotation) is float


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"{name}: no way to choose from {distribution}")


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return tuple(choices)
        case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
            return (low, high)
    raise TypeError(f"no such distribution: {distribution}")


def _draw(generator: random.Random, distribution: BaseDistribution) -> Any:
    """Draw some value of a distribution, to try it; how densely does not matter."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return generator.choice(choices)
        case FloatDistribution(low=low, high=high):
            return generator.uniform(low, high)
        case IntDistribution(low=low, high=high, step=step):
            return generator.randrange(low, high + 1, step)
    raise TypeError(f"no such distribution: {distribution}")


def _nearest(distribution: BaseDistribution, value: Any) -> Any:
    """Return the value of a range that is nearest; of choices, the value itself or None."""
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else None
    low, high = _ends(distribution)
    return min(max(value, low), high)

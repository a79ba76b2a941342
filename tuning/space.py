"""The search space of a study: an experiment, what is searched of its configuration, what is fixed.

A space only makes configurations. What a study finds is rebuilt from the winner's configuration,
without Optuna.
"""

import copy
import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

from optuna.trial import Trial
from pydantic import TypeAdapter, ValidationError

import experiments
from harness.config import STRICT
from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.search_space import Parameter, Range, SearchSpace
from harness.training.config import TrainingConfig
from harness.wording import nearest
from tuning import parameters
from tuning.config import require_space
from tuning.objectives import Objective

Values = dict[str, Any]

NOT_SEARCHED = ("seed", "seeds", "resume")
"""Parameters that belong to the study and not to a trial."""


def find(name: str) -> "Space":
    """Return the search space that an experiment declares in its `space.py`.

    Raises:
        UserError: there is none.

    """
    require_space(name)
    experiment = experiments.find(name)
    return Space(experiment=experiment, **vars(experiment.companion("space").SPACE))


@dataclass(frozen=True, kw_only=True)
class Space(SearchSpace):
    """The search space of an experiment."""

    experiment: AnyExperiment
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values other than the default that trials and finals have, where they have an effect."""
    others: tuple[Objective, ...] = ()
    """Objectives beside the metric."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What trials are compared by, the metric first."""
        return (Objective(self.metric, self.maximise), *self.others)

    @property
    def config_class(self) -> type[TrainingConfig]:
        """The configurations that this space makes."""
        return cast("type[TrainingConfig]", self.experiment.config_class)

    def suggest(self, trial: Trial) -> Values:
        """Let Optuna choose a value for each parameter that has an effect beside the others."""
        return self._walk(lambda name, parameter: parameters.suggest(trial, name, parameter))

    def configuration(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration of a trial with these values, real numbers to four digits."""
        return self.final_configuration({**self.low_fidelity, **values})

    def final_configuration(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return the same for the finals, at full fidelity."""
        rounded = {n: parameters.rounded(self.parameters.get(n), v) for n, v in values.items()}
        chosen = {**self.fixed, **rounded}
        beside = self._unvalidated(chosen)
        effective = {name: value for name, value in chosen.items() if beside.has_effect(name)}
        return self.config_class(**effective)

    def points(self, generator: random.Random) -> Iterator[Values]:
        """Yield the points of the space in random order: all, where it has no real number."""

        def branch(names: list[str], config: TrainingConfig, values: Values) -> Iterator[Values]:
            if not names:
                yield values
            elif not self._is_searched(names[0], config):
                yield from branch(names[1:], config, values)
            else:
                name = names[0]
                for value in parameters.shuffled(generator, self.parameters[name]):
                    changed = copy.copy(config)
                    vars(changed)[name] = value
                    yield from branch(names[1:], changed, {**values, name: value})

        yield from branch(
            [*self.parameters], self._unvalidated({**self.fixed, **self.low_fidelity}), {}
        )

    def point_near(self, config: TrainingConfig) -> Values:
        """Return the point of a configuration, its numbers moved into their ranges.

        It is empty where a value is none of the choices.
        """
        point = self._walk(lambda name, p: parameters.nearest(p, getattr(config, name)))
        return {} if None in point.values() else point

    def as_grid(self, num_points: int) -> "Space":
        """Return this space with so many values of each range, evenly spaced, as choices."""
        searched = {n: parameters.as_choice(p, num_points) for n, p in self.parameters.items()}
        return dataclasses.replace(self, parameters=searched)

    def near_edge(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return a warning for each number within 5 % of an end of its range that could be wider.

        An end that the configuration allows nothing beyond, such as a dropout of 0, is none.
        """
        warnings = {n: parameters.edge_warning(n, self.parameters[n], v) for n, v in values.items()}
        return {n: text for n, text in warnings.items() if text and self._goes_on(n, values)}

    def _goes_on(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether the configuration allows what lies beyond the end of a range near a value."""
        try:
            beyond = parameters.beyond(cast("Range", self.parameters[name]), values[name])
            self.final_configuration(values).replace(**{name: beyond})
        except UserError:
            return False
        return True

    def fix(self, values: Mapping[str, Any]) -> "Space":
        """Return this space with some parameters set and no longer searched.

        Raises:
            UserError: an unknown parameter, a value that the configuration refuses, or one that
                leaves no validation split to choose by.

        """
        fixed = {**self.fixed, **{name: self._typed(name, v) for name, v in values.items()}}
        changed = dataclasses.replace(
            self,
            parameters={n: p for n, p in self.parameters.items() if n not in fixed},
            fixed=fixed,
            low_fidelity={n: v for n, v in self.low_fidelity.items() if n not in fixed},
        )
        if not self.experiment.has_validation(changed.configuration({})):
            given = ", ".join(f"{name}={value}" for name, value in fixed.items())
            raise UserError(f"{given}: leaves no validation split, by which a study chooses")
        return changed

    def check(self) -> None:
        """Try every end of a range and every choice, among random others, before any trial does.

        Raises:
            UserError: the configuration refuses one of them, a condition names no parameter that
                is chosen before, or a fixed value never has an effect.

        """
        if not self.parameters:
            raise UserError("space: nothing is left to search; every parameter is fixed")
        order = list(self.parameters)
        for name, parameter in self.parameters.items():
            for other in parameter.when:
                if other in order[order.index(name) + 1 :]:
                    message = f"space: {name} depends on {other}, which has to come before it"
                    raise UserError(message)
        effective = set()
        for values in self._sample():
            try:
                effective |= set(self.configuration(values).as_parameters())
            except UserError as error:
                raise UserError(f"space: it holds values that are refused: {error}") from None
        if not set(self.fixed) <= effective:
            self.config_class(**dict(self.fixed))  # which names the reason

    def as_text(self) -> str:
        """Return the space as JSON, which is the same for equal spaces."""
        content = {**vars(self), "experiment": self.experiment.name}

        def plain(part: Any) -> dict[str, Any]:
            return dict(part) if isinstance(part, Mapping) else vars(part)

        return json.dumps(content, indent=2, sort_keys=True, default=plain)

    def difference(self, text: str) -> str:
        """Return in which parts this space differs from one that `as_text` wrote."""
        before, now = json.loads(text), json.loads(self.as_text())
        words = {
            "metric": "metric",
            "maximise": "direction",
            "others": "choice of objectives",
            "fixed": "choice of fixed parameters",
            "low_fidelity": "low-fidelity setting",
        }
        parts = [word for key, word in words.items() if before.get(key) != now.get(key)]
        names = sorted({*before["parameters"], *now["parameters"]})
        parts += [n for n in names if before["parameters"].get(n) != now["parameters"].get(n)]
        return ", ".join(parts)

    def require_parameter(self, name: str, place: str = "") -> None:
        """Raise a UserError if the experiment has no such parameter, or it cannot be searched."""
        known = [field.name for field in dataclasses.fields(self.config_class)]
        if name not in known:
            hint = nearest(str(name), known)
            raise UserError(f"{place}{self.experiment.name} has no parameter {name}{hint}")
        if name in NOT_SEARCHED:
            raise UserError(f"{place}{name} belongs to the study and not to its space")

    def annotation(self, name: str) -> Any:
        """Return the type of a parameter, with what limits it."""
        (found,) = (f.type for f in dataclasses.fields(self.config_class) if f.name == name)
        return found

    def _typed(self, name: str, value: Any) -> Any:
        """Return a value as the configuration would hold it."""
        self.require_parameter(name)
        try:
            return TypeAdapter(self.annotation(name), config=STRICT).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"{name}={value!s}: {reason[0].lower()}{reason[1:]}") from None

    def _unvalidated(self, values: Mapping[str, Any]) -> TrainingConfig:
        """Return a configuration that may hold contradictions, to ask what has an effect."""
        config = copy.copy(self.config_class())
        vars(config).update(values)
        return config

    def _walk(self, pick: Callable[[str, Parameter], Any]) -> Values:
        """Choose a value for each parameter that has an effect beside those before it."""
        values = Values()
        config = self._unvalidated({**self.fixed, **self.low_fidelity})
        for name, parameter in self.parameters.items():
            if self._is_searched(name, config):
                values[name] = vars(config)[name] = pick(name, parameter)
        return values

    def _is_searched(self, name: str, config: TrainingConfig) -> bool:
        """Whether a parameter is searched beside those that were chosen before it."""
        when = self.parameters[name].when
        holds = all(getattr(config, other) in allowed for other, allowed in when.items())
        return holds and config.has_effect(name)

    def _sample(self) -> Iterator[Values]:
        """Yield random points, 8 or so with each end of each range and each choice."""
        generator = random.Random(0)
        for name, parameter in self.parameters.items():
            for value in parameters.extremes(parameter):

                def pick(other: str, p: Parameter, name: str = name, value: Any = value) -> Any:
                    return value if other == name else parameters.draw(generator, p)

                points = (self._walk(pick) for _ in range(64))  # a condition may seldom hold
                yield from islice((values for values in points if name in values), 8)

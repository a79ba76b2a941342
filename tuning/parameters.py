"""What is searched for one parameter, as Optuna knows it, and the values that it holds."""

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from harness.search_space import Choice, Parameter, Range

EDGE = 0.05
"""A best value within this fraction of the range from its end is worth a warning."""

SOME = 16
"""How many real numbers of a range are tried before it is taken for exhausted."""


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's distribution.

    Raises:
        ValueError: an empty range, no choice, or a logarithm of what is not positive.

    """
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    low, high, log, step = parameter.low, parameter.high, parameter.log, parameter.step
    if parameter.is_integer:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def suggest(trial: Trial, name: str, parameter: Parameter) -> Any:
    """Let Optuna choose a value."""
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.values)
    low, high, log, step = parameter.low, parameter.high, parameter.log, parameter.step
    if parameter.is_integer:
        return trial.suggest_int(name, int(low), int(high), log=log, step=int(step or 1))
    return trial.suggest_float(name, low, high, log=log, step=step)


def extremes(parameter: Parameter) -> tuple[Any, ...]:
    """Return every choice, or the two ends of a range."""
    return parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)


def draw(generator: random.Random, parameter: Parameter) -> Any:
    """Draw some value, to try it; how densely does not matter."""
    if isinstance(parameter, Choice):
        return generator.choice(parameter.values)
    if parameter.is_integer:
        return generator.randrange(int(parameter.low), int(parameter.high) + 1)
    return generator.uniform(parameter.low, parameter.high)


def shuffled(generator: random.Random, parameter: Parameter) -> Iterator[Any]:
    """Yield every value in random order; of the real numbers of a range, some."""
    if isinstance(parameter, Choice):
        values = list(parameter.values)
    elif parameter.is_integer:
        values = list(range(int(parameter.low), int(parameter.high) + 1, int(parameter.step or 1)))
    elif parameter.step is not None:
        count = math.floor((parameter.high - parameter.low) / parameter.step + 1e-9) + 1
        values = [parameter.low + number * parameter.step for number in range(count)]
    else:
        values = [draw(generator, parameter) for _ in range(SOME)]
    generator.shuffle(values)
    yield from values


def as_choice(parameter: Parameter, num_points: int) -> Choice:
    """Return so many values of a range, evenly spaced from end to end, or what there are."""
    if isinstance(parameter, Choice):
        return parameter
    space = np.geomspace if parameter.log else np.linspace
    values = space(parameter.low, parameter.high, num_points)
    if parameter.is_integer:
        return Choice(tuple(sorted({round(value) for value in values})), parameter.when)
    return Choice(tuple(float(f"{value:.4g}") for value in values), parameter.when)


def nearest(parameter: Parameter, value: Any) -> Any:
    """Return the nearest value of a range; of choices, the value itself or None."""
    if isinstance(parameter, Choice):
        return value if value in parameter.values else None
    if isinstance(value, str):  # such as auto
        value = parameter.low if parameter.start is None else parameter.start
    return min(max(value, parameter.low), parameter.high)


def rounded(parameter: Parameter | None, value: Any) -> Any:
    """Return a real number of a range to four digits: more make no difference but to the reader."""
    if not isinstance(parameter, Range) or parameter.is_integer:
        return value
    return nearest(parameter, float(f"{value:.4g}"))


def beyond(parameter: Range, value: float) -> float:
    """Return a number a little beyond the end of a range that is nearer to a value."""
    low, high = parameter.low, parameter.high
    if parameter.log:
        is_low = value**2 < low * high
        factor = math.pow(high / low, EDGE)
        below, above = low / factor, high * factor
    else:
        is_low = value < (low + high) / 2
        below, above = low - EDGE * (high - low), high + EDGE * (high - low)
    if parameter.is_integer:
        return math.ceil(low) - 1 if is_low else math.floor(high) + 1
    return below if is_low else above


def edge_warning(name: str, parameter: Parameter, value: Any) -> str:
    """Return a warning where a number lies within 5 % of an end of its range, or nothing."""
    if isinstance(parameter, Choice):
        return ""
    low, high = parameter.low, parameter.high
    scale = math.log if parameter.log else float
    position = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1)
    if low == high or min(position, 1 - position) > EDGE:
        return ""
    end = "low" if position < 0.5 else "high"
    return f"{name}={value:.4g} is at the {end} end of {low:g} to {high:g}"

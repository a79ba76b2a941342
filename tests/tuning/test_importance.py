"""Importance: of which parameters it is told, and what chance gives."""

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution

from tuning.importance import MIN_TRIALS, importance

UNIT = FloatDistribution(0, 1)


def random_study(
    count: int, seed: int, effect: float, *, rare: int = 0, direction: str = "maximize"
) -> optuna.Study:
    """Return a study of random trials, where of six parameters `x0` alone has an effect.

    The first `rare` trials have another parameter, too.
    """
    generator = np.random.default_rng(seed)
    study = optuna.create_study(direction=direction)  # type: ignore[arg-type]
    sign = 1 if direction == "maximize" else -1
    for number in range(count):
        params = {f"x{i}": float(x) for i, x in enumerate(generator.uniform(size=6))}
        value = sign * (effect * params["x0"] + generator.normal())
        if number < rare:
            params["rare"] = 0.5
        ranges: dict[str, BaseDistribution] = dict.fromkeys(params, UNIT)
        study.add_trial(optuna.create_trial(value=value, params=params, distributions=ranges))
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_matters_is_above_chance(direction: str) -> None:
    found = importance(random_study(60, 0, effect=20, direction=direction))
    assert next(iter(found.shares)) == "x0"
    assert found.shares["x0"] > found.chance > max(list(found.shares.values())[1:])
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)


def test_where_nothing_matters_one_study_in_twenty_says_otherwise() -> None:
    found = [importance(random_study(40, seed, effect=0)) for seed in range(10)]
    assert sum(max(each.shares.values()) > each.chance for each in found) <= 3


def test_a_parameter_that_few_trials_have_is_left_out() -> None:
    found = importance(random_study(40, 0, effect=1, rare=MIN_TRIALS - 1))
    assert found.too_few == {"rare": MIN_TRIALS - 1}
    assert "rare" not in found.shares
    assert "rare" in importance(random_study(40, 0, effect=1, rare=MIN_TRIALS)).shares


def test_too_few_trials_and_equal_ones_tell_nothing() -> None:
    assert importance(optuna.create_study()).shares == {}
    assert importance(random_study(MIN_TRIALS - 1, 0, effect=9)).shares == {}
    assert importance(random_study(MIN_TRIALS, 0, effect=9)).shares
    equal = optuna.create_study()
    for number in range(30):
        x = {"x": number / 30}
        equal.add_trial(optuna.create_trial(value=1.0, params=x, distributions={"x": UNIT}))
    assert importance(equal).shares == {}
    assert importance(equal).too_few == {}

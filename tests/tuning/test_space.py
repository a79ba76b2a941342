"""Search spaces: what they suggest, refuse and remember."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.errors import UserError
from harness.search_space import Choice, Parameter, Range, choice, learning_rate_decay
from tests.tuning.lines import SPACE
from tuning import space as spaces
from tuning.config import tunable
from tuning.space import Space, find
from tuning.space_file import changed_by_file

NAMES = tunable()


@pytest.fixture(params=NAMES)
def space(request: pytest.FixtureRequest) -> Space:
    """Give the space of each experiment that has one."""
    return spaces.find(request.param)


def decay(**options: Any) -> Space:
    """Return a space of learning-rate decay alone."""
    return Space(experiment=SPACE.experiment, parameters=learning_rate_decay(**options))


def test_every_space_makes_configurations_with_and_without_optuna(space: Space) -> None:
    space.check()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(100):
        trial = study.ask()
        values = space.suggest(trial)
        assert values == trial.params
        config = space.configuration(values)
        for name, value in values.items():
            assert getattr(config, name) == (
                pytest.approx(value, rel=5e-4) if isinstance(value, float) else value
            )
            assert len(f"{getattr(config, name)!r}") < 16, "more digits than anybody reads"
        assert space.configuration(json.loads(json.dumps(values))) == config
        assert config.lr_schedule in ("step", "plateau") or "lr_decay_factor" not in values
        seen |= set(values)
    assert seen == set(space.parameters)
    assert {"learning_rate", "lr_schedule", "lr_final_fraction"} <= seen


def test_every_space_holds_the_default_or_its_neighbour(space: Space) -> None:
    point, default = space.point_near(space.final_configuration({})), space.configuration({})
    assert point
    for name, value in point.items():
        parameter, expected = space.parameters[name], getattr(default, name)
        if isinstance(parameter, Choice):
            assert value == expected
        else:
            assert parameter.low <= value <= parameter.high
            if expected == "auto":
                expected = parameter.start
            assert value == expected or not parameter.low <= expected <= parameter.high


def test_a_parameter_is_searched_only_where_its_condition_holds() -> None:
    space = decay(num_epochs=20)
    study = optuna.create_study()
    for kind, expected in {
        "constant": set(),
        "one_cycle": set(),
        "step": {"lr_decay_epochs", "lr_decay_factor"},
        "plateau": {"lr_decay_epochs", "lr_decay_factor"},
        "cosine": {"lr_final_fraction"},
        "exponential": {"lr_final_fraction"},
    }.items():
        study.enqueue_trial({"lr_schedule": kind})
        values = space.suggest(study.ask())
        assert set(values) - {"lr_schedule", "lr_warmup_fraction"} == expected
        fixed = space.fix({"lr_schedule": kind}).suggest(study.ask())
        assert set(fixed) - {"lr_warmup_fraction"} == expected


def test_a_parameter_is_searched_only_where_the_configuration_says_that_it_has_an_effect() -> None:
    """The noise of the routing needs some experts left out, which top_k decides."""
    moe = spaces.find("moe")
    searched: dict[str, Parameter] = {
        "num_experts": choice(2, 4),
        "top_k": choice(0, 2),
        "routing_noise": Range(0.1, 1),
    }
    space = dataclasses.replace(moe, parameters=searched)
    space.check()
    study = optuna.create_study()
    for num_experts, top_k, sparse in ((2, 0, False), (2, 2, False), (4, 0, False), (4, 2, True)):
        study.enqueue_trial({"num_experts": num_experts, "top_k": top_k})
        values = space.suggest(study.ask())
        assert ("routing_noise" in values) is sparse
        assert space.configuration(values).as_parameters()["top_k"] == top_k


def test_a_fixed_parameter_counts_where_it_has_an_effect() -> None:
    space = decay(num_epochs=20).fix({"lr_decay_factor": "0.5"})
    space.check()
    assert space.configuration({"lr_schedule": "step"}).lr_decay_factor == 0.5
    assert "lr_decay_factor" not in space.configuration({}).as_parameters()
    never = space.fix({"lr_schedule": "cosine"})
    with pytest.raises(UserError, match=r"lr_decay_factor=0.5: has no effect .*lr_schedule=step"):
        never.check()


def test_fixed_parameters_are_typed_and_no_longer_searched() -> None:
    space = SPACE.fix({"learning_rate": "0.25", "batch_size": "7"})
    assert not space.parameters
    config = space.configuration({})
    assert (config.learning_rate, config.batch_size, config.num_epochs) == (0.25, 7, 4)


def test_values_near_an_edge_are_noticed_on_the_scale_of_the_search() -> None:
    # On the logarithmic scale of 1e-4 to 0.5, 5 % from the ends are 1.53e-4 and 0.327.
    assert SPACE.near_edge({"learning_rate": 1.6e-4, "batch_size": 2}) == {}
    assert "low end of 0.0001 to 0.5" in SPACE.near_edge({"learning_rate": 1.5e-4})["learning_rate"]
    assert "high end" in SPACE.near_edge({"learning_rate": 0.33})["learning_rate"]
    assert SPACE.near_edge({"learning_rate": 0.32}) == {}


def test_an_edge_beyond_which_nothing_is_allowed_is_none() -> None:
    searched: dict[str, Parameter] = {
        "weight_decay": Range(0.0, 0.1),
        "batch_size": Range(1, 9),
        "ema_decay": Range(0.5, 0.99),
    }
    space = dataclasses.replace(SPACE, parameters=searched)
    assert not space.near_edge({"weight_decay": 0.001, "batch_size": 1})
    assert set(space.near_edge({"weight_decay": 0.099, "batch_size": 9})) == set(searched) - {
        "ema_decay"
    }
    assert not space.near_edge({"ema_decay": 0.985})  # 1 would be no average


def test_a_file_narrows_widens_fixes_and_conditions(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        """
        learning_rate: {low: 0.01, high: 1}
        batch_size: [5]
        lr_final_fraction: [1e-3, 0.1]
        num_epochs: 9
        weight_decay: {low: 1e-6, high: 1e-2, log: true, when: {batch_size: [5]}}
        """
    )
    space = changed_by_file(SPACE, path)
    space.check()
    assert space.parameters["learning_rate"] == Range(0.01, 1.0)
    assert space.parameters["batch_size"] == choice(5)
    assert space.parameters["weight_decay"] == Range(
        1e-6, 1e-2, log=True, when={"batch_size": (5,)}
    )
    assert space.parameters["lr_final_fraction"] == choice(0.001, 0.1)
    assert space.fixed == {"num_epochs": 9}
    path.write_text("replace: true\nlearning_rate: [0.1, 0.2]\n")
    assert set(changed_by_file(SPACE, path).parameters) == {"learning_rate"}
    assert changed_by_file(SPACE, path).fixed == {"num_epochs": 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rates: [0.1]", ["no parameter learning_rates", "did you mean learning_rate?"]),
        ("learning_rate: {low: 1}", ["learning_rate", "low and high"]),
        ("learning_rate: {low: 2, high: 1}", ["learning_rate"]),
        ("learning_rate: {low: 0, high: 1, log: true}", ["learning_rate"]),
        ("learning_rate: {bottom: 1, high: 2}", ["learning_rate", "bottom"]),
        ("learning_rate: [-1.0, 0.1]", ["learning_rate=-1.0", "greater than 0"]),
        ("learning_rate: {low: -1, high: 0.1}", ["learning_rate=-1.0", "greater than 0"]),
        ("batch_size: [4, many]", ["batch_size=many", "integer"]),
        ("num_epochs: 0", ["num_epochs=0", "greater than 0"]),
        ("seed: [1, 2]", ["seed", "belongs to the study"]),
        ("batch_size: []", ["batch_size"]),
        ("learning_rate: {low: .01, high: .1, lgo: true}", ["learning_rate", "lgo"]),
        ("batch_size: {choices: [2, 3], log: true}", ["batch_size", "choices"]),
        ("batch_size: {choices: [2], when: {num_epochs: []}}", ["when num_epochs has no value"]),
        ("batch_size: {choices: [2], when: {sizes: 1}}", ["sizes"]),
        ("batch_size: {choices: [2], when: 3}", ["batch_size"]),
        ("- learning_rate", ["has to name parameters"]),
        ("learning_rate: {", ["cannot be read"]),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        changed_by_file(SPACE, path).check()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_values_that_contradict_each_other_are_found_before_any_trial() -> None:
    """Eight experts are needed for `top_k=8`, and the space would also try two."""
    moe = spaces.find("moe")
    contradictory: dict[str, Parameter] = {"num_experts": Range(2, 8), "top_k": choice(0, 8)}
    with pytest.raises(UserError, match=r"top_k=8: exceeds num_experts="):
        dataclasses.replace(moe, parameters=contradictory).check()
    conditional: dict[str, Parameter] = {
        "num_experts": Range(2, 8),
        "top_k": choice(0, 8, when={"num_experts": (8,)}),
    }
    dataclasses.replace(moe, parameters=conditional).check()


def test_equal_spaces_are_equal_as_text_and_others_say_where() -> None:
    assert SPACE.difference(SPACE.as_text()) == ""
    fixed = SPACE.fix({"batch_size": 4})
    wider = dataclasses.replace(fixed, metric="val/accuracy", maximise=True)
    changed = wider.difference(SPACE.as_text())
    assert set(changed.split(", ")) == {
        "metric",
        "direction",
        "choice of fixed parameters",
        "batch_size",
    }


def test_an_experiment_without_space_is_said_with_those_that_have_one() -> None:
    with pytest.raises(UserError, match=r"experiment=meo: .* allowed are .*moe"):
        spaces.find("meo")
    with pytest.raises(UserError, match=r"^experiment=compare: has no search space"):
        spaces.find("compare")


def test_trials_of_low_fidelity_and_finals_of_full_fidelity() -> None:
    space = dataclasses.replace(SPACE, fixed={}, low_fidelity={"num_epochs": 2, "batch_size": 3})
    assert space.configuration({}).num_epochs == 2
    default = SPACE.experiment.config_class()
    assert space.final_configuration({}) == default
    assert space.configuration({"batch_size": 5}).batch_size == 5, "what is searched comes first"
    fixed = space.fix({"num_epochs": 7})
    assert fixed.configuration({}).num_epochs == fixed.final_configuration({}).num_epochs == 7
    assert fixed.low_fidelity == {"batch_size": 3}
    assert "low-fidelity setting" in space.difference(SPACE.as_text())


def test_decay_that_stretches_has_no_parameter_in_epochs() -> None:
    for parameters in (learning_rate_decay(), learning_rate_decay(20)):
        kinds = parameters["lr_schedule"]
        assert isinstance(kinds, Choice)
        in_epochs = {"step", "plateau"} <= set(kinds.values)
        assert in_epochs == ("lr_decay_epochs" in parameters) == ("lr_decay_factor" in parameters)
        assert {"one_cycle", "cosine", "exponential", "constant"} <= set(kinds.values)


def test_a_study_needs_a_validation_split() -> None:
    with pytest.raises(UserError, match=r"^task=digits, refit=True: leaves no validation split"):
        find("seq_classification").fix({"task": "digits", "refit": "true"})

"""Configurations: the command line, validation, and what stands in MLproject and conda.yaml."""

import dataclasses
import re
import shlex
import subprocess
import sys
import tomllib
from typing import Any, get_origin

import pytest
import yaml

from experiments.main.config import MainConfig
from experiments.moe.config import MoEConfig
from experiments.moe_extended.config import MoEExtendedConfig
from harness import project
from harness.command_line import _parser, as_typed, errors_as_typed, parse
from harness.config import Configuration, base_type, describe
from harness.errors import UserError
from harness.training.config import MAX_LETTERS, TrainingConfig
from harness.wording import option
from tests.conftest import ROOT
from tuning.config import StudyConfig

CONFIGURATIONS = project.configurations()


def needed(config_class: type[Configuration]) -> dict[str, Any]:
    """Return a value for each parameter that has no default."""
    return {
        field.name: ("moe",) if get_origin(field.type) is tuple else "moe"
        for field in dataclasses.fields(config_class)
        if field.default is dataclasses.MISSING
    }


def test_both_spellings_and_every_type() -> None:
    line = "--num-epochs 7 --learning_rate 1e-3 --mixing logits --animation false --resume ab"
    config = parse(MoEConfig, line.split())
    assert config.num_epochs == 7
    assert config.learning_rate == 1e-3
    assert config.mixing == "logits"
    assert config.animation is False
    assert config.resume == "ab"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--num-experts 0", ["num_experts=0", "greater than 0"]),
        ("--num-experts two", ["num_experts=two", "integer"]),
        ("--top-k 3", ["top_k=3", "num_experts=2"]),
        ("--learning-rate -0.1", ["learning_rate=-0.1", "greater than 0"]),
        ("--learning-rate nan", ["learning_rate=nan", "finite"]),
        ("--num-test 0", ["num_test=0", "greater than 0"]),
        ("--data bananas", ["data=bananas", "ring", "checkerboard"]),
        ("--routing-noise 1", ["routing_noise=1.0", "top_k"]),
        ("--num_expert 3", ["--num-expert;", "did you mean --num-experts?"]),
        ("--bananas 3", ["bananas", "--help"]),
        ("--num-experts", ["--num-experts: expected one argument"]),
        ("--no-animation=false", ["--no-animation: ignored explicit argument"]),
        ("--no-animation true", ["unknown parameter true"]),
    ],
)
def test_a_mistake_is_one_line_that_names_parameter_value_and_what_is_allowed(
    arguments: str, words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        parse(MoEConfig, arguments.split())
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "given",
    [
        ["data=my photos.zip num-epochs=3"],
        ["data=my photos.zip", "num-epochs=3"],
        ["data=my", "photos.zip", "num-epochs=3"],
    ],
)
def test_a_value_that_is_set_may_have_blanks(given: list[str]) -> None:
    config = parse(StudyConfig, ["cnn", "--set", *given])
    assert config.set == ("data=my photos.zip", "num-epochs=3")
    assert parse(StudyConfig, shlex.split(config.as_command())[3:]) == config
    assert parse(StudyConfig, ["cnn", "--set", ""]).set == ()


def test_a_mistake_on_the_command_line_exits_with_2_and_no_traceback() -> None:
    command = [sys.executable, "-m", "experiments.moe", "--num-experts", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --num-experts 0: input should be greater than 0")


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("num_experts=0: greater than 0", "--num-experts 0: greater than 0"),
        ("animation=False: no effect", "--no-animation: no effect"),
        ("animation=True: no effect", "--animation: no effect"),
        ("top_k=3: exceeds num_experts=2", "--top-k 3: exceeds --num-experts 2"),
        ("data is empty: seed=1 gives data", "--data is empty: --seed 1 gives data"),
        ("resume: that run is gone", "--resume: that run is gone"),
        ("it needs a top_k from 1 on", "it needs a --top-k from 1 on"),
        ("csv: a/num_experts, my.num_experts", "csv: a/num_experts, my.num_experts"),
        ("model=http://a/?data=3&top_k=4", "model=http://a/?data=3&top_k=4"),
    ],
)
def test_messages_on_the_command_line_name_parameters_as_they_are_typed(
    message: str, typed: str
) -> None:
    assert as_typed(message, MoEConfig) == typed
    with pytest.raises(UserError, match=f"^{re.escape(typed)}$"), errors_as_typed(MoEConfig):
        raise UserError(message)


SWITCHES = [
    (config_class, field.name)
    for config_class in CONFIGURATIONS.values()
    for field in dataclasses.fields(config_class)
    if base_type(field.type) is bool
]


@pytest.mark.parametrize(("config_class", "name"), SWITCHES)
def test_every_switch_can_be_turned_on_and_off(
    config_class: type[Configuration], name: str
) -> None:
    given = ["moe" for _ in needed(config_class)]
    for word, value in ((f"--{option(name)}", "true"), (f"--no-{option(name)}", "false")):
        parsed = _parser(config_class).parse_args([*given, word])
        assert getattr(parsed, name) == value
    assert parse(MoEConfig, ["--no-animation"]) == MoEConfig(animation=False)


@pytest.mark.parametrize("config_class", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_parameter_is_documented_and_every_default_valid(
    config_class: type[Configuration],
) -> None:
    assert config_class(**needed(config_class))
    assert config_class(**config_class.tiny)
    for field in dataclasses.fields(config_class):
        assert len(describe(config_class, field.name)) > 10


def test_the_command_repeats_the_run() -> None:
    config = MoEConfig(num_experts=3, learning_rate=0.25, resume="x")
    command = config.as_command()
    assert command == "python -m experiments.moe --num-experts 3 --learning-rate 0.25"
    assert parse(MoEConfig, command.split()[3:]) == config.replace(resume="")
    assert config.as_name() == "moe num_experts=3 learning_rate=0.25"
    assert MainConfig(only=("moe", "rnn"), seed=1).as_name() == "main only=moe,rnn seed=1"


def test_replacing_a_value_validates_it() -> None:
    with pytest.raises(UserError, match="num_experts=0"):
        MoEConfig().replace(num_experts=0)


def test_mlproject_has_names_defaults_and_commands_of_the_configurations() -> None:
    written = yaml.safe_load((ROOT / "MLproject").read_text())
    assert written == project.mlproject(), "run `make project`"
    for name, config_class in CONFIGURATIONS.items():
        entry: dict[str, Any] = written["entry_points"][name]
        fields = {field.name: field for field in dataclasses.fields(config_class)}
        assert set(entry["parameters"]) == set(fields)
        filled = entry["command"].format(
            **{k: str(v.get("default", "moe")) or "''" for k, v in entry["parameters"].items()}
        )
        arguments = ["" if word == "''" else word for word in filled.split()[3:]]
        assert parse(config_class, arguments) == config_class(**needed(config_class))
        for key in fields:  # each one reaches the command under its own name
            word = f"{{{key}}}" if key in config_class.positional else f"--{option(key)} {{{key}}}"
            assert word in entry["command"]


def test_conda_has_the_pins_of_pyproject() -> None:
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": pins}
    assert all("==" in pin for pin in pins)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--lr-decay-epochs 3", ["lr_decay_epochs=3", "no effect", "lr_schedule=step or plateau"]),
        ("--lr-final-fraction 0.5", ["lr_final_fraction=0.5", "exponential or cosine"]),
        ("--routing-noise 1 --top-k 2", ["routing_noise=1.0", "top_k from 1 to num_experts - 1"]),
    ],
)
def test_a_parameter_without_effect_is_refused(arguments: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse(MoEConfig, arguments.split())
    for word in words:
        assert word in str(caught.value)


def test_a_parameter_without_effect_is_not_logged() -> None:
    names = {"lr_decay_epochs", "lr_decay_factor", "lr_final_fraction", "routing_noise"}
    assert not names & MoEConfig().as_parameters().keys()
    stepwise = MoEConfig(lr_schedule="step", num_experts=4, top_k=2).as_parameters()
    assert names - {"lr_final_fraction"} <= stepwise.keys()


@pytest.mark.parametrize("config_class", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_configuration_can_be_rebuilt_from_what_is_logged(
    config_class: type[Configuration],
) -> None:
    config = config_class(**{**needed(config_class), **config_class.tiny})
    assert config_class(**config.as_parameters()) == config


def test_help_shows_each_parameter_once_in_groups_and_examples(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(MoEConfig, ["--help"])
    text = capsys.readouterr().out
    headings = ["data:", "model:", "training:", "learning-rate decay:", "hardware:", "tracking:"]
    places = [text.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    for field in dataclasses.fields(MoEConfig):
        assert text.count(f"--{option(field.name)} ") >= 1
        assert f"--{field.name} " not in text or "_" not in field.name
    assert text.index("--restarts") < text.index("--num-epochs"), "the experiment's own first"
    assert "python -m experiments.moe --num-experts 3 --mixing logits\n" in text


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (MoEConfig(), "moe seed=0"),
        (MoEConfig(seed=1, mixing="logits"), "mixing=logits seed=1"),
        (MoEConfig(data="/a/long/way/to/flowers.csv"), "data=flowers.csv"),
        (MoEConfig(resume="0" * 32), "moe seed=0"),
        (MoEExtendedConfig(), "moe_extended seed=0"),
        (MoEExtendedConfig(seeds=3), "moe_extended seeds=3"),
    ],
)
def test_a_run_is_named_by_what_differs_from_the_defaults(
    config: TrainingConfig, name: str
) -> None:
    assert config.as_run_name() == name


def test_the_name_of_a_run_is_short() -> None:
    name = MoEConfig(data=f"{'x' * 200}.csv", num_experts=3).as_run_name()
    assert len(name) == MAX_LETTERS
    assert name.startswith("num_experts=3 data=xxx")

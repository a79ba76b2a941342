"""Every choice of every parameter, found by itself, beside the defaults of all others."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import mlflow
import pytest

import experiments
from datasets.choices import SequenceFormat
from experiments.cnn.config import CNNConfig
from experiments.cnn.inference import PhotographRequest
from experiments.moe.config import MoEConfig
from experiments.rnn_text.inference import ContinuationRequest
from harness import project
from harness.config import Configuration, base_type
from harness.errors import UserError
from harness.tracking.export import log_model
from harness.training.train import train
from tuning.config import StudyConfig
from tuning.registry.config import RegistryConfig

CONFIGURATIONS = project.configurations()
EXPERIMENTS = {name: experiments.find(name) for name in experiments.names()}
VARIANTS = "moe_extended", "rnn_cells", "seq_encoders"
"""They train what the others train, several times."""
NEEDS: dict[tuple[str, Any], dict[str, Any]] = {
    **{("format", f): {"data": "a.csv"} for f in get_args(SequenceFormat) if f != "auto"},
    ("balance_loss", "importance_and_load"): {
        **{"num_experts": 3, "top_k": 2, "routing": "noisy_top_k"},
        "balance_loss_weight": 0.1,
    },
    ("initialisation", "identity"): {"cell": "rnn", "encoder": "rnn"},
    ("backend", "ray"): {"seeds": 2},
    ("routing", "noisy_top_k"): {"num_experts": 3, "top_k": 2},
    ("routing", "expert_choice"): {"top_k": 1},
    ("split", "ordered"): {"data": "digits"},
    ("baselines", True): {"task": "archive"},
    ("refit", True): {"task": "digits"},
    ("resume", True): {"study_name": "earlier"},
}
"""Choices that need another value beside them, which a message has to name."""


def choices(config_class: type[Configuration]) -> Iterator[tuple[str, Any]]:
    """Yield every parameter that is one of several words, or true or false, with each value."""
    for field in dataclasses.fields(config_class):
        kind = base_type(field.type)
        kinds = [base_type(part) for part in get_args(kind)] if get_args(kind) else [kind]
        if get_origin(kind) is Literal:
            yield from ((field.name, value) for value in get_args(kind))
            continue
        for each in kinds:
            if get_origin(each) is Literal:
                yield from ((field.name, value) for value in get_args(each))
            elif each is bool:
                yield from ((field.name, value) for value in (False, True))


def required(config_class: type[Configuration]) -> dict[str, Any]:
    """Return a value for each parameter that has no default."""
    values = {"model": "models:/cnn@champion", "inputs": ("a",), **config_class.tiny}
    fields = dataclasses.fields(config_class)
    return {f.name: values[f.name] for f in fields if f.default is dataclasses.MISSING}


def beside(config_class: type[Configuration], name: str, value: Any) -> dict[str, Any]:
    """Return the values with which a choice is accepted; a UserError where there are none.

    They are the defaults; or, where the parameter has no effect beside them, one other choice.
    """
    values = {**required(config_class), name: value}
    known = {field.name for field in dataclasses.fields(config_class)}
    if (name, value) in NEEDS:
        values |= {k: v for k, v in NEEDS[name, value].items() if k in known}
    try:
        config_class(**values)
    except UserError as error:
        if "has no effect here" not in str(error):
            raise
        for other, choice in choices(config_class):
            more = {k: v for k, v in NEEDS.get((other, choice), {}).items() if k in known}
            try:
                config_class(**{other: choice, **more, **values})
            except UserError:
                continue
            return {other: choice, **more, **values}
        raise
    return values


@pytest.mark.parametrize("config_class", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_choice_is_accepted_with_the_defaults_of_the_others(
    config_class: type[Configuration],
) -> None:
    for name, value in choices(config_class):
        beside(config_class, name, value)


def test_what_a_choice_needs_is_named() -> None:
    for (name, value), others in NEEDS.items():
        for config_class in CONFIGURATIONS.values():
            known = {field.name for field in dataclasses.fields(config_class)}
            if getattr(config_class, "compares", False) and "seeds" in others:
                continue  # it trains several by itself
            if config_class is StudyConfig:
                continue  # without a name it resumes its latest study
            if (name, value) in choices(config_class) and known & set(others):
                with pytest.raises(UserError, match="|".join(others)):
                    config_class(**{**required(config_class), name: value})


@pytest.mark.parametrize(
    ("config_class", "values", "message"),
    [
        (CNNConfig, {"initial_resolution": 0.9, "final_resolution": 0.1}, "initial_resolution=0.9"),
        (CNNConfig, {"label_smoothing": 1.0}, "label_smoothing=1.0: .*less than 1"),
        (MoEConfig, {"num_experts": 1, "gate_hidden": 4}, "gate_hidden=4: .*num_experts=2 or more"),
        (MoEConfig, {"num_experts": 1, "top_k": 1}, "top_k=1: has no effect"),
        (MoEConfig, {"num_experts": 1, "z_loss_weight": 0.1}, "z_loss_weight=0.1: has no effect"),
        (MoEConfig, {"loss": "competitive"}, "loss=competitive: .*mixing=logits"),
        (StudyConfig, {"finalists": 0, "final_seeds": 5}, "final_seeds=5: .*finalists=1 or more"),
        (RegistryConfig, {"action": "list", "version": 3}, "version=3: .*action=promote"),
        (PhotographRequest, {"explain_dir": "maps"}, "explain_dir=maps: .*explain=True"),
        (ContinuationRequest, {"temperature": 0, "seed": 5}, "seed=5: .*temperature above 0"),
    ],
)
def test_what_has_no_meaning_beside_other_values_is_refused(
    config_class: type[Configuration], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        config_class(**{**required(config_class), **values})


@pytest.mark.parametrize(
    ("name", "values"),
    [("moe", {}), ("rnn", {}), ("rnn", {"task": "variable_echo"}), ("seq_classification", {})],
)
def test_splits_of_one_sample_end_with_metrics_figures_and_a_model(
    name: str, values: dict[str, Any], store: Path
) -> None:
    """What only the test split shows, such as its lengths and classes, ends no run."""
    experiment = EXPERIMENTS[name]
    sizes = dict.fromkeys(
        ("num_train", "num_validation", "num_test", "batch_size", "num_epochs"), 1
    )
    if name == "moe":  # a gate learns nothing of a class that training lacks, which is refused
        sizes |= {"num_train": 20, "num_validation": 20}
    config = experiment.config_class(**{**experiment.config_class.tiny, **sizes, **values})
    trained = train(experiment, config)
    evaluation = experiment.evaluate(config, trained, trained.data.test)
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    assert len(list(experiment.figures(config, trained, evaluation))) >= 5
    with mlflow.start_run():
        log_model(experiment.export(config, trained), config)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in VARIANTS])
def test_every_choice_trains(name: str) -> None:
    """One epoch of the tiny configuration; what this machine lacks is refused in one line."""
    experiment = EXPERIMENTS[name]
    config_class = experiment.config_class
    for parameter, value in choices(config_class):
        values = beside(config_class, parameter, value)
        if parameter in ("format", "compile"):
            continue
        tiny = {**config_class.tiny, "num_epochs": 1, **values}
        try:
            trained = train(experiment, config_class.effective(**tiny))
        except UserError as error:
            lacking = ("device=", "backbone=", "task=japanese_vowels", "data_set=", "image_size=")
            assert str(error).startswith(lacking)  # noqa: PT017
            continue
        assert len(trained.history.rows) == 1

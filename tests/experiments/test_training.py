"""What holds for the training of every experiment, with its tiny values."""

import copy
import functools
from typing import Any, NamedTuple

import pytest
import torch

import experiments
from harness.experiment import AnyExperiment
from harness.training.device import Hardware, seed_everything
from harness.training.loop import Progress
from harness.training.train import train

NAMES = experiments.names()
MEASURED = {"train/epoch_seconds", "epoch_seconds", "samples_per_second"}
"""Metrics of an epoch that are times."""


class Subject(NamedTuple):
    """An experiment, its tiny configuration, and its data."""

    experiment: AnyExperiment
    config: Any
    data: Any

    def batch(self) -> Any:
        """Return the first batch of validation; each call one of its own."""
        return next(iter(self.experiment.validation_batches(self.config, self.data)))


@pytest.fixture(scope="module", params=NAMES)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Load the data of each experiment, one after the other."""
    experiment = experiments.find(request.param)
    config = experiment.config_class(**experiment.config_class.tiny)
    return Subject(experiment, config, experiment.load_data(config))


def test_a_configuration_gives_its_numbers_whoever_calls(subject: Subject) -> None:
    experiment, config, _ = subject
    outcomes = []
    for seed in (1, 2):
        seed_everything(seed)  # a state of the generators that nobody asked for
        trained = train(experiment, config)
        rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in trained.history.rows]
        outcomes.append((rows, trained.model.state_dict()))
    (rows, weights), (other_rows, other_weights) = outcomes
    assert rows == other_rows
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def test_a_copy_of_a_compiled_model_computes_with_its_own_weights(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged weights are those of a copy, which is made after the model was compiled."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    experiment, config, data = subject
    seed_everything(0)
    model = experiment.build_model(config, data).eval()
    plain = copy.deepcopy(model)
    Hardware(torch.device("cpu"), "fp32", compile=True).prepare(model, experiment.compiled_method)
    average = copy.deepcopy(model)
    with torch.no_grad():
        for one, other in zip(plain.parameters(), average.parameters(), strict=True):
            other.copy_(one.mul_(0.5))
        expected = experiment.loss(config, plain, subject.batch()).loss
        assert experiment.loss(config, average, subject.batch()).loss == pytest.approx(expected)
        compiled = experiment.loss(config, model, subject.batch()).loss
        assert compiled != pytest.approx(expected)


def test_matrices_decay_and_biases_do_not(subject: Subject) -> None:
    """Where the loss has no gradient, only what decays shrinks."""
    experiment, config, data = subject
    config = config.replace(weight_decay=0.5, learning_rate=0.1)
    model = experiment.build_model(config, data)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    experiment.optimizer(config, model).step()
    for name, parameter in model.named_parameters():
        is_bias = "bias" in name.split(".")[-1] or parameter.dim() == 1
        expected = torch.full_like(parameter, 1.0 if is_bias else 1 - 0.1 * 0.5)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


def test_snapshots_are_of_the_weights_that_are_evaluated() -> None:
    experiment = experiments.find("moe")
    config = experiment.config_class(**experiment.config_class.tiny).replace(
        num_epochs=3, ema_decay=0.9
    )
    evaluated = {}

    def remember(progress: Progress) -> None:
        evaluated[progress.epoch] = copy.deepcopy(progress.eval_model.state_dict())

    snapshots = train(experiment, config, callbacks=[remember]).history.snapshots
    assert set(snapshots) == {1, 2, 3}
    for epoch, weights in snapshots.items():
        for name, value in weights.items():
            assert torch.equal(value, evaluated[epoch][name])

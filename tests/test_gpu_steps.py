"""Every experiment's steps on a GPU that is not there: devices, dtypes, shapes, and no waiting."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

import experiments
from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.training.device import Hardware
from harness.training.loop import fit
from harness.training.metrics import StepOutput, check_losses
from tests.fake_gpu import GPU, Steps, SynchronisationError, run_steps, tiny_steps
from tests.harness.small import FitALine, SmallConfig, line, squared_error
from tests.harness.test_memory import contexts


def assert_steps_stay_on_the_gpu(
    experiment: AnyExperiment, config: Any, steps: Steps | None = None
) -> None:
    """Assert it, and that weights, gradients and metrics have the shapes of those on the CPU."""
    steps = steps or run_steps(experiment, config, Hardware(GPU, "bf16"))
    steps.assert_independent_of_the_host()
    progress = steps.progress
    assert not {"fp16"} & (steps.training.products | steps.validation.products)
    states = [each for state in progress.optimizer.state.values() for each in state.values()]
    averages = progress.eval_model.state_dict().values()
    assert {each.device for each in [*states, *averages] if each.dim()} <= {GPU}
    for weights in progress.model.parameters():
        assert (weights.device, weights.dtype) == (GPU, torch.float32)
        gradient = weights.grad
        if gradient is not None:
            assert (gradient.device, gradient.dtype) == (GPU, torch.float32)
            assert gradient.shape == weights.shape
    data = experiment.load_data(config)
    model = experiment.build_model(config, data)
    for averager, batches in (
        (steps.trained, experiment.training_batches(config, data, 1)),
        (steps.validated, experiment.validation_batches(config, data)),
    ):
        model.train(averager is steps.trained)
        with torch.no_grad():
            metrics = experiment.loss(config, model, next(iter(batches))).metrics
        sums = averager._sums
        assert {n: t.shape for n, t in sums.items()} == {n: t.shape for n, t in metrics.items()}
        assert {(each.device, each.dtype) for each in sums.values()} == {(GPU, torch.float64)}


@pytest.mark.parametrize("name", experiments.names())
def test_steps_stay_on_the_gpu(name: str) -> None:
    experiment = experiments.find(name)
    config = experiment.config_class(**experiment.config_class.tiny)
    assert_steps_stay_on_the_gpu(experiment, config, tiny_steps(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", experiments.names())
def test_so_they_do_with_every_choice(name: str) -> None:
    experiment = experiments.find(name)
    for values in contexts(experiment.config_class):
        try:
            config = experiment.config_class(**values)
            experiment.load_data(config)
        except UserError:  # it has no effect here, or needs what is not here
            continue
        if getattr(config, "training", "gradient") != "gradient":
            continue  # an iteration of expectation maximisation asks how far its steps may go
        assert_steps_stay_on_the_gpu(experiment, config)


def test_one_choice_reads_a_number_back_in_each_step() -> None:
    """How many points the busiest expert has, where chosen experts alone are computed."""
    moe = experiments.find("moe")
    sparse = {"num_experts": 8, "top_k": 2, "expert_hidden": 8}
    config = moe.config_class(**{**moe.config_class.tiny, **sparse})
    with pytest.raises(DataDependentOutputException) as caught:
        run_steps(moe, config, Hardware(GPU, "bf16"))
    assert "evaluate_chosen" in {entry.name for entry in caught.traceback}


class Wrong(FitALine):
    """A line that is fitted with one mistake."""

    def __init__(self, mistake: Callable[[Tensor, Tensor], Any]):
        self.mistake = mistake

    def loss(self, config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        output = squared_error(model, batch)
        self.mistake(batch[0], output.loss)
        return output


NUMBER = torch.tensor(2.0)
MISTAKES: dict[str, tuple[Callable[[Tensor, Tensor], Any], type[Exception]]] = {
    "a tensor of the CPU": (lambda x, loss: x + torch.zeros(len(x), 1), RuntimeError),
    "a number of the CPU": (lambda x, loss: x * NUMBER, AssertionError),
    "a copy from the host": (lambda x, loss: torch.ones(2).to(x.device), AssertionError),
    "values from the host": (lambda x, loss: torch.tensor([1, 2], device=x.device), AssertionError),
    "work on the host": (lambda x, loss: torch.rand(9), AssertionError),
    "a copy to the host": (lambda x, loss: loss.cpu(), SynchronisationError),
    "item()": (lambda x, loss: loss.item(), DataDependentOutputException),
    "a decision": (lambda x, loss: x if loss > 1 else loss, DataDependentOutputException),
    "a selection": (lambda x, loss: x[x > 0], SynchronisationError),
    "a count": (lambda x, loss: x.nonzero(), DynamicOutputShapeException),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str) -> None:
    mistake, error = MISTAKES[name]
    with pytest.raises(error):
        assert_steps_stay_on_the_gpu(Wrong(mistake), SmallConfig())


def test_without_a_mistake_there_is_none() -> None:
    assert_steps_stay_on_the_gpu(Wrong(lambda x, loss: x + loss), SmallConfig())


@pytest.mark.parametrize("name", ["float64", "float16"])
def test_weights_of_another_dtype_are_noticed(name: str) -> None:
    class WrongModel(FitALine):
        def build_model(self, config: SmallConfig, data: Any) -> nn.Module:
            return nn.Sequential(Converted(), nn.Linear(1, 1, dtype=getattr(torch, name)))

    class Converted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(getattr(torch, name))

    with pytest.raises(AssertionError):
        assert_steps_stay_on_the_gpu(WrongModel(), SmallConfig())


def test_losses_of_a_gpu_are_read_fifty_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read one is to wait for it. The tensors are on the CPU, which the loop is not told."""
    counts: list[int] = []

    def check(unchecked: list[Any], epoch: int) -> None:
        counts.append(len(unchecked))
        check_losses(unchecked, epoch)

    monkeypatch.setattr("harness.training.loop.check_losses", check)
    experiment, config = FitALine(), SmallConfig(num_epochs=1, batch_size=1)
    data = dataclasses.replace(experiment.load_data(config), train=line(120))
    for device, expected in (("cuda", [50, 50, 20]), ("cpu", [1] * 120 + [0])):
        counts.clear()
        fit(experiment, config, nn.Linear(1, 1), data, Hardware(torch.device(device), "fp32"))
        assert counts == expected

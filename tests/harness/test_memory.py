"""Sizes beyond memory are refused in one line, before anything of the size is allocated."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import mlflow
import pytest
import torch
from mlflow.tracking import MlflowClient

import experiments
from harness.command_line import run_command
from harness.config import base_type
from harness.errors import UserError
from harness.execution import messages
from harness.execution.messages import Failed, attempt, result_of
from harness.experiment import AnyExperiment
from harness.run_experiment import run_experiment
from harness.training import memory
from harness.training.device import Hardware, seed_everything
from harness.training.memory import (
    NotEnoughMemoryError,
    TrainingMemory,
    available_bytes,
    load_data,
    suggesting_batch_size,
    training_memory,
)
from harness.training.metrics import StepOutput
from tests.harness.small import FitALine, SmallConfig, squared_error

CPU = Hardware(torch.device("cpu"), "fp32")
HUGE = 10**12
NO_SIZE = {
    "num_epochs",
    "early_stopping_epochs",
    "lr_decay_epochs",
    "em_iterations",
}
"""Integers that take time, or nothing, but no memory."""
NO_SIZE_IN = {
    "moe": {"batch_size"},  # at most all points
    "moe_extended": {"batch_size"},
    "rnn": {"num_train"},  # generated when it is needed
    "rnn_cells": {"num_train"},
    "seq_classification": {"num_train"},
    "seq_encoders": {"num_train"},
}


def contexts(config_class: type[Any]) -> Iterator[dict[str, Any]]:
    """Yield the tiny values, and then with each choice of another kind of data or model."""
    yield dict(config_class.tiny)
    for field in config_class.parameters():
        if get_origin(kind := base_type(field.type)) is Literal and field.name != "device":
            for value in get_args(kind):
                yield {**config_class.tiny, field.name: value}
        if field.name == "match_parameters":
            yield {**config_class.tiny, field.name: 0}


def with_huge(experiment: AnyExperiment, name: str, value: int) -> Any:
    """Return a configuration with a huge value, among others beside which it has an effect."""
    for context in contexts(experiment.config_class):
        values = {**context, name: value}
        while True:
            try:
                return experiment.config_class(**values)
            except UserError as error:
                without_effect = re.match(r"(\w+)=.*: has no effect here", str(error))
                if without_effect is None:
                    raise
            if (other := without_effect[1]) == name:
                break
            del values[other]
    raise LookupError(f"{name} has no effect anywhere")


def integers(experiment: AnyExperiment) -> list[str]:
    """Return the parameters that are integers without a limit."""
    return [f.name for f in experiment.config_class.parameters() if base_type(f.type) is int]


NOWHERE = {("moe_extended", "em_iterations")}
"""What has no effect with any other values: expectation maximisation needs a linear gate."""
SIZES = [(name, each) for name in experiments.names() for each in integers(experiments.find(name))]
SIZES = [each for each in SIZES if each not in NOWHERE]


@pytest.mark.parametrize(("name", "parameter"), SIZES)
def test_a_huge_size_is_refused_in_one_line(name: str, parameter: str) -> None:
    experiment = experiments.find(name)
    with pytest.raises(UserError, match=rf"^{parameter}=1{'0' * 20}: .*[^\n]*$"):
        with_huge(experiment, parameter, 10**20)
    for value in (HUGE, 2**63 - 1):
        if parameter in NO_SIZE | NO_SIZE_IN.get(name, set()):
            load_data(experiment, with_huge(experiment, parameter, value), CPU)
        else:
            with pytest.raises(UserError, match=r"^[^\n]*\d[^\n]*$"):
                load_data(experiment, with_huge(experiment, parameter, value), CPU)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("moe", {"num_experts": 500, "num_train": 500, "restarts": 10_000}),  # activations
        ("moe", {"gate_hidden": 10**7}),
        ("rnn", {"task": "copy", "blank_length": 10**8}),
        ("seq_classification", {"width": 100_000, "encoder": "lstm"}),
        ("rnn_text", {"hidden_size": 100_000}),
    ],
)
def test_what_does_not_fit_says_how_many_bytes_it_takes(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**9)
    experiment = experiments.find(name)
    config = experiment.config_class(**{**experiment.config_class.tiny, **changes})
    with pytest.raises(UserError, match=r"at least [\d,]{13,} bytes .* 1,000,000,000 are "):
        load_data(experiment, config, CPU)


def test_no_run_is_opened_for_what_does_not_fit(store: Path) -> None:
    moe = experiments.find("moe")
    for seeds in (1, 2):
        with pytest.raises(UserError, match=r"gate_hidden=1000000000.* bytes of memory"):
            run_experiment(moe, moe.config_class(gate_hidden=10**9, seeds=seeds))
    client = MlflowClient()
    assert not client.search_runs([each.experiment_id for each in client.search_experiments()])


@pytest.mark.parametrize("name", experiments.names())
def test_the_estimate_is_below_what_a_real_step_takes(name: str) -> None:
    experiment = experiments.find(name)
    config = experiment.config_class(**experiment.config_class.tiny)
    data = experiment.load_data(config)
    splits = [data.validation, data.test]
    in_splits = sum(t.nbytes for part in splits for t in part if isinstance(t, torch.Tensor))
    assert experiment.data_bytes(config) <= 2 * in_splits or name.startswith("rnn")
    seed_everything(0)
    model = experiment.build_model(config, data).train()
    saved: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = next(iter(experiment.training_batches(config, data, 1)))
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        output = experiment.loss(config, model, batch)
    parameters = sum(each.nbytes for each in model.parameters())
    real = 4 * parameters + sum(saved.values())
    assert output.loss.isfinite()
    assert 4 * parameters < training_memory(experiment, config, data).total <= real


def test_an_estimate_written_out() -> None:
    """Two classes of points: 3 experts and a linear gate, 9 weights each, in 2 restarts."""
    moe = experiments.find("moe")
    config = moe.config_class(num_experts=3, restarts=2, num_train=50, batch_size=50)
    data = moe.load_data(config)
    assert moe.data_bytes(config) == 12 * (50 + config.num_validation + config.num_test)
    four_times = 4 * 4 * 2 * (9 + 9)
    outputs = 4 * 2 * 3 * 50  # of the gate alone, for its softmax
    estimate = training_memory(moe, config, data)
    assert four_times + outputs // 2 < estimate.total < four_times + 10 * outputs


def test_a_loss_that_depends_on_values_is_no_obstacle() -> None:
    class Picky(FitALine):
        def loss(self, config: SmallConfig, model: Any, batch: Any) -> StepOutput:
            output = squared_error(model, batch)
            assert output.loss.item() > 0
            return output

    assert load_data(Picky(), SmallConfig(), CPU).name == "line"


def test_available_memory_is_that_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", limit)
    free = available_bytes(torch.device("cpu"))
    assert free > 10**7
    limit.write_text("max\n")
    assert available_bytes(torch.device("cpu")) > 10**7
    limit.write_text("4096\n")
    assert available_bytes(torch.device("cpu")) == 4096


@pytest.mark.parametrize(("seed", "seeds"), itertools.product([2**32 - 1], [2, 3]))
def test_seeds_that_are_none_are_refused_at_once(seed: int, seeds: int) -> None:
    with pytest.raises(UserError, match=f"seeds={seeds}: seeds from 4294967295 upwards exceed"):
        SmallConfig(seed=seed, seeds=seeds)
    assert SmallConfig(seed=seed - seeds + 1, seeds=seeds).seeds == seeds
    for name in experiments.names():
        config_class = experiments.find(name).config_class
        if "seeds_of_each" in config_class.__dataclass_fields__:
            with pytest.raises(UserError, match="seeds_of_each"):
                config_class(seed=seed, seeds_of_each=seeds)


ALLOCATORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18.13 GB)."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ALLOCATORS)
def test_where_memory_runs_out_half_the_batch_is_suggested(error: Exception) -> None:
    for batch_size, hint in ((5, "; batch_size=2 may fit"), (1, "; take a smaller model")):
        with (
            pytest.raises(NotEnoughMemoryError, match=f"^batch_size={batch_size}: .*{hint}"),
            suggesting_batch_size(SmallConfig(batch_size=batch_size), CPU),
        ):
            raise error


def test_other_errors_stay_what_they_are() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as caught, suggesting_batch_size(SmallConfig(), CPU):
        raise error
    assert caught.value is error


class Greedy(FitALine):
    """A line that is fitted until an epoch in which memory runs out."""

    def __init__(self, last_epoch: int):
        self.last_epoch = last_epoch

    def clip_gradients(self, model: Any, max_norm: float) -> None:
        self.num_steps = getattr(self, "num_steps", 0) + 1
        if self.num_steps > 3 * (self.last_epoch - 1):  # 10 points in batches of 4
            raise ALLOCATORS[0]


@pytest.mark.parametrize("epoch", [1, 3])
def test_it_ends_a_run_in_one_line(
    epoch: int, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first epoch nothing is lost; what was computed before is kept."""
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run_experiment(Greedy(epoch), SmallConfig(gradient_clip_norm=1.0)))
    assert ended.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"error: batch_size=4: the memory of .* batch_size=2 may fit", line)
    place = mlflow.get_experiment_by_name("small").experiment_id
    runs = MlflowClient().search_runs([place])
    assert [run.info.status for run in runs] == ([] if epoch == 1 else ["FAILED"])
    assert all(run.data.metrics["val/loss"] > 0 for run in runs)


def test_seeds_that_have_finished_are_kept(store: Path) -> None:
    """Memory runs out in the first step of the second of two seeds, of two epochs each."""
    config = SmallConfig(gradient_clip_norm=1.0, num_epochs=2, seeds=2, workers=1)
    with pytest.raises(NotEnoughMemoryError):
        run_experiment(Greedy(3), config)
    place = mlflow.get_experiment_by_name("small").experiment_id
    runs = MlflowClient().search_runs([place])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]
    (parent,) = (run for run in runs if run.info.status == "FAILED")
    assert parent.data.tags["failure"].startswith("NotEnoughMemoryError: batch_size=4")
    assert "mlflow.parentRunId" not in parent.data.tags


def test_a_worker_says_it_in_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(report: Any) -> None:
        with suggesting_batch_size(SmallConfig(), CPU):
            raise ALLOCATORS[0]

    monkeypatch.setattr(messages, "_is_worker", True)
    outcome = attempt(run, lambda epoch, metrics: None)
    assert isinstance(outcome, Failed)
    assert outcome.kind == "expected"  # of a study, the trial alone fails
    with pytest.raises(NotEnoughMemoryError, match=r"^batch_size=4: .* batch_size=2 may fit$"):
        result_of(outcome, "seed 0")


def test_the_batch_that_fits_is_suggested_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 bytes in all, 400 are taken anyway, and each of 30 samples saves 40."""
    needed = TrainingMemory(fixed=400, activations=600, batch_size=30)
    assert needed.batch_size_within(1_000) == 15
    assert needed.batch_size_within(400) == needed.batch_size_within(0) == 0
    moe = experiments.find("moe")
    config = moe.config_class(num_experts=50, num_train=5_000, batch_size=5_000)
    data = moe.load_data(config)
    takes = training_memory(moe, config, data)
    monkeypatch.setattr(memory, "available_bytes", lambda device: takes.total - 1)
    with pytest.raises(NotEnoughMemoryError, match=r"; batch_size=24\d\d may fit$"):
        load_data(moe, config, CPU)


def test_a_gpu_holds_the_data_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, config = FitALine(), SmallConfig()
    data = experiment.load_data(config)
    takes = training_memory(experiment, config, data).total
    in_splits = 2 * 10 * (4 + 4)  # ten points each, x and y in float32
    monkeypatch.setattr(memory, "available_bytes", lambda device: takes + in_splits - 1)
    load_data(experiment, config, CPU)
    gpu = Hardware(torch.device("cuda"), "fp32")
    with pytest.raises(NotEnoughMemoryError, match=f"at least {takes + in_splits} bytes"):
        load_data(experiment, config, gpu)

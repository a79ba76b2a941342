"""A GPU of Apple's, as far as it can be tried without one: what is chosen, and what is left out."""

import copy
import functools
import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import experiments
from harness.errors import UserError
from harness.training import checkpoint
from harness.training.device import Hardware
from harness.training.metrics import MetricAverager, wide_dtype
from tests.fake_gpu import tiny_steps
from tests.harness.small import SmallConfig


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch say that there is one, which has memory, and no other GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *size, **options: None)


@pytest.mark.parametrize(
    ("gpus", "chosen"),
    [({"cuda", "mps"}, "cuda"), ({"mps"}, "mps"), ({"cuda"}, "cuda"), (set(), "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    gpus: set[str], chosen: str, mps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in gpus)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in gpus)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    assert Hardware.choose(SmallConfig()).device.type == chosen
    known: tuple[Literal["cuda", "mps"], ...] = "cuda", "mps"
    for name in (each for each in known if each not in gpus):
        with pytest.raises(UserError, match=f"^device={name}: not on this machine; allowed are"):
            Hardware.choose(SmallConfig(device=name))


def test_one_without_memory_is_not_taken(mps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU of a virtual machine says that it is there."""

    def refuse(*size: int, device: str) -> Tensor:
        raise RuntimeError(f"{device.upper()} backend out of memory")

    monkeypatch.setattr(torch, "empty", refuse)
    assert Hardware.choose(SmallConfig()).device.type == "cpu"


def test_it_computes_in_fp32(mps: None) -> None:
    hardware = Hardware.choose(SmallConfig())
    assert (hardware.device.type, hardware.precision) == ("mps", "fp32")
    with hardware.autocast():
        assert not torch.is_autocast_enabled("mps")
    with pytest.raises(
        UserError, match=r"^precision=bf16: .*this is MPS, where auto and fp32 are allowed$"
    ):
        Hardware.choose(SmallConfig(precision="bf16"))


def test_images_keep_the_order_of_their_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "to", to_a_device_or_a_layout := MovesRecorded())
    for device in ("cpu", "mps"):
        Hardware(torch.device(device), "fp32").prepare(nn.Conv2d(3, 4, 3))
    cpu, mps = torch.device("cpu"), torch.device("mps")
    assert to_a_device_or_a_layout.moves == [cpu, torch.channels_last, mps]


class MovesRecorded:
    """Stands for `Module.to`, and keeps what it is given."""

    def __init__(self) -> None:
        self.moves: list[Any] = []

    def __call__(self, device: Any = None, memory_format: Any = None) -> None:
        self.moves.append(device or memory_format)


def test_a_checkpoint_holds_its_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    state, restored = torch.tensor([1, 2], dtype=torch.uint8), list[Tensor]()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state)
    monkeypatch.setattr(torch.mps, "set_rng_state", restored.append)
    saved = checkpoint.random_state()
    checkpoint.set_random_state(saved)
    assert restored == [state]
    del saved["mps"]  # a checkpoint of before
    checkpoint.set_random_state(saved)
    assert len(restored) == 1


class NoDoubles(TorchDispatchMode):
    """Raises where an operation returns float64, which such a GPU does not have."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(part, Tensor) and part.dtype == torch.float64 for part in parts):
            raise TypeError(f"{func} in float64")
        return result


@pytest.mark.parametrize("name", experiments.names())
def test_nothing_in_a_training_step_needs_float64(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_float32 = copy.copy((lambda device: torch.float32).__code__)
    monkeypatch.setattr(wide_dtype, "__code__", in_float32)  # wherever it was imported
    experiment = experiments.find(name)
    config = experiment.config_class(**experiment.config_class.tiny)
    data = experiment.load_data(config)
    for split in (data.train, data.validation):
        parts = split if isinstance(split, tuple) else ()  # or samples that are generated there
        assert not any(isinstance(p, Tensor) and p.dtype == torch.float64 for p in parts)
    model = experiment.build_model(config, data)
    optimizer, averager = experiment.optimizer(config, model), MetricAverager()
    with NoDoubles():
        batch = next(iter(experiment.training_batches(config, data, epoch=1)))
        output = experiment.loss(config, model.train(), batch)
        output.loss.backward()
        experiment.clip_gradients(model, 1.0)
        optimizer.step()
        averager.add(output)
        batch = next(iter(experiment.validation_batches(config, data)))
        averager.add(experiment.loss(config, model.eval(), batch))
    assert averager.num_samples


NVIDIA = {"cudnn_batch_norm", "cudnn_batch_norm_backward"}
"""What batch norm is on a GPU of NVIDIA's; on one of Apple's it is `native_batch_norm`."""
FALLBACKS: set[str] = set()
"""What is computed on the CPU; docs/python.md says so."""


@functools.cache
def backends() -> dict[str, set[str]]:
    """Return for each operation what has a kernel of it, of torch's own table."""
    packages = Path(torch.__file__).parents[1]
    table = packages / "torchgen/packaged/ATen/native/native_functions.yaml"
    found, delegates = {}, {}
    for entry in table.read_text().split("\n- func: ")[1:]:
        name, _, rest = entry.partition("(")
        found[name] = set(", ".join(re.findall(r"(?m)^    ([\w, ]+):", rest)).split(", ")) - {""}
        delegates[name] = re.findall(r"structured_delegate: (\S+)", rest)
    for name, others in delegates.items():
        found[name] = found[name].union(*(found[each] for each in others))
    return found


@pytest.mark.parametrize("name", experiments.names())
def test_what_has_no_kernel_there_is_named(name: str) -> None:
    """What has no kernel at all is made of other operations."""
    steps, lacking = tiny_steps(name), set()
    for operation in steps.training.operations | steps.validation.operations:
        kernels = backends()[operation]
        if kernels and "MPS" not in kernels and "Composite" not in " ".join(kernels):
            lacking.add(operation)
    assert lacking - NVIDIA <= FALLBACKS
    assert {"MPS"} <= backends()["_lstm_mps"] & backends()["native_batch_norm"]
    assert "MPS" not in backends()["linalg_eig"], "the table tells what falls back"

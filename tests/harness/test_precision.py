"""Which layers compute in which arithmetic: the rule as a table, and what the layers really do."""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import mlflow
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import experiments
from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import CatsAndDogs
from harness.command_line import run_command
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.batches import to_device
from harness.training.device import Hardware, seed_everything
from harness.training.metrics import model_cost
from harness.training.muon import Muon, orthogonal
from harness.training.precision import (
    Arithmetic,
    Asked,
    Layers,
    allow_tf32,
    arithmetic,
    keep_out_of_autocast,
    without_tf32,
)
from harness.training.train import train
from models.choices import CELLS
from models.sequence_encoders import ENCODER_CONSTRUCTORS, EncoderOptions
from tests.fake_gpu import GPU, Watch, fake_gpu
from tests.harness.small import FitALine, SmallConfig

LAYERS: tuple[Layers, ...] = ("other", "recurrent")
VOLTA, TURING, AMPERE, HOPPER = (7, 0), (7, 5), (8, 0), (9, 0)
REFUSED = None
TABLE: list[tuple[str, tuple[int, int] | None, Asked, Arithmetic | None, Arithmetic | None]] = [
    # device, compute capability, asked for: other layers, recurrent layers
    *(("cuda", old, "auto", "fp32", "fp32") for old in (VOLTA, TURING)),
    *(("cuda", old, "bf16", REFUSED, REFUSED) for old in (VOLTA, TURING)),
    *(("cuda", new, "auto", "bf16", "tf32") for new in (AMPERE, HOPPER)),
    *(("cuda", new, "bf16", "bf16", "tf32") for new in (AMPERE, HOPPER)),
    *(("cuda", each, "fp32", "fp32", "fp32") for each in (VOLTA, TURING, AMPERE, HOPPER)),
    ("mps", None, "auto", "fp32", "fp32"),
    ("mps", None, "fp32", "fp32", "fp32"),
    ("mps", None, "bf16", REFUSED, REFUSED),
    ("cpu", None, "auto", "fp32", "fp32"),
    ("cpu", None, "fp32", "fp32", "fp32"),
    ("cpu", None, "bf16", "bf16", "fp32"),  # also without them: the same numbers, slowly
]


@pytest.mark.parametrize(("device", "capability", "asked", "other", "recurrent"), TABLE)
def test_the_rule(
    device: str,
    capability: tuple[int, int] | None,
    asked: Asked,
    other: Arithmetic | None,
    recurrent: Arithmetic | None,
) -> None:
    expected: Mapping[Layers, Arithmetic | None] = {"other": other, "recurrent": recurrent}
    for layers, answer in expected.items():
        if answer is REFUSED:
            with pytest.raises(UserError, match=r"^precision=bf16: .* 8\.0 or higher; this is"):
                arithmetic(asked, device, capability, layers)
        else:
            assert arithmetic(asked, device, capability, layers) == answer


@pytest.mark.parametrize(
    ("capability", "precision", "tf32"),
    [(TURING, "fp32", "highest"), (AMPERE, "bf16", "high"), (HOPPER, "bf16", "high")],
)
def test_the_hardware_is_as_the_rule_says(
    capability: tuple[int, int], precision: str, tf32: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    assert Hardware.choose(SmallConfig(device="cuda")).precision == precision
    assert torch.get_float32_matmul_precision() == tf32
    assert torch.backends.cudnn.allow_tf32 == (tf32 == "high")
    Hardware.choose(SmallConfig(device="cpu"))  # what an earlier run has set does not remain
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("asked", "other"), [("auto", "bf16"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_the_rule_where_a_cpu_would_be_faster_in_bf16(asked: Asked, other: Arithmetic) -> None:
    answers = [arithmetic(asked, "cpu", None, layers, cpu_gains=True) for layers in LAYERS]
    assert answers == [other, "fp32"]
    assert arithmetic("auto", "mps", None, "other", cpu_gains=True) == "fp32"
    assert arithmetic("auto", "cuda", TURING, "other", cpu_gains=True) == "fp32"


@pytest.mark.parametrize(
    ("capabilities", "has_units"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, True),
        ({"architecture": "x86_64", "amx_bf16": True, "amx_tile": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, False),
    ],
)
def test_auto_is_bf16_for_photographs_alone_where_a_cpu_has_units_for_it(
    capabilities: dict[str, Any], has_units: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    found = {}
    for name in experiments.names():
        config_class = experiments.find(name).config_class
        hardware = Hardware.choose(config_class(**config_class.tiny).replace(device="cpu"))
        found[name] = hardware.precision
        assert torch.get_float32_matmul_precision() == "highest"
    assert found == dict.fromkeys(found, "fp32") | {"cnn": "bf16" if has_units else "fp32"}
    tuned = CNNConfig(architecture="pretrained", frozen=False, device="cpu")
    assert Hardware.choose(tuned).precision == "fp32"  # slower in bf16


def test_the_network_of_photographs_computes_about_the_same_in_bf16_on_a_cpu() -> None:
    """Logits to 2 % of their size, and a gradient that points where that of fp32 does."""
    experiment, config = CatsAndDogs(), CNNConfig(device="cpu", dropout_rate=0.0)
    images, targets = torch.rand(8, 3, 64, 64), torch.eye(2)[torch.arange(8) % 2]
    logits, gradients = [], []
    for precision in ("fp32", "bf16"):
        hardware = Hardware.choose(config.replace(precision=precision))
        seed_everything(0)
        model = hardware.prepare(experiment.network(config, 2))
        with hardware.autocast():
            logits.append(model(images).float())
            experiment.loss(config, model, (images, targets)).loss.backward()
        found = [p.grad for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat([each.flatten() for each in found]))
    assert 0 < (logits[1] - logits[0]).norm() < 0.02 * logits[0].norm()
    assert F.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.995
    assert gradients[1].dtype == torch.float32


FUSED_CELLS = ("rnn", "lstm", "gru")
OPTIONS = EncoderOptions(4, 8, 2, 0.1, "default", horizon=5, max_length=9)
PARTS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 8),
    "convolution": lambda: nn.Conv1d(5, 8, 3),
    **{name: functools.partial(build, OPTIONS) for name, build in ENCODER_CONSTRUCTORS.items()},
}


def test_bf16_is_refused_before_a_run_is_opened(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: TURING)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: run_experiment(FitALine(), SmallConfig(precision="bf16")))
    assert ended.value.code == 2
    message = (
        "error: precision=bf16: needs a CPU, or a CUDA GPU of compute capability 8.0 or higher; "
        "this is 7.5, where auto and fp32 are allowed\n"
    )
    assert capsys.readouterr().err == message
    assert mlflow.get_experiment_by_name("small") is None


@functools.cache
def products_of_parts(hardware: Hardware, tf32: bool) -> dict[str, set[str]]:
    """Return the arithmetics in which each part multiplies, forward and backward."""
    found, device = {}, hardware.device
    with fake_gpu():
        for name, build in PARTS.items():
            with Watch() as watch:
                model = hardware.prepare(build())
                inputs = torch.randn(3, 5, 4, device=device)
                lengths = torch.full((3,), 5, device=device)
                arguments = (inputs, lengths) if name in ENCODER_CONSTRUCTORS else (inputs,)
                with hardware.autocast():
                    outputs = model(*arguments)
                if outputs.requires_grad:  # random convolutions are not trained
                    outputs.float().square().mean().backward()
            found[name] = watch.products
            if name in CELLS:  # of those that are scanned, the products alone are not in fp32
                assert outputs.dtype == torch.float32
            assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
        with Watch() as watch:
            weights = nn.Parameter(torch.randn(4, 8, device=device))
            weights.grad = torch.randn(4, 8, device=device)
            Muon([{"params": [weights], "weight_decay": 0.0}], lr=0.1).step()
        found["muon"] = watch.products
    return found


@pytest.mark.parametrize(
    ("device", "capability", "asked", "other", "recurrent"),
    [row for row in TABLE if row[0] != "mps" and row[3] is not REFUSED],
)
def test_parts_compute_as_the_rule_says(
    device: Literal["cuda", "cpu"],
    capability: tuple[int, int] | None,
    asked: Asked,
    other: Arithmetic,
    recurrent: Arithmetic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Muon in fp32, which keeps its steps; and nothing in fp16, which would have to be scaled."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        patch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        hardware = Hardware.choose(SmallConfig(device=device, precision=asked))
    if device == "cuda":
        hardware = dataclasses.replace(hardware, device=GPU)
    found = products_of_parts(hardware, torch.get_float32_matmul_precision() == "high")
    expected = {name: {other} for name in PARTS} | {name: {recurrent} for name in FUSED_CELLS}
    # What S6 reads of its complex states stays in their precision, which autocast does not change.
    expected["s6"] = {other, recurrent}
    assert found == {**expected, "muon": {"fp32"}}
    Hardware.choose(SmallConfig(device="cpu"))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_autocast_leaves_recurrent_layers_alone(kind: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), kind(4, 6, num_layers=2, batch_first=True))
    x = torch.randn(3, 5, 4)
    keep_out_of_autocast(model)
    twin = copy.deepcopy(model)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        inputs = model[0](x)
        hidden, state = model[1](inputs)
        again, _ = model[1](inputs, state)
    assert inputs.dtype == torch.bfloat16
    with torch.no_grad():
        expected, expected_state = kind.forward(model[1], inputs.float())
        torch.testing.assert_close(hidden, expected, rtol=0, atol=0)
        after, _ = kind.forward(model[1], inputs.float(), expected_state)
        torch.testing.assert_close(again, after, rtol=0, atol=0)
        for parameter in twin.parameters():
            nn.init.zeros_(parameter)
        assert not twin[1](x)[0].any(), "a copy has weights of its own"


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_operations_are_those_of_fp32(kind: Any) -> None:
    """They are counted on the meta device, which has no autocast."""
    model, example = kind(4, 6, num_layers=2, batch_first=True).eval(), torch.zeros(3, 5, 4)
    expected = model_cost(model, example)
    keep_out_of_autocast(model)
    assert model_cost(model, example) == expected
    assert expected["flops_per_sample"] > 0


def test_tf32_is_left_as_it_was() -> None:
    allow_tf32(True)
    with without_tf32():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"
    allow_tf32(False)


@pytest.mark.gpu
def test_a_gpu_computes_in_bf16_where_it_has_units_for_it() -> None:
    has_units = torch.cuda.is_bf16_supported(including_emulation=False)
    assert (Hardware.choose(SmallConfig(device="cuda")).precision == "bf16") == has_units


class RecurrentKernels(TorchDispatchMode):
    """Notes the types of all floating-point tensors that recurrent kernels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func)
        if "rnn" in name and "flatten" not in name:
            self.names.add(name)
            flat = [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]
            self.dtypes |= {
                t.dtype for t in flat if isinstance(t, Tensor) and t.is_floating_point()
            }
        return func(*args, **(kwargs or {}))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_kernels_of_a_gpu_are_given_fp32(kind: Any) -> None:
    hardware = Hardware.choose(SmallConfig(device="cuda"))
    model = hardware.prepare(nn.Sequential(nn.Linear(4, 8), kind(8, 16, batch_first=True)))
    with RecurrentKernels() as kernels:
        with hardware.autocast():
            hidden, _ = model(torch.randn(3, 5, 4, device="cuda"))
        hidden.square().mean().backward()
    assert kernels.names
    assert kernels.dtypes == {torch.float32}
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.any()


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(64, 64), (32, 288), (1024, 384)])
def test_an_update_of_muon_is_accurate_where_tf32_is_allowed(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix *= torch.logspace(0, -1, shape[1], dtype=torch.float64)
    allow_tf32(True)
    try:
        (update,) = orthogonal([matrix.float().cuda()])
    finally:
        allow_tf32(False)
    torch.testing.assert_close(update.double().cpu(), *orthogonal([matrix]), rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", experiments.names())
def test_the_loss_of_a_gpu_is_that_of_the_cpu(name: str) -> None:
    """Of the same weights, before any training, in fp32."""
    experiment = experiments.find(name)
    losses = {}
    for device in ("cpu", "cuda"):
        config_class = experiment.config_class
        config = config_class(**config_class.tiny).replace(device=device, precision="fp32")
        hardware, data = Hardware.choose(config), experiment.load_data(config)
        seed_everything(0)
        model = hardware.prepare(experiment.build_model(config, data)).eval()
        there = dataclasses.replace(data, validation=to_device(data.validation, hardware.device))
        with torch.no_grad():
            batch = next(iter(experiment.validation_batches(config, there)))
            metrics = experiment.loss(config, model, batch).metrics
        losses[device] = metrics["loss"].double().cpu()
    torch.testing.assert_close(losses["cuda"], losses["cpu"], rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("name", experiments.names())
def test_a_tiny_run_on_a_gpu_ends_where_one_on_the_cpu_does(name: str, precision: Asked) -> None:
    """Generated samples and augmentations are other ones there, so only about."""
    experiment = experiments.find(name)
    config = experiment.config_class(**experiment.config_class.tiny)
    on_cpu = train(experiment, config.replace(device="cpu")).history.best["val/loss"]
    on_gpu = train(experiment, config.replace(device="cuda", precision=precision))
    assert on_gpu.history.best["val/loss"] == pytest.approx(on_cpu, rel=0.15, abs=0.02)
    assert all(p.device.type == "cpu" for p in on_gpu.model.parameters())

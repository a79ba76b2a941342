"""A GPU that is not there: tensors on it have shapes and dtypes, and no values.

What is on the CPU is real, so that random numbers, counters and schedules of the host work as they
do beside a GPU. Where the host would have to wait for a value of the GPU, an error is raised.
"""

import contextlib
import dataclasses
import functools
import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm.auto import tqdm

import experiments
from datasets import augmentation, generated
from harness.experiment import AnyExperiment
from harness.training import loop
from harness.training.averaging import MovingAverage
from harness.training.batches import to_device
from harness.training.device import Hardware
from harness.training.history import History
from harness.training.memory import recurrent_shapes
from harness.training.metrics import MetricAverager
from harness.training.schedules import Schedule

GPU = torch.device("cuda:0")
SPLITS = "train", "validation"
COPIES = {"aten::_to_copy", "aten::copy_"}
PRODUCTS = {
    *("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::convolution"),
    "aten::mkldnn_rnn_layer",  # of the CPU
}
ARITHMETIC = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
FEW = 4
"""So many numbers are the host's own: draws that a batch is mixed by, a counter of steps."""


class SynchronisationError(AssertionError):
    """The host would wait for the GPU."""


class Watch(TorchDispatchMode):
    """Computes what is on the CPU, and notes what a GPU would be given."""

    def __init__(self) -> None:
        super().__init__()
        self.copies = Counter[tuple[torch.dtype, tuple[int, ...]]]()
        """Tensors that are copied from the host: dtype and shape."""
        self.on_host = set[str]()
        """Operations on the CPU that return more than a few numbers."""
        self.given_by_host = set[str]()
        """Operations of the GPU that are given a number that is a tensor of the CPU."""
        self.products = set[str]()
        """Arithmetics of matrix products and convolutions: fp32, tf32, bf16, fp16 or fp64."""
        self.operations = set[str]()
        """Names and overloads of what the GPU computes, as torch's own table has them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func.namespace == "aten":
            with self:  # operations arrive there before they are taken apart
                if (result := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        name, place = func._schema.name, kwargs.get("device")
        given = tensors_of((args, kwargs))
        devices = {each.device.type for each in given} | ({place.type} if place else set())
        if name in PRODUCTS:
            self.products |= {arithmetic_of(each.dtype) for each in given}
        if "cuda" not in devices:
            with unset_fake_temporarily():
                result = func(*args, **kwargs)
            if any(each.numel() > FEW for each in tensors_of(result)):
                self.on_host.add(name)
            return result
        if func.namespace == "aten":  # others ask for a device or a layout
            self.operations.add(str(func).removeprefix("aten.").removesuffix(".default"))
        if name.startswith("aten::index") and any(each.dtype == torch.bool for each in given[1:]):
            raise SynchronisationError(f"{name}: the host asks how many are true")
        if "cpu" in devices:
            self._note_transfer(name, given, place or args[0].device)
        if name == "aten::_fused_sgd_":  # it returns nothing, and torch has no fake of it
            return None
        return func(*args, **kwargs)

    def _note_transfer(self, name: str, given: list[Tensor], to: torch.device) -> None:
        if name not in COPIES:
            self.given_by_host.add(name)
        elif to.type == "cpu":
            raise SynchronisationError(f"{name}: to the host")
        else:
            self.copies[given[-1].dtype, tuple(given[-1].shape)] += 1


def tensors_of(tree: Any) -> list[Tensor]:
    """Return the tensors among what an operation is given, or returns."""
    return [each for each in pytree.tree_leaves(tree) if isinstance(each, Tensor)]


def arithmetic_of(dtype: torch.dtype) -> str:
    """Return in which arithmetic a GPU of compute capability 8.0 or higher multiplies."""
    tf32 = torch.get_float32_matmul_precision() != "highest"
    return ARITHMETIC.get(dtype, "tf32" if tf32 else "fp32")


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """Let torch compute on `GPU`, within a `Watch`."""
    # The engine of autograd counts the devices once: without the fake one.
    torch.zeros((), requires_grad=True).backward()
    augmentation.luminance_on.cache_clear()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # to copy it
        # These ask a driver.
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        patch.setattr(Tensor, "backward", backward)
        patch.setattr(nn.Module, "_apply", apply)
        for layers in (nn.RNN, nn.LSTM, nn.GRU):
            patch.setattr(layers, "forward", recurrent_kernel)
        patch.setattr(nn.functional, "scaled_dot_product_attention", attention_kernel)
        patch.setattr(generated, "Generator", GeneratorOfGPU)
        # Read once in many steps: what it reads is a value.
        patch.setattr(loop, "check_losses", lambda unchecked, epoch: unchecked.clear())
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    augmentation.luminance_on.cache_clear()


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """Do what the engine of autograd does, which asks the driver for streams."""
    root: Any = loss.grad_fn
    nodes, waiting = [root], Counter[Any]()
    for node in nodes:  # which grow on the way
        for after, _ in node.next_functions:
            if after is not None:
                nodes += [] if after in waiting else [after]
                waiting[after] += 1
    gradients: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    gradients[root][0], ready = torch.ones_like(loss), [root]
    while ready:
        node = ready.pop()
        given = gradients.pop(node, {})
        compute = getattr(node, "apply", node)  # of a function written in Python; of torch's own
        results = (
            compute(*(given.get(i) for i in range(len(node._input_metadata)))) if given else ()
        )
        results = results if isinstance(results, tuple) else (results,)
        for (after, number), result in itertools.zip_longest(node.next_functions, results):
            if after is None:
                continue
            if result is not None:
                like, sums = after._input_metadata[number], gradients[after]
                result = result.sum_to_size(like.shape).to(like.dtype)
                sums[number] = sums[number] + result if number in sums else result
            waiting[after] -= 1
            ready += [] if waiting[after] else [after]


def apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """Do what `nn.Module._apply` does, which exchanges tensors in place: fake ones cannot be."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                converted = function(parameter.detach())
                setattr(part, name, nn.Parameter(converted, parameter.requires_grad))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else function(buffer)
    return module


def recurrent_kernel(layers: nn.RNNBase, inputs: Tensor, state: Any = None) -> Any:
    """Stand for cuDNN's recurrent layers, which compute in fp16 wherever there is autocast."""
    if torch.is_autocast_enabled("cuda"):
        with torch.autocast("cuda", dtype=torch.float16):
            return recurrent_shapes(layers, inputs, state)
    return recurrent_shapes(layers, inputs, state)


def attention_kernel(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
    """Stand for the kernels of attention, of which the driver chooses one."""
    return query @ key.mT @ value


class GeneratorOfGPU(torch.Generator):
    """A generator of random numbers that says that it is on a device."""

    place: torch.device

    def __new__(cls, device: torch.device | str = "cpu") -> "GeneratorOfGPU":
        generator = super().__new__(cls)
        generator.place = torch.device(device)
        return generator

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch's cannot be set either
        """What it says."""
        return self.place


class Steps(NamedTuple):
    """What some steps of training and of validation have left."""

    progress: loop.Progress
    trained: MetricAverager
    validated: MetricAverager
    num_rows: int
    """Of the training split; 0 where it has no rows."""
    training: Watch
    validation: Watch

    def assert_independent_of_the_host(self) -> None:
        """Assert that nothing but what is named here comes from the host."""
        order_of_rows = torch.int64, (self.num_rows,)  # once in a pass over the split
        luminance = torch.float32, (3,)  # the weights of colours in a grey value, once
        assert self.training.copies <= Counter([order_of_rows, luminance])
        assert not self.validation.copies
        assert self.training.on_host | self.validation.on_host <= {"aten::randperm"}  # the order
        # x[:, 0] = 1: the number is an argument of the kernel.
        assert self.training.given_by_host | self.validation.given_by_host <= {"aten::fill_"}


@functools.cache
def tiny_steps(name: str) -> Steps:
    """Return steps of an experiment with its tiny values, in bf16."""
    experiment = experiments.find(name)
    config = experiment.config_class(**experiment.config_class.tiny)
    return run_steps(experiment, config, Hardware(GPU, "bf16"))


def run_steps(
    experiment: AnyExperiment, config: Any, hardware: Hardware, num_steps: int = 2
) -> Steps:
    """Train on so many batches, and validate on as many, on `GPU`, as the loop does."""
    data = experiment.load_data(config)
    has_rows = isinstance(data.train, tuple) and isinstance(data.train[0], Tensor)
    with fake_gpu():
        with Watch():
            model = experiment.build_model(config, data)
            hardware.prepare(model, experiment.compiled_method)
            splits = {s: to_device(getattr(data, s), hardware.device) for s in SPLITS}
            there = dataclasses.replace(data, **splits)
            optimizer = experiment.optimizer(config, model)
            schedule = Schedule(optimizer, config, num_steps)
            progress = loop.Progress(
                experiment, config, hardware, model, optimizer, schedule, History()
            )
            progress.average = MovingAverage(model, 0.9)
        with Watch() as training:
            batches = list(
                itertools.islice(experiment.training_batches(config, there, 1), num_steps)
            )
            trained = loop._train_epoch(progress, batches, tqdm(disable=True))
        with Watch() as validation:
            batches = list(
                itertools.islice(experiment.validation_batches(config, there), num_steps)
            )
            loss = functools.partial(experiment.loss, config)
            validated = loop.evaluate(progress.eval_model, batches, loss, hardware)
    num_rows = len(data.train[0]) if has_rows else 0
    return Steps(progress, trained, validated, num_rows, training, validation)

"""Whether a run fits into memory, estimated before it is allocated; and what to do if not."""

import contextlib
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.experiment import Experiment
from harness.training.config import C, TrainingConfig
from harness.training.device import Hardware

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
TOO_MANY = 2**63
"""Bytes that no tensor can have; torch overflows where it computes a larger size."""


OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"),
)
"""What allocators say whose errors have no type of their own."""


class NotEnoughMemoryError(UserError, MemoryError):
    """A run does not fit into memory; a study goes on without such a trial."""


class TrainingMemory(NamedTuple):
    """Bytes that training takes at least."""

    fixed: int
    """Four times the parameters: weights, best weights, gradients and one moment."""
    activations: int = 0
    """Half of what autograd saves of a batch, which may be in bf16."""
    batch_size: int = 0
    """Samples of that batch."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.fixed + self.activations

    def batch_size_within(self, available: int) -> int:
        """Return how many samples fit if autograd saves them in fp32; 0 if none does."""
        left = max(0, available - self.fixed)
        return left * self.batch_size // (2 * self.activations) if self.activations else 0


def load_data(experiment: Experiment[C], config: C, hardware: Hardware) -> Any:
    """Return what `experiment.load_data(config)` does, if data and training fit into memory.

    Raises:
        NotEnoughMemoryError: they do not.
        UserError: the data cannot be had, or the teacher.

    """
    _require(experiment.data_bytes(config), "the data", config, torch.device("cpu"))
    data = experiment.load_data(config)
    experiment.find_teacher(config, data)
    needed = training_memory(experiment, config, data)
    if hardware.device.type != "cpu":  # which both splits are copied to
        copied = sum(_bytes(split) for split in (data.train, data.validation))
        needed = needed._replace(fixed=needed.fixed + copied)
    _require(needed.total, "training", config, hardware.device, needed)
    return data


def _bytes(split: Any) -> int:
    parts = split if isinstance(split, tuple) else ()  # or it is generated
    return sum(each.nbytes for each in parts if isinstance(each, Tensor))


def training_memory(experiment: Experiment[C], config: C, data: Any) -> TrainingMemory:
    """Return what training takes at least, beside the data.

    The model is built, and the loss computed, on the meta device, where tensors have shapes only.
    """
    saved: dict[int, int] = {}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return tensor

    try:
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            model = experiment.build_model(config, data).to("meta").train()
        for layers in model.modules():
            if isinstance(layers, nn.RNNBase):
                layers.forward = types.MethodType(recurrent_shapes, layers)
        batch = _on_meta(next(iter(experiment.training_batches(config, data, config.num_epochs))))
    except (RuntimeError, TypeError, OverflowError) as error:
        if _is_overflow(error):
            return TrainingMemory(TOO_MANY)
        raise
    try:
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            # Kept: as long as its graph is alive, no storage takes the place of another.
            output = experiment.loss(config, model, batch)  # noqa: F841
    except (RuntimeError, TypeError, OverflowError) as error:
        if _is_overflow(error):
            return TrainingMemory(TOO_MANY)
        # It asks for values, which tensors have none of there: what it saved before is counted.
    parameters = sum(each.nbytes for each in model.parameters())
    for each in model.parameters():  # some are saved as well
        saved.pop(each.untyped_storage()._cdata, None)
    activations = sum(saved.values()) // 2
    return TrainingMemory(4 * parameters, activations, len(batch[0]))


def _is_overflow(error: Exception) -> bool:
    return "overflow" in str(error).lower()


def recurrent_shapes(layers: nn.RNNBase, inputs: Tensor, state: Any = None) -> Any:
    """Return what recurrent layers would, (B, T, H) and the state, without going step by step."""
    weights = layers.all_weights[0][0]
    hidden = inputs.to(weights.dtype) @ weights[: layers.hidden_size].mT
    state = hidden.new_empty(layers.num_layers, len(inputs), layers.hidden_size)
    return hidden, (state, state) if isinstance(layers, nn.LSTM) else state


def _on_meta(batch: Any) -> Any:
    parts = [each.to("meta") if isinstance(each, Tensor) else each for each in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)


def available_bytes(device: torch.device) -> int:
    """Return how many bytes of memory a device has left, for a container within its limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else ""
    return min(free, int(limit)) if limit.isdecimal() else free


def _require(
    needed: int,
    purpose: str,
    config: TrainingConfig,
    device: torch.device,
    training: TrainingMemory | None = None,
) -> None:
    if needed > (available := available_bytes(device)):
        size = training.batch_size_within(available) if training else 0
        hint = f"; batch_size={size} may fit" if size else ""
        raise NotEnoughMemoryError(
            f"{config.as_name()}: {purpose} would take at least {needed:,} bytes of memory, "
            f"and {available:,} are available{hint}"
        )


@contextlib.contextmanager
def suggesting_batch_size(config: TrainingConfig, hardware: Hardware) -> Iterator[None]:
    """Train within: where memory runs out, say in one line what may fit.

    Raises:
        NotEnoughMemoryError: in place of the error of the allocator.

    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        half = config.batch_size // 2
        hint = f"batch_size={half} may fit" if half else "take a smaller model, or device=cpu"
        asked = (
            f"batch_size={config.batch_size}: the memory of the {hardware.name} does not suffice"
        )
        raise NotEnoughMemoryError(f"{asked}; {hint}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is that of an allocator, of whatever device."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words.lower() in text for words in OUT_OF_MEMORY
    )

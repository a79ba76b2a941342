"""Whether a run fits into memory, estimated before any of it is allocated."""

import types
import warnings
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from harness.config import C, TrainingConfig
from harness.errors import UserError
from harness.experiment import Experiment
from harness.training.device import Hardware

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
TOO_MANY = 2**63
"""Bytes that no tensor can have; torch overflows where it computes a larger size."""


class NotEnoughMemoryError(UserError, MemoryError):
    """A run would not fit into memory; a study goes on without such a trial."""


def load_data(experiment: Experiment[C], config: C, hardware: Hardware) -> Any:
    """Return what `experiment.load_data(config)` does, if data and training fit into memory.

    Raises:
        NotEnoughMemoryError: they do not.
        UserError: the data cannot be had.

    """
    _require(experiment.data_bytes(config), "the data", config, torch.device("cpu"))
    data = experiment.load_data(config)
    _require(training_bytes(experiment, config, data), "training", config, hardware.device)
    return data


def training_bytes(experiment: Experiment[C], config: C, data: Any) -> int:
    """Return how many bytes training takes at least, beside the data.

    That is four times the parameters, for weights, best weights, gradients and one moment; and half
    of what autograd saves of a batch, which may be in bf16. The model is built, and the loss
    computed, on the meta device, where tensors have shapes only.
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
            return TOO_MANY
        raise
    try:
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            # Kept: as long as its graph is alive, no storage takes the place of another.
            output = experiment.loss(config, model, batch)  # noqa: F841
    except (RuntimeError, TypeError, OverflowError) as error:
        if _is_overflow(error):
            return TOO_MANY
        # It asks for values, which tensors have none of there: what it saved before is counted.
    parameters = sum(each.nbytes for each in model.parameters())
    return 4 * parameters + max(0, sum(saved.values()) - parameters) // 2


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


def _require(needed: int, purpose: str, config: TrainingConfig, device: torch.device) -> None:
    if needed > (available := available_bytes(device)):
        raise NotEnoughMemoryError(
            f"{config.as_name()}: {purpose} would take at least {needed:,} bytes of memory, "
            f"and {available:,} are available"
        )

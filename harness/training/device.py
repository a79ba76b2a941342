"""Where a run computes, in which precision, and from which seed."""

import contextlib
import ctypes
import os
import platform
import random
import sys
import types
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import nn

from harness.errors import UserError
from harness.training.config import HardwareConfig, TrainingConfig
from harness.training.precision import (
    allow_tf32,
    arithmetic,
    cpu_has_bf16,
    keep_out_of_autocast,
)

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Hardware:
    """The device and the precision of a run."""

    device: torch.device
    precision: Literal["fp32", "bf16"]
    """Of the forward pass, but for recurrent layers: see `harness.training.precision`."""
    compile: bool = False

    @classmethod
    def choose(cls, config: TrainingConfig) -> "Hardware":
        """Resolve `auto`, and prefer the faster matrix products of a GPU.

        Raises:
            UserError: the device is not on this machine, or has no such arithmetic.

        """
        name = _device_name(config.device)
        capability = torch.cuda.get_device_capability() if name == "cuda" else None
        cpu_gains = config.gains_from_bf16() and cpu_has_bf16()
        recurrent, other = (
            arithmetic(config.precision, name, capability, layers, cpu_gains=cpu_gains)
            for layers in ("recurrent", "other")
        )
        allow_tf32(recurrent == "tf32")
        torch.set_num_threads(num_threads(config))
        if name == "cuda":
            torch.backends.cudnn.benchmark = True
        elif name == "cpu":
            keep_freed_memory()
        return cls(torch.device(name), "bf16" if other == "bf16" else "fp32", config.compile)

    @property
    def name(self) -> str:
        """The name of the GPU, or of the processor with its number of threads."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        if self.device.type == "mps":
            return f"{platform.machine()} GPU (MPS)"
        threads = torch.get_num_threads()
        return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"

    @property
    def needs(self) -> dict[str, Any]:
        """What a worker that computes on this needs: see `harness.execution.pools`."""
        return {"threads": torch.get_num_threads(), "on_gpu": self.device.type == "cuda"}

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def prepare(self, model: M, method: str = "forward") -> M:
        """Move the model to the device, in the memory layout that suits its convolutions.

        `method` is what the loss calls, and what is compiled if that was asked for.
        """
        model.to(self.device)
        if self.device.type != "mps" and any(p.dim() == 4 for p in model.parameters()):
            model.to(memory_format=torch.channels_last)
        if self.precision == "bf16":
            keep_out_of_autocast(model)
        if self.compile and method == "forward":
            model.compile()  # a copy of the model, an average of its weights say, stays its own
        elif self.compile:
            # The function of the class: a copy of the model calls it with its own weights.
            function = torch.compile(getattr(type(model), method))
            setattr(model, method, types.MethodType(function, model))
        return model


def num_cores() -> int:
    """Return how many cores this process may use, at most OMP_NUM_THREADS of the environment."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


def num_threads(config: HardwareConfig) -> int:
    """Return how many CPU threads a run computes with, wherever and beside whatever it is started.

    With another number, sums are taken in another order, and the last digits are others.
    """
    return config.threads or min(num_cores(), config.useful_threads() or num_cores())


def _device_name(asked: str) -> str:
    found = {"cuda": torch.cuda.is_available(), "mps": has_mps(), "cpu": True}
    here = [name for name, is_here in found.items() if is_here]
    if asked == "auto":
        return here[0]
    if asked not in here:
        allowed = ", ".join(["auto", *reversed(here)])
        raise UserError(f"device={asked}: not on this machine; allowed are {allowed}")
    return asked


def has_mps() -> bool:
    """Return whether there is a GPU of Apple's that has memory; that of a virtual machine may not.

    On it layers compute in fp32 (`harness.training.precision`), metrics are summed in fp32
    (`harness.training.metrics.wide_dtype`), and images lie in the order of their dimensions.
    """
    if not torch.backends.mps.is_available():
        return False
    try:
        torch.empty(1, device="mps")
    except RuntimeError:
        return False
    return True


def keep_freed_memory() -> None:
    """Let glibc keep the memory of tensors that are gone, for those that come next.

    By default it returns large blocks to the kernel, and each new batch waits for empty pages
    again: a tenth of the time of a convolutional network on a CPU.
    """
    if platform.system() != "Linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    mmap_threshold, trim_threshold = -3, -1  # as malloc.h numbers them
    if set_option is not None and set_option(mmap_threshold, 2**30):
        set_option(trim_threshold, 2**31 - 1)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)

"""Which arithmetic a layer computes in: one rule, for every device."""

import contextlib
import types
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.errors import UserError

Asked = Literal["auto", "fp32", "bf16"]
Arithmetic = Literal["fp32", "tf32", "bf16"]
"""TF32 rounds what a matrix product multiplies to 10 bits; bf16 rounds activations, too, to 7."""
Layers = Literal["recurrent", "other"]
AMPERE = (8, 0)
"""The first compute capability of CUDA with units for bf16 and TF32."""


def arithmetic(
    asked: Asked,
    device_type: str,
    capability: tuple[int, int] | None,
    layers: Layers,
    *,
    cpu_gains: bool = False,
) -> Arithmetic:
    """Return the arithmetic of some layers' forward pass.

    Recurrent layers never run in bf16: under autocast cuDNN runs them in fp16, whose small
    gradients vanish unless they are scaled.

    Args:
        asked: the parameter `precision`.
        device_type: `cpu`, `cuda` or `mps`.
        capability: of a CUDA device, such as (8, 0); None of another.
        layers: their kind.
        cpu_gains: whether a CPU would be faster in bf16; none is without units for it.

    Raises:
        UserError: bf16 on a GPU that has no units for it. CPUs without them emulate it, slowly.

    """
    has_units = capability is not None and capability >= AMPERE
    if asked == "bf16" and device_type != "cpu" and not has_units:
        raise UserError(
            "precision=bf16: needs a CPU, or a CUDA GPU of compute capability "
            f"{_dotted(AMPERE)} or higher; this is {_dotted(capability) if capability else 'MPS'}, "
            "where auto and fp32 are allowed"
        )
    gains = cpu_gains if device_type == "cpu" else has_units
    if asked == "fp32" or (asked == "auto" and not gains):
        return "fp32"
    if layers == "recurrent":
        return "tf32" if has_units else "fp32"
    return "bf16"


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies in bf16: x86 with AVX-512 BF16 or AMX.

    Those of ARM that do, too, have not been measured.
    """
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def allow_tf32(allowed: bool) -> None:
    """Let matrix products, convolutions and recurrent layers of fp32 run in TF32, or not."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Compute matrix products in fp32, whatever is allowed elsewhere."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def keep_out_of_autocast(model: nn.Module) -> None:
    """Have the recurrent layers of a model compute in the precision of their weights."""
    for layers in model.modules():
        if isinstance(layers, nn.RNNBase):
            layers.forward = types.MethodType(_in_own_precision, layers)


def _in_own_precision(layers: nn.RNNBase, inputs: Tensor, state: Any = None) -> Any:
    device_type = inputs.device.type
    # Not the meta device, on which operations are counted.
    has_autocast = torch.amp.is_autocast_available(device_type)
    with torch.autocast(device_type, enabled=False) if has_autocast else contextlib.nullcontext():
        return type(layers).forward(layers, inputs.to(layers.all_weights[0][0].dtype), state)

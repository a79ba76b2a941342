"""The parallel scan: all states of a linear recurrence at once, for real and complex numbers.

Letters: B sequences, T steps, K steps of a chunk, ... the shape of a state.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan as scan_over
from torch.autograd.function import once_differentiable

CHUNK_LENGTH = 32
"""K: so few steps of all chunks are taken one after the other, in memory near the processor."""


def scan(decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
    """Return h[t] = decay[t] h[t-1] + new[t] for all t (Blelloch 1990, section 1.4).

    Consecutive steps are one step of the same form. So chunks of K steps are scanned as single
    steps, which gives the state before each chunk; from there all chunks are computed side by side.
    It takes K log_K(T) operations, on T / K steps at a time.

    Args:
        decay: (B, T, ...), real or complex.
        new: (B, T, ...), as `decay` is.
        initial: h before the first step, (B, ...).

    Returns:
        (B, T, ...).

    """
    # torch.export does not support a number of chunks that depends on T.
    if torch.compiler.is_exporting():
        _, hidden = scan_over(_one_step, initial, (decay, new), dim=1)
        return cast("Tensor", hidden)
    return cast("Tensor", _scan_in_chunks(decay, new, initial))


def _one_step(hidden: Tensor, step: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    decay, new = step
    hidden = torch.addcmul(new, decay, hidden)
    return hidden, hidden.clone()


class _Scan(torch.autograd.Function):
    """The scan, whose gradient is a scan from the last step to the first."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
        hidden = new.new_empty(new.shape)
        _fill(hidden, decay, new, initial)
        ctx.save_for_backward(decay, hidden, initial)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of decay, new and initial.

        That of new[t] is d[t] = gradient[t] + conj(decay[t+1]) d[t+1]; below stands conj(d).
        """
        decay, hidden, initial = ctx.saved_tensors
        gradient = gradient.conj_physical()
        new = hidden.new_empty(hidden.shape)
        new[:, -1] = gradient[:, -1]
        _fill(new[:, :-1], decay[:, 1:], gradient[:, :-1], gradient[:, -1], backwards=True)
        decays = hidden.new_empty(hidden.shape)
        torch.mul(new[:, :1], initial.unsqueeze(1), out=decays[:, :1])
        torch.mul(new[:, 1:], hidden[:, :-1], out=decays[:, 1:])
        before = decay[:, 0] * new[:, 0]
        return decays.conj_physical_(), new.conj_physical_(), before.conj_physical_()


def _fill(
    hidden: Tensor, decay: Tensor, new: Tensor, initial: Tensor, *, backwards: bool = False
) -> None:
    """Write the states into `hidden`, (B, T, ...), from the first step on or from the last."""
    forwards = slice(None, None, -1 if backwards else 1)
    num_steps = hidden.shape[1]
    rest = num_steps % CHUNK_LENGTH if num_steps > 2 * CHUNK_LENGTH else num_steps
    state = initial
    if rest < num_steps:
        # (B, T, ...) -> K times (B, T / K, ...), the first step of every chunk, the second, ...
        whole = slice(rest, None) if backwards else slice(0, num_steps - rest)
        steps = [
            values[:, whole].unflatten(1, (-1, CHUNK_LENGTH)).unbind(2)[forwards]
            for values in (hidden, decay, new)
        ]
        _, (kept, *decays), (total, *news) = steps
        kept, total = kept.clone(), total.clone()
        for a, b in zip(decays, news, strict=True):
            torch.addcmul(b, a, total, out=total)
            kept *= a
        ends = torch.empty_like(total)
        _fill(ends, kept, total, initial, backwards=backwards)
        chunks = (ends[:, 1:], initial[:, None]) if backwards else (initial[:, None], ends[:, :-1])
        before = torch.cat(chunks, dim=1)
        for h, a, b in zip(*steps, strict=True):
            before = torch.addcmul(b, a, before, out=h)
        state = ends[:, 0 if backwards else -1]
    last = slice(0, rest) if backwards else slice(num_steps - rest, None)
    steps = [values[:, last].unbind(1)[forwards] for values in (hidden, decay, new)]
    for h, a, b in zip(*steps, strict=True):
        state = torch.addcmul(b, a, state, out=h)


# It writes into views, which would divide a compiled model again and again.
_scan_in_chunks = torch.compiler.disable(_Scan.apply)

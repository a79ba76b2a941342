"""Muon, an optimiser that steps equally far along all directions; torch's takes no kernels."""

from typing import Any

import torch
from torch import Tensor

from harness.training.precision import without_tf32

MOMENTUM, STEPS = 0.95, 5
SIZE_OF_UPDATE = 0.2
"""Root mean square of an update, in learning rates: about what AdamW's have (Liu et al. 2025)."""


class Muon(torch.optim.AdamW):
    """Momentum, made orthogonal, for matrices and kernels; AdamW for vectors (Jordan et al. 2024).

    A gradient mostly points along few directions, and a step along it learns little of the others.
    Muon steps equally far along all. Its updates have the size of AdamW's, whose learning rates
    and weight decays fit it, too. Of a kernel (O, I, H, W), each of the O filters counts as one
    row of a matrix.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float):
        super().__init__(groups, lr=lr, fused=True)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move on by one step."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.dim() > 1 and weights.grad is not None:
                    update = self._update(weights)
                    weights.mul_(1 - group["lr"] * group["weight_decay"])
                    weights.add_(update, alpha=-group["lr"])
                    weights.grad = None  # used up: AdamW, who comes next, leaves these alone
        super().step()

    def _update(self, weights: Tensor) -> Tensor:
        """Return the direction and size of a step, shaped as the weights."""
        gradient, state = weights.grad, self.state[weights]
        assert gradient is not None
        if not state:  # named as AdamW names its own, because it looks at them when they are loaded
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(gradient)}
        momentum = state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)  # as Nesterov looks ahead
        direction = orthogonal(ahead.flatten(1))
        return direction.view_as(weights).mul_(SIZE_OF_UPDATE * max(direction.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors, and singular values of about 1.

    A polynomial of odd powers, applied five times, brings each singular value above 1/500 of the
    Frobenius norm to between 0.68 and 1.21, without a decomposition (Newton-Schulz; coefficients
    of Jordan et al. 2024). It is worked out for the small square of the matrix, which takes the
    same polynomials, and the product of them all is applied to the matrix once. The square has the
    squares of the singular values, for which TF32 has too few bits.

    Args:
        matrix: (M, N), float32, as is what is returned.

    """
    with without_tf32():
        return _newton_schulz(matrix)


def _newton_schulz(matrix: Tensor) -> Tensor:
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    square = wide @ wide.T
    identity = torch.eye(len(square), dtype=square.dtype, device=square.device)
    product = identity
    for _ in range(STEPS):
        factor = 3.4445 * identity - 4.7750 * square + 2.0315 * square @ square
        product = factor @ product
        square = factor @ square @ factor
    result: Tensor = product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T

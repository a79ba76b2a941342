"""Muon, an optimiser that steps equally far along all directions; torch's takes no kernels."""

from collections import defaultdict
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
            weights = [p for p in group["params"] if p.dim() > 1 and p.grad is not None]
            if weights:
                self._move(weights, group["lr"], group["weight_decay"])
        super().step()

    def _move(self, weights: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        """Move matrices and kernels; AdamW, who comes next, finds no gradients of them."""
        gradients = [each.grad for each in weights if each.grad is not None]
        momenta = [self._momentum(each) for each in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # as Nesterov looks ahead
        directions = orthogonal([each.flatten(1) for each in ahead])
        sizes = [SIZE_OF_UPDATE * max(each.shape) ** 0.5 for each in directions]
        updates = torch._foreach_mul(directions, sizes)
        torch._foreach_mul_(weights, 1 - learning_rate * weight_decay)
        moves = [move.view_as(each) for move, each in zip(updates, weights, strict=True)]
        torch._foreach_add_(weights, moves, alpha=-learning_rate)
        for each in weights:
            each.grad = None

    def _momentum(self, weights: Tensor) -> Tensor:
        state = self.state[weights]
        if not state:  # named as AdamW names its own, because it looks at them when they are loaded
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(weights)}
        momentum: Tensor = state["exp_avg"]
        return momentum


def orthogonal(matrices: list[Tensor]) -> list[Tensor]:
    """Return matrices with the same singular vectors, and singular values of about 1.

    A polynomial of odd powers, applied five times, brings each singular value above 1/500 of the
    Frobenius norm to between 0.68 and 1.21, without a decomposition (Newton-Schulz; coefficients
    of Jordan et al. 2024). It is worked out for the small square of a matrix, which takes the
    same polynomials, and the product of them all is applied to the matrix once. Squares of one
    size are worked out together: to a GPU, many small tasks take longer than a few large ones. The
    square has the squares of the singular values, for which TF32 has too few bits.

    Args:
        matrices: (M, N) each, float32, as are those that are returned.

    """
    with without_tf32():
        wide = [each if each.shape[0] <= each.shape[1] else each.T for each in matrices]
        norms = torch._foreach_clamp_min(torch._foreach_norm(wide), 1e-7)
        wide = list(torch._foreach_div(wide, norms))
        of_size: dict[int, list[int]] = defaultdict(list)
        for number, each in enumerate(wide):
            of_size[len(each)].append(number)
        results = list(wide)
        for numbers in of_size.values():
            squares = torch.stack([wide[number] @ wide[number].T for number in numbers])
            for number, product in zip(numbers, _polynomials(squares), strict=True):
                results[number] = product @ wide[number]
    return [
        result if each.shape[0] <= each.shape[1] else result.T
        for result, each in zip(results, matrices, strict=True)
    ]


def _polynomials(squares: Tensor) -> Tensor:
    """Return the product of the five polynomials of each of the squares, both (K, M, M)."""
    identity = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    products = identity.expand_as(squares)
    for step in range(STEPS):
        linear = torch.add(3.4445 * identity, squares, alpha=-4.7750)
        factors = torch.baddbmm(linear, squares, squares, alpha=2.0315)
        products = factors @ products if step else factors
        squares = factors @ squares @ factors
    return products

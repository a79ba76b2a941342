"""The parallel scan against a loop over the steps."""

import itertools

import pytest
import torch
from torch import Tensor

from models.scan import CHUNK_LENGTH, scan

K = CHUNK_LENGTH
LENGTHS = (1, 2, K - 1, 2 * K, 2 * K + 1, 3 * K, 100, 2 * K**2 + K + 3)
"""Up to those whose chunks are in chunks."""


def loop(decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
    states = [initial]
    for step in range(new.shape[1]):
        states.append(decay[:, step] * states[-1] + new[:, step])
    return torch.stack(states[1:], dim=1)


@pytest.mark.parametrize(
    ("steps", "dtype"), itertools.product(LENGTHS, (torch.float64, torch.complex128))
)
def test_the_scan_and_its_gradients_equal_the_loop(steps: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    decay = torch.rand(2, steps, 3, 2, dtype=dtype, requires_grad=True)
    new = torch.randn(2, steps, 3, 2, dtype=dtype, requires_grad=True)
    initial = torch.randn(2, 3, 2, dtype=dtype, requires_grad=True)
    weights = torch.randn(2, steps, 3, 2, dtype=dtype)
    results = []
    for function in (scan, loop):
        hidden = function(0.7 * decay, new, initial)  # |decay| < 1, also of complex numbers
        gradients = torch.autograd.grad(hidden, (decay, new, initial), weights)
        results.append((hidden, *gradients))
    torch.testing.assert_close(*results)


def test_one_decay_for_all_steps_is_enough() -> None:
    torch.manual_seed(0)
    decay = torch.rand(3, dtype=torch.float64, requires_grad=True)
    new, initial = torch.randn(2, 90, 3).double(), torch.randn(2, 3).double()
    results = []
    for function in (scan, loop):
        hidden = function(decay.expand(2, 90, 3), new, initial)
        (gradient,) = torch.autograd.grad(hidden.square().sum(), decay)
        results.append((hidden, gradient))
    torch.testing.assert_close(*results)


def test_of_the_last_state_alone_the_gradient_reaches_the_first_step() -> None:
    new = torch.zeros(1, 1_000, 1, requires_grad=True)
    decay, initial = torch.full((1, 1_000, 1), 0.99), torch.zeros(1, 1)
    (gradient,) = torch.autograd.grad(scan(decay, new, initial)[:, -1].sum(), new)
    torch.testing.assert_close(gradient.flatten().flip(0), 0.99 ** torch.arange(1_000))

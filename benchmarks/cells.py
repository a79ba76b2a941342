"""Recurrent cells over longer and longer sequences: forward and backward of one batch.

    python -m benchmarks.cells

One layer of 128 units reads 8 sequences of 64 inputs. A cell whose gates do not see the state is
measured in three ways: with the scan; with a loop over the steps in place of the scan, while all
else is still computed for all steps at once; and step by step, given one input at a time and the
state. They take turns, and the medians of times and ratios count.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch import Tensor, nn

from models.choices import CELLS, SCANNED, CellName, default_initialisation
from models.recurrent import build_recurrence

BATCH_SIZE, NUM_INPUTS, HIDDEN_SIZE = 8, 64, 128
LENGTHS = 256, 1_024, 4_096
ROUNDS = 3


def at_once(layers: nn.Module, inputs: Tensor) -> None:
    """Compute hidden units and gradients as every experiment does."""
    layers(inputs)[0].square().mean().backward()


def in_a_loop(layers: nn.Module, inputs: Tensor) -> None:
    """Compute the same; the scan alone goes from step to step."""
    with ExitStack() as stack:
        for module in ("minimal_cells", "lru", "s6"):
            stack.enter_context(patch(f"models.{module}.scan", loop))
        at_once(layers, inputs)


def loop(decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
    """Return what `models.scan.scan` does."""
    hidden, states = initial, []
    for kept, added in zip(decay.unbind(1), new.unbind(1), strict=True):
        hidden = torch.addcmul(added, kept, hidden)
        states.append(hidden)
    return torch.stack(states, dim=1)


def step_by_step(layers: nn.Module, inputs: Tensor) -> None:
    """Compute the same, from one input at a time."""
    state, steps = None, []
    for values in inputs.split(1, dim=1):
        hidden, state = layers(values, state)
        steps.append(hidden)
    torch.cat(steps, dim=1).square().mean().backward()


Way = Callable[[nn.Module, Tensor], None]


def build(cell: CellName) -> nn.Module:
    """Return one layer."""
    torch.manual_seed(0)
    return build_recurrence(
        cell,
        NUM_INPUTS,
        HIDDEN_SIZE,
        num_layers=1,
        dropout_rate=0.0,
        initialisation=default_initialisation(cell),
        horizon=1_000,
    )


def seconds(way: Way, layers: nn.Module, inputs: Tensor) -> float:
    """Return the time of one forward and backward pass."""
    layers.zero_grad()
    start = time.perf_counter()
    way(layers, inputs)
    return time.perf_counter() - start


def measure(cell: CellName, length: int) -> str:
    """Return the time in ms, and those of the other ways, if there are any, as its multiples."""
    layers, inputs = build(cell), torch.randn(BATCH_SIZE, length, NUM_INPUTS)
    ways = (at_once, in_a_loop, step_by_step) if cell in SCANNED else (at_once,)
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(ROUNDS + 1):
        for way, measured in zip(ways, times, strict=True):
            taken = seconds(way, layers, inputs)
            if turn > 0:  # the first one warms up
                measured.append(taken)
    fast, *slower = times
    ratios = [
        f"{statistics.median(b / a for a, b in zip(fast, slow, strict=True)):.1f}"
        for slow in slower
    ]
    return f"{1_000 * statistics.median(fast):.1f} {' '.join(ratios)}"


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print(f"{torch.get_num_threads()} threads; ms, and multiples in a loop and step by step")
    print(f"{'cell':>8}", *(f"{f'{length:,} steps':>20}" for length in LENGTHS))
    for cell in CELLS:
        print(f"{cell:>8}", *(f"{measure(cell, length):>20}" for length in LENGTHS), flush=True)


if __name__ == "__main__":
    main()

"""Recurrent cells over longer and longer sequences: forward and backward of one batch.

    python -m benchmarks.cells

One layer of 128 units reads 8 sequences of 64 inputs. Cells whose gates do not see the state are
also measured with a loop over the steps in place of the scan; all else of the cell is the same, and
is computed for all steps at once in both. Scan and loop take turns, and the median of the ratios
counts. The table has the median times.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from unittest.mock import patch

import torch
from torch import Tensor, nn

from models.choices import CELLS, SCANNED, CellName, default_initialisation
from models.recurrent import build_recurrence

BATCH_SIZE, NUM_INPUTS, HIDDEN_SIZE = 8, 64, 128
LENGTHS = 256, 1_024, 4_096
ROUNDS = 5


def loop(decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
    """Return what `models.scan.scan` does, from step to step."""
    hidden, states = initial, []
    for kept, added in zip(decay.unbind(1), new.unbind(1), strict=True):
        hidden = torch.addcmul(added, kept, hidden)
        states.append(hidden)
    return torch.stack(states, dim=1)


@contextlib.contextmanager
def looping() -> Iterator[None]:
    """Have every cell go through its steps one by one."""
    with contextlib.ExitStack() as stack:
        for module in ("minimal_cells", "lru", "s6"):
            stack.enter_context(patch(f"models.{module}.scan", loop))
        yield


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


def seconds(layers: nn.Module, inputs: Tensor) -> float:
    """Return the time of one forward and backward pass."""
    layers.zero_grad()
    start = time.perf_counter()
    hidden, _ = layers(inputs)
    hidden.square().mean().backward()
    return time.perf_counter() - start


def measure(cell: CellName, length: int) -> tuple[list[float], list[float]]:
    """Return the times of the cell, and those of its loop, if it is one that is scanned."""
    layers, times, of_loop = build(cell), list[float](), list[float]()
    inputs = torch.randn(BATCH_SIZE, length, NUM_INPUTS)
    for turn in range(ROUNDS + 1):
        taken = seconds(layers, inputs)
        times += [taken] if turn > 0 else []  # the first one warms up
        if cell in SCANNED:
            with looping():
                taken = seconds(layers, inputs)
            of_loop += [taken] if turn > 0 else []
    return times, of_loop


def main() -> None:
    """Measure and print."""
    print(f"{torch.get_num_threads()} threads; times in ms, and the loop's as a multiple")
    print(f"{'cell':>8}", *(f"{length:>14,} steps" for length in LENGTHS))
    for cell in CELLS:
        columns = []
        for length in LENGTHS:
            times, of_loop = measure(cell, length)
            column = f"{1_000 * statistics.median(times):.1f}"
            if of_loop:
                ratios = [slow / fast for slow, fast in zip(of_loop, times, strict=True)]
                column += f" ({statistics.median(ratios):.1f})"
            columns.append(f"{column:>20}")
        print(f"{cell:>8}", *columns, flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main()

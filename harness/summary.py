"""What the splits of a run hold, in a few lines of text."""

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.experiment import Splits
from harness.training.batches import GeneratedSamples
from harness.wording import plural

MAX_CLASSES, MAX_LETTERS, MAX_LISTED = 12, 40, 3
"""Classes in the table, letters of their names, and how much is listed of what was left out."""


def announce(data: Splits[Any]) -> None:
    """Print the summary, before anything is trained."""
    print(summary(data), file=sys.stderr)


def summary(data: Splits[Any]) -> str:
    """Return what splits hold: samples by class and split, or shapes; and what was left out.

    The test split is not read for it.
    """
    lines = [f"Data {data.data_set}"]
    if data.counts:
        lines[0] += f", inputs {_shape(data.validation, skip=1)}"
        lines.append(counts_table(data.counts))
    else:
        lines += [f"  train       {_shape(data.train)}", f"  validation  {_shape(data.validation)}"]
        lines.append("  test        read once, after training")
    if data.skipped:
        listed = [f"{name!r} ({reason})" for name, reason in data.skipped[:MAX_LISTED]]
        if more := len(data.skipped) - len(listed):
            listed.append(f"and {more:,} more")
        left_out = f"Warning: {len(data.skipped):,} left out, see the table `skipped` of the run: "
        lines.append(left_out + ", ".join(listed))
    return "\n".join(lines).encode(errors="backslashreplace").decode()


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the samples of each class by split as a table, the middle of many classes left out."""
    classes = pd.DataFrame(counts).fillna(0).astype(int)
    table = pd.concat([classes, classes.sum().to_frame("total").T]).map("{:,}".format)
    table.index = [
        name if len(name) <= MAX_LETTERS else f"{name[:MAX_LETTERS]}..."
        for name in table.index.map(str)
    ]
    return str(table.to_string(max_rows=MAX_CLASSES))


def _shape(split: Any, skip: int = 0) -> str:
    """Return shape and type of the inputs of a split, which may be generated batch by batch."""
    if isinstance(split, GeneratedSamples):
        inputs = next(iter(split.batches(1)))[0]
        every = f"in each of {plural(split.num_batches, 'batch', 'batches')}, others in every epoch"
        return f"{tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')} {every}"
    inputs = split[0]
    return f"{tuple(inputs.shape[skip:])} {str(inputs.dtype).removeprefix('torch.')}"

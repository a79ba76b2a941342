"""Check everything on the GPU of this machine, and measure it; a table in Markdown at the end.

    python -m benchmarks.gpu_check [photographs.zip]

Without a GPU, the same in miniature on the CPU. The exit status is 1 where something is wrong, and
0 where it is merely slow. Most of it needs torch, torchvision, numpy, Pillow and pydantic alone;
runs and studies, which come last, are left out where MLflow or Optuna are not installed.
"""

import argparse
import contextlib
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.gpu_check import MISSING
from benchmarks.gpu_check.agreement import check_agreement
from benchmarks.gpu_check.result import Result, as_table, without_errors
from benchmarks.gpu_check.speed import check_speed
from harness.training.config import TrainingConfig
from harness.training.device import Hardware


def check(device: str, data: str, *, miniature: bool) -> Iterator[Result]:
    """Yield all results, beside a progress bar."""
    with contextlib.ExitStack() as stack:
        parts = [*check_agreement(device, miniature=miniature)]
        parts += check_speed(device, data, miniature=miniature)
        if MISSING:
            left_out = Result("runs and studies", f"left out without {', '.join(MISSING)}")
            parts.append(("runs and studies", iter([left_out])))
        else:
            from benchmarks.gpu_check.tracked import tracked_parts

            parts += stack.enter_context(tracked_parts(device, data, miniature=miniature))
        bar = stack.enter_context(tqdm(parts, unit="part", disable=None))
        for part in bar:
            bar.set_description(part[0])
            yield from without_errors(part)


def main(data: str) -> int:
    """Print each result as it comes, then the table; return the exit status.

    Ctrl-C ends the check with the table of what is known by then.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = str(Path(data).resolve()) if Path(data).exists() else data
    began, results, is_whole = time.perf_counter(), list[Result](), False
    with contextlib.suppress(KeyboardInterrupt):
        for result in check(device, data, miniature=device == "cpu"):
            results.append(result)
            seconds = time.perf_counter() - began
            tqdm.write(f"{seconds:4.0f} s  {result.what}: {result.measured}", file=sys.stderr)
        is_whole = True
    name = Hardware.choose(TrainingConfig(device=device)).name  # type: ignore[arg-type]
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"\n{name}; {versions}; {time.perf_counter() - began:.0f} s\n")
    print(as_table(results))
    if not is_whole:
        return 130
    return 0 if all(each.held or not each.is_check for each in results) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", nargs="?", default="synthetic", help="zip or folder of photographs")
    sys.exit(main(**vars(parser.parse_args())))

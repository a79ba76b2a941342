"""Check everything on the GPU of this machine, and measure it; a table in Markdown at the end.

    python -m benchmarks.gpu_check [photographs.zip]

Without a GPU, the same in miniature on the CPU. The exit status is 1 where something fails. Runs
and studies are left out where MLflow or Optuna are not installed.
"""

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Iterator

import torch

from benchmarks.gpu_check.agreement import check_agreement
from benchmarks.gpu_check.result import Result, as_table
from benchmarks.gpu_check.speed import check_speed
from harness.config import TrainingConfig
from harness.training.device import Hardware


def check(device: str, data: str, *, miniature: bool) -> Iterator[Result]:
    """Yield all results."""
    yield from check_agreement(device)
    yield from check_speed(device, data, miniature=miniature)
    if importlib.util.find_spec("mlflow") and importlib.util.find_spec("optuna"):
        from benchmarks.gpu_check.tracked import check_tracked

        yield from check_tracked(device, miniature=miniature)


def main(data: str) -> int:
    """Print each result as it comes, then the table; return the exit status."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began, results = time.perf_counter(), []
    for result in check(device, data, miniature=device == "cpu"):
        results.append(result)
        print(*result[:3], sep=": ", file=sys.stderr, flush=True)
    name = Hardware.choose(TrainingConfig(device=device)).name  # type: ignore[arg-type]
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    print(f"\n{name}; {versions}; {time.perf_counter() - began:.0f} s\n")
    print(as_table(results))
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", nargs="?", default="synthetic", help="zip or folder of photographs")
    sys.exit(main(**vars(parser.parse_args())))

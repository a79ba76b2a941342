"""What workers gain, and what two runs side by side cost each other.

python -m benchmarks.workers

Whole commands are timed, in a store of their own: `seq_classification` with four seeds, on one
worker and on two; and for each of some experiments, a default run alone and two at the same time.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

SIDE_BY_SIDE = ("rnn", "moe", "seq_classification")


def seconds(folder: Path, *commands: str) -> float:
    """Start commands at the same time, and return how long it took until all had ended."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    assert not any(process.wait() for process in processes)
    return time.perf_counter() - began


def main() -> None:
    """Print times in seconds, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        seeds = "experiments.seq_classification --seeds 4 --workers"
        one, two = (seconds(folder, f"{seeds} {workers}") for workers in (1, 2))
        print(f"four seeds of seq_classification: {one:.1f} s on one worker, {two:.1f} s on two:")
        print(f"  {one / two:.2f} times as fast", flush=True)
        for experiment in SIDE_BY_SIDE:
            command = f"experiments.{experiment}"
            alone, both = seconds(folder, command), seconds(folder, command, command)
            print(f"{experiment}: {alone:.1f} s alone, {both:.1f} s for two side by side:")
            print(f"  {both / alone:.2f} times as long", flush=True)


if __name__ == "__main__":
    main()

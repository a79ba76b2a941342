"""Cost of inference: one photograph in a new process, many in a running one, points from a server.

    python -m benchmarks.prediction models:/cnn@champion FOLDER models:/moe@champion

The folder holds photographs. The server is MLflow's own, on the same machine, with one client that
sends one request after the other over one connection.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.serving import measure, served
from experiments.predict.command import inference_of
from harness.tracking.models import load

REQUESTS, POINTS = 1000, 100


def cold(model: str, folder: str) -> float:
    """Return the seconds of a process that classifies one photograph."""
    photograph = next(str(path) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    began = time.perf_counter()
    command = [sys.executable, "-m", "experiments.predict", model, photograph]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def warm(model: str, folder: str) -> tuple[int, float]:
    """Return how many photographs were classified, and how many in a second, without loading."""
    loaded = load(model)
    inference = inference_of(loaded)
    request = inference.request_class(model=model, inputs=(folder,))
    list(inference.predict(request, loaded))
    began = time.perf_counter()
    count = len(list(inference.predict(request, loaded)))
    return count, count / (time.perf_counter() - began)


def serving(model: str) -> tuple[int, np.ndarray]:
    """Return how many requests failed, and the latency of each in milliseconds."""
    random = np.random.default_rng(0)
    tables = (random.normal(size=(POINTS, 2)).tolist() for _ in range(REQUESTS))
    bodies = [json.dumps({"dataframe_split": {"columns": ["x", "y"], "data": t}}) for t in tables]
    with served(model) as port:
        return measure(port, bodies)


def main() -> None:
    """Print the three measurements."""
    parser = argparse.ArgumentParser(description="Cost of inference.")
    parser.add_argument("photographs_model", help="URI of a cnn")
    parser.add_argument("folder", help="folder of photographs")
    parser.add_argument("points_model", help="URI of a moe")
    arguments = parser.parse_args()
    seconds = cold(arguments.photographs_model, arguments.folder)
    print(f"one photograph, cold: {seconds:.1f} s")
    count, rate = warm(arguments.photographs_model, arguments.folder)
    print(f"{count:,} photographs, warm: {rate:,.0f} a second")
    failed, milliseconds = serving(arguments.points_model)
    median, slow = np.percentile(milliseconds, [50, 99])
    print(
        f"{REQUESTS:,} requests of {POINTS} points: {failed} failed, "
        f"median latency {median:.1f} ms, 99th percentile {slow:.1f} ms"
    )


if __name__ == "__main__":
    main()

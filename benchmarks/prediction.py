"""Cost of inference: one photograph in a new process, many in a running one, points from a server.

    python -m benchmarks.prediction models:/cnn@champion FOLDER models:/moe@champion

The folder holds photographs. The server is MLflow's own, on the same machine, with one client that
sends one request after the other over one connection.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-m", model, "--env-manager", "local", "-p", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"PATH": path}
    server = subprocess.Popen(command, start_new_session=True, env=environment, **quiet)
    try:
        return measure(port, server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def measure(port: int, server: "subprocess.Popen[bytes]") -> tuple[int, np.ndarray]:
    """Send requests one after the other, once the server is up."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while server.poll() is None:
        try:
            client.request("GET", "/ping")
            client.getresponse().read()
            break
        except OSError:
            client.close()
            time.sleep(0.2)
    random = np.random.default_rng(0)
    failed, milliseconds = 0, []
    for _ in range(REQUESTS):
        body = json.dumps({"inputs": random.normal(size=(POINTS, 2)).tolist()})
        began = time.perf_counter()
        client.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        response = client.getresponse()
        content = json.loads(response.read())
        milliseconds.append(1000 * (time.perf_counter() - began))
        failed += response.status != 200 or len(content["predictions"]) != POINTS
    return failed, np.array(milliseconds)


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

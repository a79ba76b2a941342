"""What it takes to ask trained models: a photograph cold, many warm, points from a server.

    python -m benchmarks.prediction models:/cnn@champion FOLDER models:/moe@champion

The folder holds photographs. The server is MLflow's own, on this machine, with one client that
sends a request after the other over one connection.
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

import numpy as np

from experiments.harness.trained import load
from experiments.predict import prediction_of

REQUESTS, POINTS = 1000, 100


def cold(model: str, folder: str) -> float:
    """Return the seconds of a process that answers for one photograph."""
    photograph = next(str(path) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    began = time.perf_counter()
    command = [sys.executable, "-m", "experiments.predict", model, photograph]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def warm(model: str, folder: str) -> tuple[int, float]:
    """Return how many photographs were answered once the model was loaded, and in a second."""
    trained = load(model)
    prediction = prediction_of(trained)
    question = prediction.question_class(model=model, inputs=(folder,))
    list(prediction.answer(question, trained))
    began = time.perf_counter()
    count = len(list(prediction.answer(question, trained)))
    return count, count / (time.perf_counter() - began)


def serving(model: str) -> tuple[int, np.ndarray]:
    """Return how many requests failed, and the milliseconds of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-m", model, "--env-manager", "local", "-p", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        command,
        start_new_session=True,
        env=os.environ | {"PATH": path},
        **quiet,  # type: ignore[call-overload]
    )
    try:
        return measure(port, server)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def measure(port: int, server: "subprocess.Popen[bytes]") -> tuple[int, np.ndarray]:
    """Send requests, one after the other, as soon as the server answers at all."""
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
        answers = json.loads(response.read())
        milliseconds.append(1000 * (time.perf_counter() - began))
        failed += response.status != 200 or len(answers["predictions"]) != POINTS
    return failed, np.array(milliseconds)


def main() -> None:
    """Print the three measurements."""
    parser = argparse.ArgumentParser(description="What it takes to ask trained models.")
    parser.add_argument("photographs_model", help="URI of a cnn")
    parser.add_argument("folder", help="folder of photographs")
    parser.add_argument("points_model", help="URI of a moe")
    arguments = parser.parse_args()
    seconds = cold(arguments.photographs_model, arguments.folder)
    print(f"one photograph, cold: {seconds:.1f} s")
    count, rate = warm(arguments.photographs_model, arguments.folder)
    print(f"{count:,} photographs, warm: {rate:,.0f} a second")
    failed, milliseconds = serving(arguments.points_model)
    middle, slow = np.percentile(milliseconds, [50, 99])
    print(
        f"{REQUESTS:,} requests of {POINTS} points: {failed} failed, "
        f"{middle:.1f} ms in the middle, {slow:.1f} ms at the 99th percentile"
    )


if __name__ == "__main__":
    main()

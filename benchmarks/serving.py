"""Latency of a served model that classifies photographs, with MLflow's own server on this machine.

    python -m benchmarks.serving models:/cnn@champion [photo.jpg]

One client sends a photograph of 12 megapixels again and again, over one connection; then four
clients send theirs at the same time. Without a photograph, one is made.
"""

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REQUESTS, CLIENTS = 100, 4
WARM_UP = 5
SIZE = 4000, 3000


@contextlib.contextmanager
def served(model: str) -> Iterator[int]:
    """Serve a model, and yield the port of the server once it is up."""
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
        while server.poll() is None:
            with contextlib.suppress(OSError):
                client = http.client.HTTPConnection("127.0.0.1", port)
                client.request("GET", "/ping")
                client.getresponse().read()
                break
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def measure(port: int, bodies: Sequence[str]) -> tuple[int, np.ndarray]:
    """Send requests one after the other over one connection.

    Returns:
        How many had another status than 200, and the latency of each in milliseconds.

    """
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    failed, milliseconds = 0, []
    for body in bodies:
        began = time.perf_counter()
        client.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
        milliseconds.append(1000 * (time.perf_counter() - began))
        failed += response.status != 200
    return failed, np.array(milliseconds)


def photograph() -> bytes:
    """Return a JPEG file of 12 megapixels, with detail of several sizes."""
    random = np.random.default_rng(0)
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
    for width, strength in ((12, 50), (120, 20), (1000, 10), (SIZE[0], 3)):
        noise = random.normal(0, strength, (width * SIZE[1] // SIZE[0], width, 3))
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel].astype(np.float32))
            pixels[..., channel] += np.asarray(layer.resize(SIZE, Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray((pixels + 127).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def main() -> None:
    """Print the latencies."""
    parser = argparse.ArgumentParser(description="Latency of a served model.")
    parser.add_argument("model", help="URI of a cnn")
    parser.add_argument("photograph", nargs="?", help="file of a photograph")
    arguments = parser.parse_args()
    content = Path(arguments.photograph).read_bytes() if arguments.photograph else photograph()
    body = json.dumps({"dataframe_records": [{"image": base64.b64encode(content).decode()}]})
    width, height = Image.open(io.BytesIO(content)).size
    print(f"{width} x {height} pixels, {len(content) / 1e6:.1f} MB")
    with served(arguments.model) as port:
        measure(port, WARM_UP * [body])
        for clients in (1, CLIENTS):
            began = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                shares = [REQUESTS // clients * [body] for _ in range(clients)]
                results = list(pool.map(lambda share: measure(port, share), shares))
            seconds = time.perf_counter() - began
            failed = sum(number for number, _ in results)
            median, slow = np.percentile(np.concatenate([each for _, each in results]), [50, 99])
            print(
                f"{REQUESTS} requests of {clients} at once: {failed} failed, median latency "
                f"{median:.0f} ms, 99th percentile {slow:.0f} ms, {REQUESTS / seconds:.1f} a second"
            )


if __name__ == "__main__":
    main()

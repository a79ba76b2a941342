"""Runs on a tracking server: artifacts, and with them checkpoints, go over HTTP."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from experiments.harness.launch import conduct
from tests.harness.small import EXPERIMENT, SmallConfig
from tests.harness.test_tracking import history, interrupted_run

pytestmark = pytest.mark.slow


@pytest.fixture
def server(store: Path) -> Iterator[str]:
    """Serve the test's store on a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1".split()
    places = ["--backend-store-uri", f"sqlite:///{store}/mlflow.db"]
    places += ["--artifacts-destination", str(store / "artifacts")]
    with (store / "server.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, *command, *places], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                break
        except OSError:
            assert time.monotonic() < deadline, (store / "server.txt").read_text()
            time.sleep(0.2)
    mlflow.set_tracking_uri(address)
    yield address
    process.terminate()
    process.wait()


def test_a_run_on_a_server_is_interrupted_and_goes_on(server: str, tmp_path: Path) -> None:
    run_id = interrupted_run(SmallConfig(num_epochs=6))
    assert list((tmp_path / "artifacts").rglob("last.pt"))
    conduct(EXPERIMENT, SmallConfig(resume=run_id))
    run = MlflowClient().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3, 4, 5, 6]

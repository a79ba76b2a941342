"""Runs on a tracking server: artifacts, and with them checkpoints, go over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from harness.run_experiment import run_experiment
from tests.conftest import serve
from tests.harness.small import EXPERIMENT, SmallConfig
from tests.harness.test_tracking import history, interrupted_run

pytestmark = pytest.mark.slow


@pytest.fixture
def server(store: Path) -> Iterator[str]:
    """Serve the test's store."""
    places = ["--backend-store-uri", f"sqlite:///{store}/mlflow.db"]
    places += ["--artifacts-destination", str(store / "artifacts")]
    with serve(store, "/health", "server", "--workers", "1", *places) as address:
        mlflow.set_tracking_uri(address)
        yield address


def test_a_run_on_a_server_is_interrupted_and_resumed(server: str, tmp_path: Path) -> None:
    run_id = interrupted_run(SmallConfig(num_epochs=6))
    assert list((tmp_path / "artifacts").rglob("last.pt"))
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    run = MlflowClient().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3, 4, 5, 6]

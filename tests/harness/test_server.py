"""Runs on a tracking server: artifacts, and with them checkpoints, go over HTTP."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from torch import nn

from harness.command_line import run_command
from harness.run_experiment import run_experiment
from harness.training.metrics import StepOutput
from tests.conftest import serve
from tests.harness.runs import history, interrupted_run, only_run
from tests.harness.small import EXPERIMENT, FitALine, SmallConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def server(store: Path) -> Iterator[str]:
    """Serve the test's store."""
    with serve_store(store) as address:
        mlflow.set_tracking_uri(address)
        yield address


def serve_store(store: Path) -> contextlib.AbstractContextManager[str]:
    """Run a server of the store of a folder."""
    places = ["--backend-store-uri", f"sqlite:///{store}/mlflow.db"]
    places += ["--artifacts-destination", str(store / "artifacts")]
    return serve(store, "/health", "server", "--workers", "1", *places)


def test_a_run_whose_server_is_killed_resumes_once_there_is_another(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with contextlib.ExitStack() as stack:
        mlflow.set_tracking_uri(stack.enter_context(serve_store(store)))

        class Alone(FitALine):
            def loss(self, config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
                if list((store / "artifacts").rglob("last.pt")):
                    stack.close()  # the server
                return super().loss(config, model, batch)

        config = SmallConfig(num_epochs=6, checkpoint_seconds=0)
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda: run_experiment(Alone(), config))
    assert exit_.value.code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the server does not answer (Connection refused)" in line
    run_id = line.split()[-1]
    with serve_store(store) as address:
        mlflow.set_tracking_uri(address)
        _artifact_repos_cache.clear()  # this process knows the other server's address
        assert only_run().info.run_id == run_id
        MlflowClient().set_terminated(run_id, "KILLED")  # the run's process, this one, still lives
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
        assert only_run().info.status == "FINISHED"


def test_names_of_artifacts_beyond_ascii(server: str, tmp_path: Path) -> None:
    client = MlflowClient()
    run_id = client.create_run(client.create_experiment("names")).info.run_id
    for name in ("Jürgen 100%.txt", "고양이#1?.txt"):
        client.log_text(run_id, name, f"Größe/{name}")
        assert Path(client.download_artifacts(run_id, f"Größe/{name}")).read_text() == name


def test_a_run_on_a_server_is_interrupted_and_resumed(server: str, tmp_path: Path) -> None:
    run_id = interrupted_run(SmallConfig(num_epochs=6))
    assert list((tmp_path / "artifacts").rglob("last.pt"))
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    run = MlflowClient().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3, 4, 5, 6]

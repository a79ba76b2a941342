"""The command that prints links and starts the MLflow UI."""

import contextlib
import sys
from pathlib import Path

import mlflow
import pytest

from experiments.ui import command
from experiments.ui.config import UiConfig


def test_experiments_with_runs_are_linked_and_their_store_is_served(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []
    monkeypatch.setattr("os.execv", lambda *arguments: started.append(arguments))
    command.main(UiConfig())
    assert capsys.readouterr().out == "There are no runs yet.\n"
    client = mlflow.MlflowClient()
    place = client.create_experiment("moe")
    client.create_run(place)
    client.create_experiment("empty")
    command.main(UiConfig(port=5001))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "moe"
    assert line.split()[1].startswith(f"http://localhost:5001/#/experiments/{place}/runs?")
    (_, (python, words)) = started
    assert python == words[0] == sys.executable
    assert words[-4:] == ["--port", "5001", "--backend-store-uri", f"sqlite:///{store}/mlflow.db"]


def test_where_a_server_runs_none_is_started(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("started"))
    client = mlflow.MlflowClient()
    client.create_run(client.create_experiment("moe"))
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://example.org:8080")
    monkeypatch.setattr(command, "store_lock", contextlib.nullcontext)
    command.main(UiConfig())
    assert "moe                  http://example.org:8080/#/experiments/" in capsys.readouterr().out

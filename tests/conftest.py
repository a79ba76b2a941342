"""What tests of several folders share: a store of their own, and real processes."""

import contextlib
import importlib
import json
import os
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import pytest
import torch
from click.testing import CliRunner

from harness.execution import forkserver
from harness.tracking.export import NETWORK
from harness.tracking.processes import TAG, this_process

ROOT = Path(__file__).parents[1]

# Several workers share the cores, and so do the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests that need a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tracking store once: creating its tables takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what tests draw and decode out of the user's cache, in a folder that workers share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    return folder / "cache"


@pytest.fixture(autouse=True)
def settings_of_mlflow() -> Iterator[None]:
    """Undo what a test leaves in MLflow's variables: processes of later tests would inherit it."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Iterator[Path]:
    """Give the test an empty folder as working directory, and a tracking store in it."""
    shutil.copy(empty_database, tmp_path)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield tmp_path
    while mlflow.active_run():
        mlflow.end_run()
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # set by mlflow.set_experiment
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """Give the tests of one file a folder and a tracking store in common."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        yield folder
        mlflow.set_tracking_uri(before)


@contextlib.contextmanager
def serve(folder: Path, is_up: str, *arguments: str) -> Iterator[str]:
    """Run a server of MLflow on a free port of this machine, and yield its address.

    Args:
        folder: where it works, and keeps its log.
        is_up: the path that it answers once it is ready.
        arguments: the words after `mlflow`; the port is added to them.

    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", folder / "server.txt"
    # MLflow starts its server by a name, which is to be found beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--port", str(port)],
            stdout=output,
            stderr=output,
            cwd=folder,
            env=os.environ | {"PATH": path},
            start_new_session=True,
        )
    deadline = time.monotonic() + 100
    try:
        while True:
            try:
                with urllib.request.urlopen(address + is_up, timeout=1):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


class Started(subprocess.Popen[bytes]):
    """Python at work in a folder, with the project on its path and a store there."""

    def __init__(self, folder: Path, *arguments: str):
        self.log = folder / "stderr.txt"
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("a") as errors:
            super().__init__(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def said(self) -> str:
        """Return what it has said on stderr, after what others had said in that folder."""
        return self.log.read_text()


class ForkedRun:
    """A command that is run as by a shell, in a process that finds torch and MLflow imported.

    It stands for a `subprocess.Popen`, whose imports take seconds.
    """

    def __init__(self, command: str, folder: str, environment: Mapping[str, str]):
        arguments = (shlex.split(command), folder, dict(environment))
        made = forkserver.context().Process(target=run_module, args=arguments)
        self.process: BaseProcess = made
        forkserver.start_process(self.process)

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode


def run_module(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what `python -m MODULE ARGUMENTS` does."""
    python, option, module, *arguments = words
    assert (python, option) == ("python", "-m")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def process_tags_with(**changes: str) -> dict[str, str]:
    """Return the tag of a run with which another process than this one works on it."""
    return {TAG: json.dumps({**this_process(), **changes})}


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait for something that a process that goes on will bring about."""
    deadline = time.monotonic() + 100
    while not condition():
        is_running = process.poll() is None
        assert is_running, process.said() if isinstance(process, Started) else process.args
        assert time.monotonic() < deadline
        time.sleep(0.05)


def collect_garbage(run_id: str) -> None:
    """Delete a run, and remove it as `mlflow gc` does."""
    mlflow.MlflowClient().delete_run(run_id)
    uri = mlflow.get_tracking_uri()
    arguments = ["gc", "--backend-store-uri", uri, "--tracking-uri", uri, "--run-ids", run_id]
    result = CliRunner().invoke(importlib.import_module("mlflow.cli").cli, arguments)
    assert result.exit_code == 0, result.output


def network_of(uri: str) -> str:
    """Return the folder of a model's exported network, which takes arrays."""
    return str(Path(mlflow.artifacts.download_artifacts(artifact_uri=uri)) / NETWORK)

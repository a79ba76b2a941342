"""Windows and macOS, as far as Linux can stand for them: what these systems lack is taken away.

That names of the standard library exist there is checked by `make lint`: mypy for each platform.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from experiments.moe.config import MoEConfig
from harness.execution import forkserver
from harness.execution.local import LocalPool
from harness.execution.messages import Done, Task
from tests.conftest import ROOT
from tests.harness.execution.test_local import count, finish

WITHOUT_POSIX = """
import os, runpy, signal, sys
import mlflow.pytorch, mlflow.store.tracking.sqlalchemy_store, mlflow.tracing, optuna, sklearn
import torch._dynamo, torch.export, matplotlib.pyplot, psutil, requests, filelock
import harness.run_experiment, experiments.moe.lesson

for module, names in {
    os: ["fork", "kill", "killpg", "setsid", "getuid", "sync", "sched_getaffinity", "O_DIRECTORY"],
    signal: ["SIGKILL", "SIGHUP", "SIGALRM", "pthread_sigmask", "SIG_BLOCK", "SIG_SETMASK"],
}.items():
    for name in names:
        delattr(module, name)
for name in ("fcntl", "resource", "pwd", "multiprocessing.forkserver"):
    sys.modules[name] = None  # cannot be imported

class WindowsSys:
    platform = "win32"
    def __getattr__(self, name):
        return getattr(sys, name)

for name, module in list(sys.modules.items()):  # for the project only: MLflow asks for itself
    if name.split(".")[0] in ("datasets", "experiments", "harness") and hasattr(module, "sys"):
        module.sys = WindowsSys()
_open = os.open
def open_file(path, *arguments, **options):
    if os.path.isdir(path) and sys._getframe(1).f_globals["__name__"].startswith("harness"):
        raise PermissionError(13, "Permission denied", path)
    return _open(path, *arguments, **options)
os.open = open_file

sys.argv = ["experiments.moe", *sys.argv[1:]]
runpy.run_module("experiments.moe", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_run_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    words = [f"--{name}={value}" for name, value in MoEConfig.tiny.items()]
    words += ["--checkpoint-seconds=0", "--no-animation"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stderr + done.stdout


@pytest.mark.slow
def test_workers_are_started_anew_where_none_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "METHOD", "spawn")
    forkserver.start()
    with LocalPool(1) as pool:
        worker = pool.idle()
        assert worker is not None
        assert "SpawnProcess" in type(worker.process).__name__
        for last in (2, 3):
            worker.submit(Task(partial(count, last)))
            assert finish(pool, worker) == (Done(last), last)

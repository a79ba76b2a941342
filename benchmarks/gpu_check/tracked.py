"""Runs and studies on a device as users start them; needs MLflow and Optuna."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import experiments
from benchmarks.gpu_check.result import Result
from harness.project import ROOT

PREDICT = """
import mlflow, torch
(run,) = mlflow.search_runs(search_all_experiments=True, output_format="list",
                            filter_string="tags.entry_point = '{name}'")
assert not torch.cuda.is_available()
model = mlflow.pyfunc.load_model("models:/" + run.outputs.model_outputs[0].model_id)
assert len(model.predict(model.input_example)) == 2
print(run.data.tags["device"], run.data.params["precision"], sep=", ")
"""


def check_tracked(device: str, *, miniature: bool) -> Iterator[Result]:
    """Yield whether tracked runs end well, and their models predict without the device."""
    with tempfile.TemporaryDirectory() as folder:
        for name in experiments.names():
            config_class = experiments.find(name).config_class
            if name != config_class.family or (miniature and name != "moe"):
                continue  # variants are tracked, and export their models, by the same lines
            tiny = config_class(**{**config_class.tiny, "device": device})
            what = f"{name}: tracked, and predicts on the CPU"
            problem = run(folder, *tiny.as_command().split()[1:])
            problem = problem or run(
                folder, "-c", PREDICT.format(name=name), CUDA_VISIBLE_DEVICES=""
            )
            yield Result(what, problem or "it does", "no error", not problem)
        yield from studies(folder, device, miniature=miniature)


def studies(folder: str, device: str, *, miniature: bool) -> Iterator[Result]:
    """Yield the time of a study with one worker, and with four that share the device."""
    trials, epochs = (2, 1) if miniature else (8, 10)
    seconds = {}
    for workers in (1, 2 if miniature else 4):
        began = time.perf_counter()
        options = f"--trials {trials} --workers {workers} --finalists 0 --study-name of-{workers}"
        options += f" --set device={device} num_epochs={epochs}"
        problem = run(folder, "-m", "tuning", "moe", *options.split())
        seconds[workers] = time.perf_counter() - began
        what = f"study of {trials} trials, {workers} at once"
        yield Result(what, problem or f"{seconds[workers]:.0f} s", "no error", not problem)


def run(folder: str, *arguments: str, **environment: str) -> str:
    """Run Python on `arguments` with a store in `folder`, and return what went wrong, in a line."""
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": search_path()}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | store | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["no message"])[-1][:200]


def search_path() -> str:
    """Return where Python looks for modules: here first."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

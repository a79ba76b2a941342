"""Runs and studies on a device as users have them; needs MLflow and Optuna."""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

import experiments
from benchmarks.gpu_check.agreement import RESUMED_BOUND, Interruption
from benchmarks.gpu_check.result import Part, Result, within
from harness.execution import forkserver
from harness.experiment import AnyExperiment
from harness.project import ROOT
from harness.run_experiment import TrackedRun, train_and_evaluate
from harness.training.config import TrainingConfig
from harness.training.device import Hardware
from harness.training.loop import Callback, Progress
from tuning.config import StudyConfig
from tuning.study import tune

LOSS = "best/val_loss"
PREDICT = """
import mlflow, sys, torch
assert not torch.cuda.is_available()
for uri in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(uri)
    assert len(model.predict(model.input_example)) == len(model.input_example), uri
print(len(sys.argv) - 1)
"""


@contextlib.contextmanager
def tracked_parts(device: str, data: str, *, miniature: bool) -> Iterator[list[Part]]:
    """Give the parts: runs that are resumed, their models, utilisation, studies."""
    with tempfile.TemporaryDirectory() as folder:
        models: list[str] = []
        parts: list[Part] = []
        for name in experiments.names():
            experiment = experiments.find(name)
            config_class = experiment.config_class
            # Variants are tracked, and export their models, by the same lines.
            if name == ("moe" if miniature else config_class.family):
                settings = {**config_class.tiny, "num_epochs": 3, "checkpoint_seconds": 0.0}
                config = config_class(**settings, device=device)
                parts.append((f"{name}, tracked", tracked(experiment, config, models)))
        parts.append(("predictions without a GPU", predictions(models)))
        parts.append(("utilisation", utilisation(device, data, miniature=miniature)))
        parts.append(("studies", studies(device, miniature=miniature)))
        yield [(title, in_store(folder, results)) for title, results in parts]


def in_store(folder: str, results: Iterator[Result]) -> Iterator[Result]:
    """Yield results that are worked out in a folder with a tracking store of its own."""
    before = mlflow.get_tracking_uri()
    with contextlib.chdir(folder):
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        try:
            yield from results
        finally:
            os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # set by mlflow.set_experiment
            mlflow.set_tracking_uri(before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Print nothing of what a run or a study says."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def tracked(
    experiment: AnyExperiment, config: TrainingConfig, models: list[str]
) -> Iterator[Result]:
    """Track a run, and one that is interrupted and resumed; note the model of the first."""
    name, client = experiment.name, MlflowClient()
    whole = silent_run(experiment, config)
    logged = client.get_run(whole.run_id)
    models += [f"models:/{each.model_id}" for each in logged.outputs.model_outputs]
    device, expected = logged.data.tags["device"], Hardware.choose(config).name
    yield Result(f"{name}: device of a tracked run", device, expected, device == expected)
    interrupted = silent_run(experiment, config, interrupt_second_epoch)
    resumed = silent_run(experiment, config.replace(resume=interrupted.run_id))
    difference = abs(resumed.metrics[LOSS] - whole.metrics[LOSS]) / whole.metrics[LOSS]
    what = f"{name}: tracked run resumed after an epoch, against not"
    yield within(what, difference, RESUMED_BOUND)


def interrupt_second_epoch(progress: Progress) -> None:
    """End training as Ctrl-C does, with a checkpoint of the first epoch."""
    if progress.epoch == 2:
        raise Interruption


def silent_run(
    experiment: AnyExperiment, config: TrainingConfig, *callbacks: Callback, read_test: bool = True
) -> TrackedRun:
    """Return a tracked run, of which nothing is printed; one that was interrupted, too."""
    with silence():
        try:
            return train_and_evaluate(
                experiment, config, callbacks=callbacks, read_test=read_test, quiet=True
            )
        except Interruption:
            return TrackedRun(mlflow.last_active_run().info.run_id, {})


def predictions(models: list[str]) -> Iterator[Result]:
    """Yield how many of the logged models predict in a process that sees no GPU."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    store = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, *models],
        env=os.environ | store | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    measured = done.stdout.strip() or (done.stderr.strip().splitlines() or ["no message"])[-1]
    aim = f"{len(models)}"
    yield Result("logged models that predict where no GPU is", measured, aim, measured == aim)


def utilisation(device: str, data: str, *, miniature: bool) -> Iterator[Result]:
    """Yield the share of time that the GPU computed, by MLflow, while the network trained."""
    cnn, variable = experiments.find("cnn"), "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
    settings: dict[str, Any] = {"data": data, "num_epochs": 40}
    if miniature:
        settings = {**cnn.config_class.tiny, "num_epochs": 6}
    os.environ[variable] = "0.1" if miniature else "1"  # seconds
    try:
        config = cnn.config_class(**settings, device=device)
        run_id = silent_run(cnn, config, read_test=False).run_id
    finally:
        del os.environ[variable]
    client, unit = MlflowClient(), "gpu_0" if device == "cuda" else "cpu"
    epochs = [each.timestamp for each in client.get_metric_history(run_id, "train/loss")]
    samples = [
        each.value
        for each in client.get_metric_history(run_id, f"system/{unit}_utilization_percentage")
        if min(epochs) <= each.timestamp <= max(epochs)
    ]
    measured = f"{statistics.median(samples):.0f} %" if samples else "not measured"
    yield Result(f"cnn: utilisation of {unit} while it trains, median, by MLflow", measured)


def studies(device: str, *, miniature: bool) -> Iterator[Result]:
    """Yield the time of a study with one worker, and with several that share the device."""
    first = forkserver.context().Process(target=os.getpid)
    forkserver.start_process(first)
    first.join()  # from now on no worker waits for the imports of others
    several, settings = 4, {"trials": 16, "set": (f"device={device}", "num_epochs=20")}
    if miniature:
        several, settings = 2, dict(StudyConfig.tiny)
    seconds = {}
    for workers in (1, several):
        settings |= {"experiment": "moe", "finalists": 0, "study_name": f"of-{workers}"}
        sharing: Any = {"workers": workers, "runs_per_gpu": workers}
        config = StudyConfig(**settings, **sharing)  # type: ignore[arg-type]
        began = time.perf_counter()
        with silence():
            states = [each.state.name for each in tune(config).study.get_trials()]
        seconds[workers] = time.perf_counter() - began
        what = f"moe: study of {config.trials} trials, {workers} at a time on one device: seconds"
        held = len(states) == config.trials and "FAIL" not in states
        yield Result(what, f"{seconds[workers]:.1f}", "no trial fails", held)
    ratio = seconds[1] / seconds[several]
    yield Result(f"moe: study, {several} at a time: as many times as fast", f"{ratio:.1f}")

"""MLflow: the only file that opens a run and writes to it."""

import contextlib
import logging
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import filelock
import mlflow
import numpy as np
import psutil
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from experiments.harness import export
from experiments.harness.checkpoint import Checkpoint
from experiments.harness.config import C, Configuration, TrainingConfig, construct
from experiments.harness.errors import UserError
from experiments.harness.signals import Terminated

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

# What MLflow says of its own doings would stand among the lines that are for the user.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

SECONDS_BETWEEN_CALLS = 1.0
CLOCK_STEP_SECONDS = 2.0
CHECKPOINT = "checkpoint/last.pt"
CONFIGURATION = "config.json"


class Run:
    """One MLflow run, as an experiment sees it."""

    def __init__(self, run_id: str, config: TrainingConfig):
        self.run_id = run_id
        self.checkpoint = _checkpoint(run_id, config.checkpoint_seconds)
        self._config = config
        self._last_epoch = _last_epoch(run_id) if config.resume else 0
        self._unsent: list[Metric] = []
        self._sent = time.monotonic()

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch, counted from 1; once only per epoch.

        Short epochs are sent together, about once a second: a call costs some 40 ms.
        """
        if epoch <= self._last_epoch:
            return
        self._last_epoch = epoch
        self._unsent += as_metrics(metrics, epoch)
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_CALLS:
            self.flush()

    def flush(self) -> None:
        """Send the epochs that were not sent yet."""
        for batch in in_batches(self._unsent):
            MlflowClient().log_batch(self.run_id, metrics=batch)
        self._unsent, self._sent = [], time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log numbers that belong to the whole run."""
        mlflow.log_metrics(dict(metrics), run_id=self.run_id)

    def log_series(self, name: str, values: Mapping[int, float]) -> None:
        """Log one metric over something that is no epoch, such as a seed or a number of experts."""
        for step, value in values.items():
            mlflow.log_metric(name, value, step=step, run_id=self.run_id)

    def log_figure(self, name: str, figure: Figure) -> None:
        """Log a picture as `figures/<name>.png`."""
        mlflow.log_figure(figure, f"figures/{name}.png")

    def log_animation(self, name: str, frames: "list[Image]", milliseconds: int) -> None:
        """Log a GIF as `figures/<name>.gif`; each frame stays for so many milliseconds."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.gif"
            # The last frame, which is what was learnt, stays for longer.
            durations = [milliseconds] * (len(frames) - 1) + [20 * milliseconds]
            first, *others = frames
            first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
            mlflow.log_artifact(str(path), "figures")

    def log_table(self, name: str, columns: Mapping[str, Iterable[Any]]) -> None:
        """Log named columns of equal length as a table, `tables/<name>.json`; once only."""
        path = f"tables/{name}.json"
        logged = MlflowClient().list_artifacts(self.run_id, "tables")
        if path not in {file.path for file in logged}:  # MLflow would add the same rows again
            content = {title: [_printable(v) for v in column] for title, column in columns.items()}
            mlflow.log_table(content, path, run_id=self.run_id)

    def log_dataset(
        self,
        name: str,
        split: str,
        features: np.ndarray,
        targets: np.ndarray,
        fingerprint: str | None = None,
    ) -> None:
        """Log what the run was trained on or judged by, and by which fingerprint to know it again.

        Without one, MLflow makes it of the first values.
        """
        from mlflow.data import from_numpy

        data = from_numpy(features, targets=targets, name=name, digest=fingerprint)
        mlflow.log_input(data, context=split)

    def log_model(
        self,
        model: "nn.Module",
        example: np.ndarray,
        varying: Sequence[int] = (0,),
        meaning: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Log the model as `model`, if the run has none yet; see `export.log_model`.

        With it goes what it was trained as, and what its inputs and outputs mean.
        """
        if model_of(self.run_id) is None:
            metadata = {
                "architecture": self._config.family,
                "entry_point": self._config.entry_point,
                "configuration": self._config.as_parameters(),
                **meaning,
            }
            export.log_model(model, example, varying, metadata)

    def log_spread(self, results: Mapping[int, Mapping[str, float]]) -> None:
        """Log mean and standard deviation of metrics over seeds, and each value with its seed."""
        for name in sorted(set.intersection(*(set(metrics) for metrics in results.values()))):
            values = {seed: metrics[name] for seed, metrics in results.items()}
            mean = statistics.fmean(values.values())
            self.log_metrics({f"{name}_mean": mean, f"{name}_std": spread(values.values())})
            self.log_series(f"seeds/{name}", values)

    def finished_children(self) -> dict[int, dict[str, float]]:
        """Return the metrics of this run's finished children, by seed."""
        children = self._children().items()
        return {s: run.data.metrics for s, run in children if run.info.status == "FINISHED"}

    def interrupted_children(self) -> dict[int, str]:
        """Return the ids of this run's children that have not finished, by seed."""
        children = self._children().items()
        return {seed: run.info.run_id for seed, run in children if run.info.status != "FINISHED"}

    def _children(self) -> dict[int, Any]:
        client = MlflowClient()
        experiment = client.get_run(self.run_id).info.experiment_id
        query = f"tags.mlflow.parentRunId = '{self.run_id}'"
        return {int(r.data.tags["seed"]): r for r in client.search_runs([experiment], query)}

    def describe(self, headline: str) -> None:
        """Set the description that the MLflow UI shows: the headline, and how to repeat it."""
        note = f"{headline}\n\n```\n{self._config.as_command()}\n```\n"
        MlflowClient().set_tag(self.run_id, "mlflow.note.content", note)
        print(f"{headline}\nRun {self.run_id}; `mlflow ui` shows its curves and pictures.")


def _printable(value: Any) -> Any:
    """Return text without what no text file holds, such as bytes of a strange file name."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def model_of(run_id: str) -> str | None:
    """Return the id of the model that a run has logged, and finished logging."""
    client = MlflowClient()
    for output in client.get_run(run_id).outputs.model_outputs:
        if client.get_logged_model(output.model_id).status == LoggedModelStatus.READY:
            return str(output.model_id)
    return None


def spread(values: Iterable[float]) -> float:
    """Return the sample standard deviation, and 0 for a single value."""
    values = list(values)
    return statistics.stdev(values) if len(values) > 1 else 0.0


def as_metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    """Return named values of one step as MLflow's entities."""
    now = round(1000 * time.time())
    return [Metric(name, value, now, step) for name, value in values.items()]


def in_batches(metrics: list[Metric], size: int = 1000) -> Iterator[list[Metric]]:
    """Cut metrics into as many as a server takes in one request."""
    for start in range(0, len(metrics), size):
        yield metrics[start : start + size]


@contextlib.contextmanager
def track(
    config: TrainingConfig,
    device_name: str,
    *,
    parent_id: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Run]:
    """Open the run that `config` asks for, and end it with the status it deserves.

    The run is a new one; or the one that `mlflow run` has made for this process; or, with
    `config.resume`, an earlier one. With `parent_id` it is a child of that run. It ends
    FINISHED; KILLED where the user interrupts it; FAILED on any other exception, with the reason
    in the tag `failure`. A new run that ends for a `UserError` is deleted: nothing was computed.
    """
    with deserved_end(delete_mistakes=not config.resume):
        active = _start(config, parent_id, name or _name(config, parent_id), tags)
        record(active, config.as_parameters(), _tags(config, device_name))
        run = Run(active.info.run_id, config)
        try:
            yield run
        except BaseException:
            with contextlib.suppress(MlflowException):
                run.flush()
            raise
        run.flush()


@contextlib.contextmanager
def track_command(
    config: Configuration, mlflow_experiment: str, *, delete_mistakes: bool = True
) -> Iterator[str]:
    """Open a run for a command that trains nothing itself, and yield its id; see `track`."""
    tags = {"entry_point": config.entry_point, **process_tags()}
    with deserved_end(delete_mistakes=delete_mistakes):
        with store_errors(), store_lock():
            choose_mlflow_experiment(mlflow_experiment)
            active = mlflow.start_run(tags=tags)
            mlflow.set_tag("mlflow.runName", config.as_name())
        record(active, config.as_parameters(), tags)
        yield active.info.run_id


@contextlib.contextmanager
def deserved_end(*, delete_mistakes: bool) -> Iterator[None]:
    """End the run that is started within with the status it deserves; see `track`."""
    inside_mlflow_run = "MLFLOW_RUN_ID" in os.environ
    outer = mlflow.active_run()
    try:
        yield
    except BaseException as error:
        active = mlflow.active_run()
        if active is not None and (outer is None or active.info.run_id != outer.info.run_id):
            interrupted = isinstance(error, KeyboardInterrupt | Terminated)
            mlflow.end_run("KILLED" if interrupted else "FAILED")
            mistake = isinstance(error, UserError)
            with contextlib.suppress(MlflowException):  # the error itself is what matters
                reason = f"{type(error).__name__}: {error}".split("\n")[0]
                MlflowClient().set_tag(active.info.run_id, "failure", reason)
                if mistake and delete_mistakes and not inside_mlflow_run:
                    MlflowClient().delete_run(active.info.run_id)
        raise
    mlflow.end_run("FINISHED")


def resumed(config: C) -> C:
    """Return the configuration of the run that `config.resume` names.

    A resumed run keeps its configuration; only the device and the time between checkpoints may
    be others. Another value on the command line that is neither the default nor what the run has
    is a mistake worth a word.

    Raises:
        UserError: no such run, a run of another experiment, one that has ended or still goes on,
            or a value that contradicts it.

    """
    run_id = config.resume
    try:
        with store_lock():
            run = MlflowClient().get_run(run_id)
        stored = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{CONFIGURATION}")
    except MlflowException as error:
        reason = error.message.split("\n")[0]
        raise UserError(f"resume={run_id}: no run of this suite has that id ({reason})") from None
    tags = run.data.tags
    if tags.get("entry_point") != config.entry_point:
        started = f"{tags.get('architecture')} (entry point {tags.get('entry_point')})"
        raise UserError(f"resume={run_id}: that run is of {started}, not of {config.entry_point}")
    if run.info.lifecycle_stage == "deleted":
        raise UserError(f"resume={run_id}: that run is deleted; restore it first")
    if run.info.status == "FINISHED":
        raise UserError(f"resume={run_id}: that run has finished; only interrupted ones go on")
    if run.info.status == "RUNNING" and process_lives(tags):
        raise UserError(f"resume={run_id}: process {tags['process_id']} still works on that run")
    for name, asked in config.changes().items():
        if name not in ("device", "resume", "checkpoint_seconds") and asked != stored.get(name):
            has = stored.get(name)
            raise UserError(f"{name}={asked}: run {run_id} has {has}, and resuming keeps it")
    return construct(type(config), stored | config.changes())


def process_lives(tags: Mapping[str, str]) -> bool:
    """Whether the process that wrote these tags of a run still exists on this machine."""
    if tags.get("host") != socket.gethostname():
        return False
    try:
        began = psutil.Process(int(tags["process_id"])).create_time()
        # The clock, by which it is measured, may have been set since.
        return abs(began - float(tags["process_started"])) < CLOCK_STEP_SECONDS
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def process_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that wrote these tags was one of this machine, and is no more."""
    return tags.get("host") == socket.gethostname() and not process_lives(tags)


def _name(config: TrainingConfig, parent_id: str | None) -> str:
    return config.as_name() if parent_id is None else f"seed {config.seed}"


def _start(
    config: TrainingConfig, parent_id: str | None, name: str, tags: Mapping[str, str]
) -> mlflow.ActiveRun:
    """Start the run: a new one, the one that `mlflow run` made, or the one to be resumed."""
    with store_errors(), store_lock():
        if config.resume:
            _checkpoint(config.resume, 0).load()  # a damaged one is found before the run is touched
            leave_wrapper(config.resume)
            # Whose it is now is said before it says RUNNING: nobody is to take it for abandoned.
            for key, value in process_tags().items():
                MlflowClient().set_tag(config.resume, key, value)
            return mlflow.start_run(config.resume, nested=True, log_system_metrics=True)
        choose_mlflow_experiment(config.family, parent_id)
        # The seed is how a parent finds its children, however early one was interrupted.
        active = mlflow.start_run(
            nested=parent_id is not None,
            parent_run_id=parent_id,
            log_system_metrics=True,
            tags={"seed": str(config.seed), **process_tags(), **tags},
        )
        mlflow.set_tag("mlflow.runName", name)  # also in place of the one that `mlflow run` drew
        return active


def leave_wrapper(run_id: str) -> None:
    """Leave a note in the run that `mlflow run` has made, where another one goes on instead."""
    wrapper = os.environ.pop("MLFLOW_RUN_ID", None)
    if wrapper is not None:
        note = f"Went on with run {run_id}; see there."
        MlflowClient().set_tag(wrapper, "mlflow.note.content", note)


def choose_mlflow_experiment(architecture: str, parent_id: str | None = None) -> None:
    """Let new runs go beside their parent, or where the user wants them, or by architecture."""
    if parent_id is not None:
        mlflow.set_experiment(experiment_id=MlflowClient().get_run(parent_id).info.experiment_id)
    elif "MLFLOW_RUN_ID" not in os.environ:
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", architecture))


def record(
    active: mlflow.ActiveRun, parameters: Mapping[str, Any], tags: Mapping[str, Any]
) -> None:
    """Log what is known of a run before it begins."""
    # `mlflow run` has logged the values it was given, as text: 1e-3 is not to be changed to 0.001.
    known = active.data.params
    mlflow.log_params({k: v for k, v in parameters.items() if k not in known})
    mlflow.log_dict(dict(parameters), CONFIGURATION)
    origin = {k: v for k, v in git_tags().items() if k not in active.data.tags}
    mlflow.set_tags({**tags, **process_tags(), **origin})
    if "failure" in active.data.tags:
        mlflow.delete_tag("failure")


def _tags(config: TrainingConfig, device_name: str) -> dict[str, str]:
    return {
        "architecture": config.family,
        "entry_point": config.entry_point,
        "seed": str(config.seed),
        "device": device_name,
    }


def process_tags() -> dict[str, str]:
    """Return what tells this process from any other, as `process_lives` reads it."""
    return {
        "host": socket.gethostname(),
        "process_id": str(os.getpid()),
        "process_started": f"{psutil.Process().create_time():.2f}",
    }


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Say in one line that the tracking store cannot be used.

    Raises:
        UserError: in place of MLflow's own error.

    """
    try:
        yield
    except MlflowException as error:
        reason = error.message.split("\n")[0]
        uri = mlflow.get_tracking_uri()
        raise UserError(f"MLFLOW_TRACKING_URI={uri}: the store cannot be used ({reason})") from None


@contextlib.contextmanager
def store_lock() -> Iterator[None]:
    """Let one process at a time open the store: two that create its tables at once break it."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{database}.lock"):
        MlflowClient().search_experiments(max_results=1)  # creates the tables
        yield


def _checkpoint(run_id: str, seconds: float) -> Checkpoint:
    """Return the run's checkpoint: among its artifacts, written in place where they are local."""
    uri = urlparse(MlflowClient().get_run(run_id).info.artifact_uri)
    if uri.scheme in ("", "file"):
        return Checkpoint(Path(url2pathname(uri.path)) / CHECKPOINT, seconds)
    temporary, folder = tempfile.mkdtemp(prefix="checkpoint-"), str(Path(CHECKPOINT).parent)
    if any(file.path == CHECKPOINT for file in MlflowClient().list_artifacts(run_id, folder)):
        mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=CHECKPOINT, dst_path=temporary
        )
    checkpoint = Checkpoint(
        Path(temporary) / CHECKPOINT,
        seconds,
        lambda file: MlflowClient().log_artifact(run_id, str(file), folder),
    )
    weakref.finalize(checkpoint, shutil.rmtree, temporary, ignore_errors=True)
    return checkpoint


def _last_epoch(run_id: str) -> int:
    history = MlflowClient().get_metric_history(run_id, "val/loss")
    return max((metric.step for metric in history), default=0)


def git_tags() -> dict[str, str]:
    """Return commit and state of the project's working tree, where it is one."""

    def git(*arguments: str) -> str:
        root = Path(__file__).parent
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": str(bool(git("status", "-s")))}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": "unknown"}

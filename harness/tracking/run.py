"""One MLflow run: what an experiment's training, evaluation and figures are written to."""

import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelStatus, Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.experiment import Animation, ImagesByEpoch, ModelExport, Splits
from harness.fingerprints import DataSet
from harness.summary import summary
from harness.tracking import export
from harness.tracking.locations import to_path
from harness.tracking.races import again_after_race
from harness.tracking.view import IMAGES, shown_at
from harness.training.checkpoint import Checkpoint
from harness.training.config import TrainingConfig
from harness.training.history import History
from harness.wording import code_block

SECONDS_BETWEEN_CALLS = 1.0
CHECKPOINT = "checkpoint/last.pt"
LOCAL_COPY = "checkpoint-of-run-"
"""What the temporary folder is called that holds the checkpoint of a run on a server."""
HISTORY = "history.pt"
OF_EPOCHS = "train/loss"
"""A metric that every epoch has."""
CONFIGURATION = "config.json"
SUMMARY = "data/summary.txt"
MAX_IMAGES = 8
"""Frames of an animation that are logged as images: each takes some 40 ms and 35 kB."""


class Run:
    """One MLflow run, as the harness writes to it."""

    def __init__(self, run_id: str, config: TrainingConfig):
        self.run_id = run_id
        self.checkpoint = checkpoint_of(run_id, config.checkpoint_seconds)
        self._config = config
        logged = MlflowClient().get_metric_history(run_id, OF_EPOCHS) if config.resume else []
        self._last_epoch = max((metric.step for metric in logged), default=0)
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
        """Log numbers that belong to the whole run; once only, however often it is resumed."""
        logged = MlflowClient().get_run(self.run_id).data.metrics
        new = {name: value for name, value in metrics.items() if name not in logged}
        mlflow.log_metrics(new, run_id=self.run_id)

    def log_series(self, name: str, values: Mapping[int, float]) -> None:
        """Log one metric over something that is no epoch, such as a seed; each step once only."""
        logged = {m.step for m in MlflowClient().get_metric_history(self.run_id, name)}
        new = {step: value for step, value in values.items() if step not in logged}
        for step, value in new.items():
            mlflow.log_metric(name, value, step=step, run_id=self.run_id)

    def log_figure(self, name: str, figure: Figure | Animation) -> None:
        """Log a figure as `figures/<name>.png`, or an animation as `figures/<name>.gif`."""
        if isinstance(figure, Figure):
            mlflow.log_figure(figure, f"figures/{name}.png")
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.gif"
            first, *others = figure.frames
            # The last frame, which shows the trained model, stays for longer.
            durations = [figure.milliseconds] * len(others) + [20 * figure.milliseconds]
            first.save(path, save_all=True, append_images=others, duration=durations, loop=0)
            mlflow.log_artifact(str(path), "figures")
        if figure.epochs:
            shown = np.linspace(0, len(figure.frames) - 1, MAX_IMAGES).round().astype(int)
            self.log_images({figure.epochs[i]: figure.frames[i] for i in shown})

    def log_images(self, images: ImagesByEpoch) -> None:
        """Log images of some epochs, over which the MLflow UI has a slider; once only."""
        client = MlflowClient()
        if images and not client.list_artifacts(self.run_id, "images"):
            # The slider begins at 0: without an image there, nothing would be seen at first.
            for epoch, image in {0: next(iter(images.values())), **images}.items():
                client.log_image(self.run_id, image, key=IMAGES, step=epoch, synchronous=True)

    def log_table(self, name: str, columns: Mapping[str, Iterable[Any]]) -> None:
        """Log named columns of equal length as a table, `tables/<name>.json`; once only."""
        path = f"tables/{name}.json"
        logged = MlflowClient().list_artifacts(self.run_id, "tables")
        if path not in {file.path for file in logged}:  # MLflow would add the same rows again
            content = {title: [printable(v) for v in column] for title, column in columns.items()}
            mlflow.log_table(content, path, run_id=self.run_id)

    def log_data(self, data: Splits[Any]) -> None:
        """Log which data set this is, its summary, and what was left out of it."""
        client = MlflowClient()
        client.log_batch(self.run_id, tags=[RunTag(*tag) for tag in data.data_set.tags.items()])
        client.log_text(self.run_id, f"{summary(data)}\n", SUMMARY)
        if data.skipped:
            names, reasons = zip(*data.skipped, strict=True)
            self.log_table("skipped", {"name": names, "reason": reasons})

    def log_dataset(
        self, name: str, split: str, arrays: tuple[np.ndarray, np.ndarray], digest: str
    ) -> None:
        """Log inputs and targets of a split, with a digest of its content."""
        from mlflow.data import from_numpy

        inputs, targets = arrays
        data = from_numpy(inputs, targets=targets, name=name, digest=digest)
        again_after_race(lambda: mlflow.log_input(data, context=split))

    def log_model(self, exported: ModelExport) -> None:
        """Log the model, if the run has none yet, with what it was trained as."""
        if model_of(self.run_id) is None:
            export.log_model(exported, self._config)

    def log_history(self, history: History) -> None:
        """Log what was measured in every epoch, so that figures can be drawn of it again."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / HISTORY
            torch.save(vars(history), path)
            mlflow.log_artifact(str(path))

    def load_history(self) -> History:
        """Return what `log_history` has logged; a `UserError` where the run has none."""
        return history_of(self.run_id)

    def describe(self, headline: str) -> None:
        """Set the description that the MLflow UI shows: the headline, and how to repeat it."""
        note = f"{headline}\n\n{code_block(self._config.as_command())}\n"
        MlflowClient().set_tag(self.run_id, "mlflow.note.content", note)
        print(f"{headline}\nRun {self.run_id}; {shown_at(self.run_id)}")


def history_of(run_id: str) -> History:
    """Return what was measured in every epoch of a run; a `UserError` where that is not logged."""
    try:
        path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=HISTORY)
    except (MlflowException, OSError):
        raise UserError(f"run {run_id} has no {HISTORY}: train it again") from None
    return History(**torch.load(path, weights_only=True))


def child_run(parent_id: str, seed: int) -> mlflow.entities.Run | None:
    """Return the latest child of a run with a seed that can be resumed or is done, if any."""
    client = MlflowClient()
    query = f"tags.mlflow.parentRunId = '{parent_id}' and tags.seed = '{seed}'"
    experiment = client.get_run(parent_id).info.experiment_id
    for run in client.search_runs([experiment], query, order_by=["attributes.start_time DESC"]):
        files = client.list_artifacts(run.info.run_id)
        if CONFIGURATION in {file.path for file in files}:  # else it had hardly begun
            return run
    return None


def find_finished(run_id: str, parameter: str) -> mlflow.entities.Run:
    """Return a run that has finished, or raise a `UserError` that names the parameter."""
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(f"{parameter}={run_id}: no run has that id") from None
    if run.info.lifecycle_stage == "deleted":
        raise UserError(f"{parameter}={run_id}: that run is deleted")
    if run.info.status != "FINISHED":
        raise UserError(f"{parameter}={run_id}: that run is {run.info.status}, not FINISHED")
    return run


def data_set_of(run: mlflow.entities.Run) -> DataSet:
    """Return the data set of a run; of runs of earlier versions only the name, or nothing."""
    if "data_fingerprint" in run.data.tags:
        return DataSet(run.data.tags["data"], run.data.tags["data_fingerprint"])
    logged = {each.dataset.name for each in run.inputs.dataset_inputs}
    return DataSet(" ".join(sorted(logged)), fingerprint="")


def require_same_data(run_id: str, data: DataSet) -> None:
    """Raise a `UserError` if a run is known to have been trained on other data than these."""
    before = data_set_of(MlflowClient().get_run(run_id))
    if data.differs(before):
        raise UserError(f"run {run_id}: was trained on {before}, and the data are {data} now")


def printable(value: Any) -> Any:
    """Return text without what no text file holds, such as bytes of a strange file name."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def model_of(run_id: str) -> str | None:
    """Return the id of the model that a run has logged, and finished logging."""
    client = MlflowClient()
    experiments = [client.get_run(run_id).info.experiment_id]
    # Not by the outputs of the run, which also name models that the doctor has deleted.
    models = client.search_logged_models(experiments, f"source_run_id = '{run_id}'")
    ready = [model.model_id for model in models if model.status == LoggedModelStatus.READY]
    return ready[0] if ready else None


def as_metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    """Return named values of one step as MLflow's entities."""
    now = round(1000 * time.time())
    return [Metric(name, value, now, step) for name, value in values.items()]


def in_batches(metrics: list[Metric], size: int = 1000) -> Iterator[list[Metric]]:
    """Cut metrics into as many as a server takes in one request."""
    for start in range(0, len(metrics), size):
        yield metrics[start : start + size]


def checkpoint_of(run_id: str, seconds: float) -> Checkpoint:
    """Return the run's checkpoint: among its artifacts, written in place where they are local."""
    client = MlflowClient()
    artifacts = to_path(client.get_run(run_id).info.artifact_uri)
    if artifacts:
        return Checkpoint(artifacts / CHECKPOINT, seconds)
    temporary = tempfile.mkdtemp(prefix=f"{LOCAL_COPY}{run_id}-")
    folder = str(Path(CHECKPOINT).parent)
    if any(file.path == CHECKPOINT for file in client.list_artifacts(run_id, folder)):
        client.download_artifacts(run_id, CHECKPOINT, temporary)

    def send(file: Path) -> None:
        MlflowClient().log_artifact(run_id, str(file), folder)

    checkpoint = Checkpoint(Path(temporary) / CHECKPOINT, seconds, after_save=send)
    weakref.finalize(checkpoint, shutil.rmtree, temporary, ignore_errors=True)
    return checkpoint

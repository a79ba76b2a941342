"""One MLflow run: what an experiment's training, evaluation and figures are written to."""

import shutil
import statistics
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness.config import TrainingConfig
from harness.errors import UserError
from harness.evaluation import sample_std
from harness.experiment import Animation, ModelExport
from harness.tracking import export
from harness.training.checkpoint import Checkpoint, State
from harness.training.history import History
from harness.training.loop import Recorder

SECONDS_BETWEEN_CALLS = 1.0
CHECKPOINT = "checkpoint/last.pt"
HISTORY = "history.pt"
CONFIGURATION = "config.json"


class Run(Recorder):
    """One MLflow run, as the harness writes to it."""

    def __init__(self, run_id: str, config: TrainingConfig):
        self.run_id = run_id
        self._checkpoint = checkpoint_of(run_id, config.checkpoint_seconds)
        self._config = config
        self._last_epoch = _last_epoch(run_id) if config.resume else 0
        self._unsent: list[Metric] = []
        self._sent = time.monotonic()

    def load_checkpoint(self) -> State | None:  # noqa: D102
        return self._checkpoint.load()

    def offer_checkpoint(self, state: State) -> None:  # noqa: D102
        self._checkpoint.offer(state)

    def flush_checkpoint(self) -> None:  # noqa: D102
        self._checkpoint.flush()

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

    def log_figure(self, name: str, figure: Figure | Animation) -> None:
        """Log a figure as `figures/<name>.png`, or an animation as `figures/<name>.gif`."""
        if isinstance(figure, Figure):
            mlflow.log_figure(figure, f"figures/{name}.png")
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.gif"
            # The last frame, which shows the trained model, stays for longer.
            first, *others = figure.frames
            durations = [figure.milliseconds] * len(others) + [20 * figure.milliseconds]
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
        """Log the data of a split, with the fingerprint that identifies it.

        Without one, MLflow computes it from the first values.
        """
        from mlflow.data import from_numpy

        data = from_numpy(features, targets=targets, name=name, digest=fingerprint)
        mlflow.log_input(data, context=split)

    def log_model(self, exported: ModelExport) -> None:
        """Log the model as `model`, if the run has none yet; see `export.log_model`.

        Its metadata say what it was trained as, and what its inputs and outputs stand for.
        """
        if model_of(self.run_id) is None:
            metadata = {
                "architecture": self._config.family,
                "entry_point": self._config.entry_point,
                "configuration": self._config.as_parameters(),
                "weights_prefix": exported.weights_prefix,
                **exported.metadata,
            }
            export.log_model(exported, metadata)

    def log_history(self, history: History) -> None:
        """Log what was measured in every epoch, so that figures can be drawn of it again."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / HISTORY
            torch.save(history.state_dict(), path)
            mlflow.log_artifact(str(path))

    def load_history(self) -> History:
        """Return what `log_history` has logged.

        Raises:
            UserError: the run has none.

        """
        try:
            path = mlflow.artifacts.download_artifacts(run_id=self.run_id, artifact_path=HISTORY)
        except (MlflowException, OSError):
            raise UserError(f"run {self.run_id} has no {HISTORY}: train it again") from None
        return History(**torch.load(path, weights_only=True))

    def log_seeds(self, results: Mapping[int, Mapping[str, float]]) -> None:
        """Log mean and standard deviation of metrics over seeds, and each value with its seed."""
        for name in sorted(set.intersection(*(set(metrics) for metrics in results.values()))):
            values = {seed: metrics[name] for seed, metrics in results.items()}
            mean = statistics.fmean(values.values())
            self.log_metrics({f"{name}_mean": mean, f"{name}_std": sample_std(values.values())})
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

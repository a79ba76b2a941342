"""Run the cases, and record what they logged to MLflow."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from benchmarks.record_metrics.cases import CASES, Step, write_inputs

ROOT = Path(__file__).resolve().parents[2]
STEP_TIMEOUT_SECONDS = 300

TIMES = re.compile(r"seconds|samples_per_second|^system/|(^|[/_])time([/_]|$)")
"""Metrics that measure the machine rather than the model; not recorded."""

SERIES = ("by_num_experts/", "seeds/")
"""Beginnings of metrics whose steps are not epochs; every step of them is recorded."""

TAGS = ("seed", "optuna.trial_number", "optuna.trial_state", "tuning.stage")
"""Tags of a run that are recorded."""


class Recorder:
    """Runs cases against a tracking store in a temporary folder, and reads what they logged.

    Args:
        folder: temporary folder for the store, the artifacts and the inputs.

    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._uri = f"sqlite:///{folder}/mlflow.db"
        self._client = MlflowClient(self._uri, registry_uri=self._uri)
        self._lock = threading.Lock()
        write_inputs(folder)

    def record(self, name: str, steps: Sequence[Step]) -> dict[str, Any]:
        """Run a case, and return what is recorded of it."""
        began = time.monotonic()
        artifacts = (self._folder / "artifacts" / name).as_uri()
        with self._lock:
            experiment_id = self._client.create_experiment(name, artifact_location=artifacts)
        recorded: dict[str, Any] = {}
        output: list[str] = []
        for step in steps:
            result = self._run(name, self._command(name, step, experiment_id))
            if step.keeps_output:
                output += self._anonymous(name, experiment_id, result.stdout).splitlines()
            if result.returncode:
                lines = result.stderr.strip().splitlines() or ["(nothing on stderr)"]
                recorded["error"] = f"exit status {result.returncode}: {lines[-1]}"
                break
        with self._lock:
            recorded["runs"] = dict(self._runs(experiment_id))
            if any(step.module == "tuning" for step in steps):
                recorded["registry"] = self._registry()
        recorded["output"] = output
        recorded["case_seconds"] = round(time.monotonic() - began, 1)
        return recorded

    def _command(self, name: str, step: Step, experiment_id: str) -> list[str]:
        values = {"tmp": str(self._folder), "name": name}
        words = [*step.words, *map(str, step.settings.values())]
        if any("{run}" in word for word in words):
            values["run"] = self._first_run(experiment_id)
        if any("{photo}" in word for word in words):
            photographs = sorted((self._folder / "photographs").rglob("*.jpg"))
            values["photo"] = str(photographs[0]) if photographs else "missing.jpg"
        command = [sys.executable, "-m", step.module]
        command += [_filled(word, values) for word in step.words]
        for parameter, value in step.settings.items():
            several = value if isinstance(value, tuple) else (str(value),)
            command.append(f"--{parameter.replace('_', '-')}")
            command += [_filled(text, values) for text in several]
        return command

    def _run(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("PYTHONWARNINGS", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
        }
        environment |= {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "MLFLOW_TRACKING_URI": self._uri,
            "MLFLOW_EXPERIMENT_NAME": name,
        }
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a timeout ends a study's workers, too
        )
        try:
            out, err = process.communicate(timeout=STEP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"\ntimed out after {STEP_TIMEOUT_SECONDS} s"
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def _anonymous(self, name: str, experiment_id: str, text: str) -> str:
        """Return output without what differs from recording to recording."""
        text = text.replace(str(self._folder), "{tmp}")
        run_id = self._first_run(experiment_id)
        return text.replace(run_id, "{run}") if run_id else text

    def _first_run(self, experiment_id: str) -> str:
        with self._lock:
            found = self._client.search_runs(
                [experiment_id], order_by=["attributes.start_time ASC"], max_results=1
            )
        return str(found[0].info.run_id) if found else ""

    def _runs(self, experiment_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield a label for each run of a case, such as "run 1, child 2", and its record."""
        found = list(
            self._client.search_runs(
                [experiment_id], order_by=["attributes.start_time ASC"], max_results=1000
            )
        )

        def children(parent_id: str | None, label: str) -> Iterator[tuple[str, dict[str, Any]]]:
            own = [r for r in found if r.data.tags.get("mlflow.parentRunId") == parent_id]
            for number, run in enumerate(own, start=1):
                yield f"{label} {number}", self._read(run)
                yield from children(run.info.run_id, f"{label} {number}, child")

        yield from children(None, "run")

    def _read(self, run: Any) -> dict[str, Any]:
        run_id = run.info.run_id
        metrics: dict[str, float] = {}
        for name, value in sorted(run.data.metrics.items()):
            if TIMES.search(name):
                continue
            if name.startswith(SERIES):
                for point in self._client.get_metric_history(run_id, name):
                    metrics[f"{name}@{point.step}"] = point.value
            else:
                metrics[name] = value
        losses = self._client.get_metric_history(run_id, "val/loss")
        return {
            "name": run.data.tags.get("mlflow.runName", ""),
            "status": run.info.status,
            "last_epoch": max((point.step for point in losses), default=0),
            "metrics": metrics,
            "artifacts": sorted(self._artifacts(run_id)),
            "tags": {tag: run.data.tags[tag] for tag in TAGS if tag in run.data.tags},
        }

    def _artifacts(self, run_id: str, path: str | None = None) -> Iterator[str]:
        for file in self._client.list_artifacts(run_id, path):
            if not file.is_dir:
                yield file.path
            elif file.path.startswith(("figures", "tables")):
                yield from self._artifacts(run_id, file.path)

    def _registry(self) -> dict[str, dict[str, str]]:
        """Return what registered versions are worth, by name and alias."""
        recorded = {}
        for model in self._client.search_registered_models():
            for alias, number in sorted(model.aliases.items()):
                tags = self._client.get_model_version(model.name, number).tags
                recorded[f"{model.name}@{alias}"] = {
                    tag: value
                    for tag, value in sorted(tags.items())
                    if tag.startswith(("test/", "metric", "data_fingerprint"))
                }
        return recorded


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def record(path: Path, names: Sequence[str], jobs: int) -> int:
    """Record cases into a file; return 1 if one of them failed, and else 0."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    began = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        recorder = Recorder(Path(temporary).resolve())
        with ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(recorder.record, name, CASES[name]): name for name in names}
            for future in as_completed(futures):
                name = futures[future]
                results[name] = result = future.result()
                number = sum(len(run["metrics"]) for run in result["runs"].values())
                summary = result.get("error") or f"{number} metrics, {len(result['runs'])} runs"
                print(
                    f"[{len(results)}/{len(names)}] {name}: {summary}, {result['case_seconds']} s",
                    flush=True,
                )
                ordered = {each: results[each] for each in names if each in results}
                path.write_text(json.dumps(ordered, indent=1) + "\n")
    failed = [name for name in names if "error" in results[name]]
    print(
        f"{len(names)} cases in {time.monotonic() - began:.0f} s; failed: "
        f"{', '.join(failed) or 'none'}"
    )
    return int(bool(failed))

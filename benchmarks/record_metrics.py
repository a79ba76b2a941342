"""Record the metrics of a short run of every entry point, and compare two recordings.

    python -m benchmarks.record_metrics OUT.json                  record all cases
    python -m benchmarks.record_metrics OUT.json --only moe tune  record some of them
    python -m benchmarks.record_metrics --compare OLD.json NEW.json

On a CPU a seed gives the same numbers to the last bit, so a change to the code that is meant to
change no result can be checked: record before and after, and compare. Both recordings have to be
made on the same machine with the same versions of the libraries. Each case is run from the command
line in processes of its own, with one thread; --jobs 2 runs two cases at a time.
"""

import argparse
import json
import logging
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

ROOT = Path(__file__).resolve().parent.parent
STEP_TIMEOUT_SECONDS = 300

Value = str | int | float | bool | tuple[str, ...]

RENAMED: dict[str, str] = {
    "data=drawn": "synthetic",
    "colour": "color_jitter",
    "stretch": "crop_max_aspect_ratio",
    "stretch=0.16": "1.1735108709918103",  # exp(0.16)
    "first_view": "initial_resolution",
    "last_view": "final_resolution",
    "weight_average_decay": "ema_decay",
    "endless": "resample_each_epoch",
    "wait": "blank_length",
    "first_wait": "initial_blank_length",
}
"""Modules, parameters and values that have a new name: {old name: new name}.

Applied to the table of cases under `--names new`, which is the default. The most specific key
counts: "rnn.delay", a parameter of one entry point; "task=copy", a value of a parameter, for which
the new value stands alone ("delayed_copy"); "delay", a parameter of all of them; for modules the
whole name, such as "experiments.rnn". An empty new name leaves the parameter out.
"""

RENAMED_RESULTS: dict[str, str] = {
    "figures/share_by_class.png": "figures/expert_usage_by_class.png",
    "figures/mistakes.png": "figures/misclassified.png",
    "figures/uncertain.png": "figures/least_confident.png",
    "figures/activations_right.png": "figures/activations_correct.png",
    "figures/activations_wrong.png": "figures/activations_incorrect.png",
    "figures/written.png": "figures/generated_text.png",
    "figures/while_reading.png": "figures/prediction_by_step.png",
    "tables/written.json": "tables/generated_text.json",
    "tables/test_answers.json": "tables/test_predictions.json",
    "figures/answers.png": "figures/predictions.png",
    "trials/put_back": "trials/requeued",
}
"""Metrics, artifacts and tags that have a new name, applied to the old recording in --compare."""

NOT_DETERMINISTIC: tuple[str, ...] = ()
"""Regular expressions of metrics that differ between two runs of the same code; not compared.

None is known: two recordings of the same code have been identical in every case.
"""

TIMES = re.compile(r"seconds|samples_per_second|^system/|(^|[/_])time([/_]|$)")
"""Metrics that measure the machine rather than the model; not recorded."""

SERIES = ("by_num_experts/", "seeds/")
"""Beginnings of metrics whose steps are not epochs; every step of them is recorded."""

TAGS = ("seed", "optuna.trial_number", "optuna.trial_state", "tuning.stage")
"""Tags of a run that are recorded."""


@dataclass(frozen=True)
class Step:
    """One command of a case.

    In values, {tmp} is the recording's temporary folder, {run} the id of the case's first run,
    {name} the case's name, and {photo} the first of the drawn photographs.
    """

    module: str
    """What `python -m` runs, by its old name."""
    settings: Mapping[str, Value] = field(default_factory=dict)
    """Parameters by their old names."""
    words: tuple[str, ...] = ()
    """Positional arguments, which come first."""
    keeps_output: bool = False
    """Record the standard output."""


MOE: Mapping[str, Value] = {
    "num_epochs": 2,
    "num_train": 200,
    "num_validation": 100,
    "num_test": 100,
    "num_experts": 2,
    "restarts": 2,
}
CNN: Mapping[str, Value] = {
    "data": "drawn",
    "data_dir": "{tmp}/photographs",
    "image_size": 32,
    "width": 4,
    "num_epochs": 2,
    "batch_size": 100,
    "stretch": 0.16,
}
RNN: Mapping[str, Value] = {
    "num_epochs": 2,
    "batch_size": 20,
    "hidden_size": 8,
    "num_train": 100,
    "num_validation": 40,
    "num_test": 40,
}
SEQ: Mapping[str, Value] = {"num_epochs": 2, "batch_size": 20}
WIDTH: Mapping[str, Value] = {"width": 8}
GENERATED: Mapping[str, Value] = {"num_train": 100, "num_validation": 40, "num_test": 60}
ORDER: Mapping[str, Value] = {"level": "easy", **GENERATED}


def moe(**settings: Value) -> Step:
    """Return a run of the mixture of experts."""
    return Step("experiments.moe", {**MOE, **settings})


def cnn(**settings: Value) -> Step:
    """Return a run of the convolutional network."""
    return Step("experiments.cnn", {**CNN, **settings})


def rnn(**settings: Value) -> Step:
    """Return a run of the recurrent network."""
    return Step("experiments.rnn", {**RNN, **settings})


def seq(**settings: Value) -> Step:
    """Return a run of sequence classification."""
    matched = {} if "match_parameters" in settings else WIDTH
    return Step("experiments.seq_classification", {**SEQ, **matched, **settings})


def predict(*inputs: str, **settings: Value) -> Step:
    """Return a question to the model of the case's first run."""
    words = ("runs:/{run}/model", *inputs)
    return Step("experiments.predict", {"json": True, **settings}, words, keeps_output=True)


CASES: Mapping[str, tuple[Step, ...]] = {
    # The longest one first: with two jobs, it does not run alone at the end.
    "tune": (
        Step(
            "tuning",
            {
                "trials": 4,
                "workers": 1,
                "finalists": 2,
                "final_seeds": 2,
                "storage": "{tmp}/optuna.journal",
                "study_name": "recorded",
                "set": (
                    "num_epochs=3",
                    "num_train=200",
                    "num_validation=100",
                    "num_test=100",
                    "restarts=2",
                ),
            },
            words=("moe",),
        ),
    ),
    "data": (
        Step(
            "experiments.data",
            {"data": "drawn", "data_dir": "{tmp}/photographs", "image_size": 32},
            keeps_output=True,
        ),
    ),
    # Mixture of experts: routing, losses, data sets, learning-rate schedules.
    "moe": (moe(), predict("0.5,-1.2", "3,2")),
    "moe_seeds": (Step("experiments.moe", {"num_epochs": 3, "seeds": 2}),),
    "moe_logits_cosine": (moe(mixing="logits", lr_schedule="cosine", lr_warmup_fraction=0.2),),
    "moe_top_k_constant": (
        moe(
            data="circles",
            num_experts=4,
            top_k=2,
            routing_noise=0.5,
            bias_update_rate=0.01,
            balance_loss_weight=0.01,
            z_loss_weight=0.001,
            lr_schedule="constant",
        ),
    ),
    "moe_competitive_exponential": (
        moe(
            data="moons",
            mixing="logits",
            loss="competitive",
            lr_schedule="exponential",
            weight_decay=0.01,
        ),
    ),
    "moe_gate_hidden_step": (
        moe(
            data="spirals",
            gate_hidden=4,
            gate_temperature=5.0,
            lr_schedule="step",
            lr_decay_epochs=1,
        ),
    ),
    "moe_plateau": (
        moe(
            data="checkerboard",
            num_epochs=6,
            learning_rate=1.0,
            lr_schedule="plateau",
            lr_decay_epochs=1,
        ),
    ),
    "moe_plateau_warmup": (
        moe(
            num_epochs=6,
            learning_rate=1.0,
            lr_schedule="plateau",
            lr_decay_epochs=1,
            lr_warmup_fraction=0.3,
            weight_average_decay=0.5,
            animation=False,
        ),
    ),
    "moe_early_stopping": (
        moe(
            num_epochs=40,
            learning_rate=1.0,
            lr_schedule="constant",
            gradient_clip_norm=1.0,
            early_stopping_epochs=2,
        ),
    ),
    "moe_extended": (Step("experiments.moe_extended", {**MOE, "num_experts": 3}),),
    # Convolutional networks: architectures, optimisers, mixing of photographs.
    "cnn_residual_muon": (cnn(weight_average_decay=0.9), predict("{photo}")),
    "cnn_plain_sgd": (
        cnn(
            architecture="plain",
            optimizer="sgd",
            learning_rate=0.05,
            mixup_alpha=0.0,
            weight_average_decay=0.0,
            blur_sigma=1.0,
            depth=2,
        ),
    ),
    "cnn_separable_adamw": (
        cnn(
            architecture="separable",
            num_stages=3,
            optimizer="adamw",
            flip_test_time_augmentation=False,
        ),
    ),
    "cnn_mixup_cutmix": (
        cnn(architecture="plain", mixup_alpha=0.4, cutmix_alpha=1.0, label_smoothing=0.1),
    ),
    # Recurrent networks: tasks, cells, initialisations.
    "rnn_echo_gru_orthogonal": (rnn(), predict("hello world")),
    "rnn_echo_fixed_mingru_default": (
        rnn(
            endless=False,
            cell="mingru",
            initialisation="default",
            optimizer="sgd",
            num_layers=2,
            embedding_size=4,
            dropout_rate=0.2,
            min_length=10,
        ),
    ),
    "rnn_variable_echo_rnn_identity": (
        rnn(task="variable_echo", cell="rnn", initialisation="identity", optimizer="muon"),
    ),
    "rnn_copy_lstm_chrono": (
        rnn(task="copy", cell="lstm", initialisation="chrono", wait=20, num_epochs=3),
    ),
    "rnn_text": (
        Step(
            "experiments.rnn_text",
            {
                "num_epochs": 2,
                "batch_size": 20,
                "hidden_size": 8,
                "text": "{tmp}/text.txt",
                "embedding_size": 4,
                "length": 32,
            },
        ),
    ),
    "rnn_cells": (Step("experiments.rnn_cells", {**RNN, "seeds_of_each": 2}),),
    # Sequence classification: tasks, encoders, poolings.
    "seq_order_2_gru_last": (seq(**ORDER, pooling="last"), predict("BacXbdcYaE")),
    # Long enough to solve the task, so that the sequences that took are recorded, too.
    "seq_order_2_solved": (
        Step("experiments.seq_classification", {"level": "easy", "num_epochs": 6, "num_test": 60}),
    ),
    "seq_order_3_lstm_mean": (
        seq(**ORDER, num_marks=3, encoder="lstm", pooling="mean", num_layers=2),
    ),
    "seq_adding_rnn_max": (
        seq(**GENERATED, task="adding", length=20, encoder="rnn", pooling="max", optimizer="muon"),
    ),
    "seq_digits_rows_mingru_attention": (
        seq(task="digits", encoder="mingru", pooling="attention", distortion=0.7),
    ),
    "seq_digits_pixels_tcn": (
        seq(
            task="digits",
            order="pixels",
            shuffled=True,
            encoder="tcn",
            pooling="max",
            num_layers=2,
            match_parameters=500,
            num_epochs=1,
        ),
    ),
    "seq_japanese_vowels_fcn": (
        seq(
            task="japanese_vowels",
            encoder="fcn",
            pooling="mean",
            num_layers=3,
            dropout_rate=0.3,
            noise=0.3,
            offset=0.5,
            optimizer="sgd",
            weight_average_decay=0.9,
        ),
    ),
    "seq_csv_transformer": (
        seq(data="{tmp}/sequences.csv", encoder="transformer", pooling="attention"),
    ),
    "seq_encoders": (
        Step(
            "experiments.seq_encoders",
            {**SEQ, **ORDER, "match_parameters": 600, "seeds_of_each": 2},
        ),
    ),
    # Every architecture, compared; and the comparison as a command of its own.
    "main": (
        Step("experiments.main", {"only": ("moe", "rnn", "seq_classification"), "num_epochs": 1}),
        Step("experiments.compare", {"experiment": "{name}", "group_by": "architecture"}),
    ),
}

VOCABULARY = (
    "the a one some every old new small great river stone garden letter winter summer morning "
    "window captain sister teacher horse bird ship road house light shadow word song carries finds "
    "leaves follows remembers watches opens closes answers under over beside before after and but "
    "while slowly often never again"
)


def write_inputs(folder: Path) -> None:
    """Write the text and the labelled sequences that cases read."""
    numbers, words = random.Random(0), VOCABULARY.split()
    text: list[str] = []
    while sum(map(len, text)) < 20_000:
        text.append(" ".join(numbers.choices(words, k=numbers.randint(5, 12))) + ".\n")
    (folder / "text.txt").write_text("".join(text))
    rows = []
    for _ in range(120):
        symbols = "".join(numbers.choices("abcd", k=numbers.randint(4, 12)))
        label = "rising" if symbols[0] < symbols[-1] else "other"
        rows.append(f"{label},{symbols}\n")
    (folder / "sequences.csv").write_text("".join(rows))


class Recorder:
    """Runs cases against a tracking store in a temporary folder, and reads what they logged.

    Args:
        folder: temporary folder for the store, the artifacts and the inputs.
        renamed: see `RENAMED`.

    """

    def __init__(self, folder: Path, renamed: Mapping[str, str]):
        self._folder = folder
        self._renamed = renamed
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
        command = [sys.executable, "-m", self._renamed.get(step.module, step.module)]
        command += [_filled(word, values) for word in step.words]
        for old, value in step.settings.items():
            several = value if isinstance(value, tuple) else (str(value),)
            if old == "set":  # these are parameters of the experiment that is tuned
                several = tuple(self._assignment(step.words[0], text) for text in several)
            parameter, several = self._new_name(step.module.split(".")[-1], old, several)
            if parameter:
                command.append(f"--{parameter.replace('_', '-')}")
                command += [_filled(text, values) for text in several if text]
        return command

    def _new_name(
        self, entry_point: str, name: str, values: tuple[str, ...]
    ) -> tuple[str, tuple[str, ...]]:
        new_values = tuple(self._renamed.get(f"{name}={value}", value) for value in values)
        new_name = self._renamed.get(f"{entry_point}.{name}", self._renamed.get(name, name))
        return new_name, new_values

    def _assignment(self, entry_point: str, text: str) -> str:
        name, _, value = text.partition("=")
        parameter, (value,) = self._new_name(entry_point, name, (value,))
        return f"{parameter}={value}" if parameter else ""

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


def record(path: Path, names: Sequence[str], jobs: int, renamed: Mapping[str, str]) -> int:
    """Record cases into a file; return 1 if one of them failed, and else 0."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    began = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        recorder = Recorder(Path(temporary).resolve(), renamed)
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


Flat = dict[str, Any]
"""What is recorded of a case: value by path, such as "run 1: test/accuracy"."""


def flattened(case: Mapping[str, Any], renamed: Mapping[str, str]) -> Flat:
    """Return a case's comparable values by path, with results renamed."""

    def new(name: str) -> str:
        base, at, step = name.partition("@")
        return renamed.get(base, base) + at + step

    flat: Flat = {}
    if "error" in case:
        flat["error"] = case["error"]
    for label, run in case["runs"].items():
        flat[f"{label}: status"] = run["status"]
        flat[f"{label}: last epoch"] = run["last_epoch"]
        for metric, value in run["metrics"].items():
            if not any(re.search(pattern, metric) for pattern in NOT_DETERMINISTIC):
                flat[f"{label}: metric {new(metric)}"] = value
        flat |= {f"{label}: artifact {new(path)}": True for path in run["artifacts"]}
        flat |= {f"{label}: tag {new(tag)}": value for tag, value in run["tags"].items()}
    for version, tags in case.get("registry", {}).items():
        flat |= {f"{version}: version tag {new(tag)}": value for tag, value in tags.items()}
    if case["output"]:
        flat["output"] = "\n".join(case["output"])
    return flat


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same; not a number is the same as itself."""
    numbers = isinstance(old, float) and isinstance(new, float)
    return old == new or (numbers and math.isnan(old) and math.isnan(new))


def differences(old: Flat, new: Flat) -> list[str]:
    """Return a line for each value that differs, is missing or was added."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"{name}: missing (old {old[name]!r})")
        elif name not in old:
            lines.append(f"{name}: added (new {new[name]!r})")
        elif not same(old[name], new[name]):
            lines.append(f"{name}: old {old[name]!r}, new {new[name]!r}")
    return lines


def compare(old_path: Path, new_path: Path, names: Sequence[str]) -> int:
    """Print how two recordings differ; return 1 if they do, and 0 if they are identical."""
    old, new = (json.loads(path.read_text()) for path in (old_path, new_path))
    chosen = [name for name in dict.fromkeys([*old, *new]) if not names or name in names]
    different = 0
    for name in chosen:
        if name not in new or name not in old:
            print(f"{name}: {'added' if name in new else 'missing'}")
            different += 1
            continue
        before, after = flattened(old[name], RENAMED_RESULTS), flattened(new[name], {})
        lines = differences(before, after)
        kinds = [key.partition(": ")[2].partition(" ")[0] for key in before]
        counts = f"{kinds.count('metric')} metrics, {kinds.count('artifact')} artifacts"
        if lines:
            different += 1
            print("\n    ".join([f"{name}: {len(lines)} differences", *lines]))
        elif "error" in before:
            print(f"{name}: identical, but it failed in both: {before['error']}")
        else:
            print(f"{name}: identical ({counts})")
    print(f"{len(chosen) - different} of {len(chosen)} cases are identical")
    return int(different > 0)


def main() -> int:
    """Do what the command line asks, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="file to record into")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="compare two recordings"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", choices=CASES, help="cases (default: all)"
    )
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="cases at a time")
    parser.add_argument(
        "--names", choices=("old", "new"), default="new", help="names that the code to run has"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return 0
    if arguments.compare:
        old, new = arguments.compare
        return compare(old, new, arguments.only)
    if arguments.out is None:
        parser.error("a file to record into is needed, or --compare OLD NEW")
    renamed = RENAMED if arguments.names == "new" else {}
    return record(arguments.out, arguments.only or list(CASES), arguments.jobs, renamed)


if __name__ == "__main__":
    sys.exit(main())

"""Runs in MLflow: how they begin, what they hold, how they end."""

import dataclasses
import multiprocessing
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.tracking import MlflowClient
from PIL import Image

from harness import run_experiment as run_module
from harness.errors import UserError
from harness.experiment import Animation, Evaluation, ImagesByEpoch, NamedFigure, Trained
from harness.run_experiment import run_experiment
from harness.signals import Terminated
from harness.tracking.lifecycle import track
from harness.tracking.processes import process_of
from harness.tracking.run import Run, data_set_of, model_of
from harness.training.checkpoint import Checkpoint, random_state
from tests.harness.runs import LeavesOut, history, only_run
from tests.harness.small import EXPERIMENT, FitALine, Line, SmallConfig

pytestmark = pytest.mark.usefixtures("no_model")


def test_a_run_holds_its_configuration_and_its_epochs(store: Path) -> None:
    config = SmallConfig(num_epochs=4, seed=3)
    run_experiment(EXPERIMENT, config)
    run = only_run()
    assert run.info.status == "FINISHED"
    assert run.data.params == {k: str(v) for k, v in config.as_parameters().items()}
    stored = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/config.json")
    assert stored == config.as_parameters()
    expected = {"architecture", "entry_point", "git_commit", "git_dirty", "device", "seed"}
    assert expected <= set(run.data.tags)
    assert run.data.tags["seed"] == "3"
    for name in ("train/loss", "val/loss", "learning_rate", "epoch_seconds", "samples_per_second"):
        assert [step for step, _ in history(run.info.run_id, name)] == [1, 2, 3, 4]


def test_the_data_are_summed_up_once_and_recorded_in_every_run(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(LeavesOut(), SmallConfig(seeds=2))
    printed = capsys.readouterr().err
    assert printed.count("Data line (") == 1
    assert printed.startswith("Run ")
    assert "Warning: 2 left out" in printed
    data = LeavesOut().load_data(SmallConfig())
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    assert len(runs) == 3
    for run in runs:
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/data/summary.txt")
        assert text in printed
        table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/skipped.json")
        assert table["columns"] == ["name", "reason"]
        assert table["data"] == [["row 3", "not a number"], ["row 9", "empty"]]
        assert data_set_of(run) == data.data_set
        digests = {each.dataset.digest for each in run.inputs.dataset_inputs}
        assert digests in (set(), {data.fingerprint("validation"), data.fingerprint("train")})


class RecordsEverything(FitALine):
    """Fit a line, with something for each method that records."""

    def evaluate(self, config: SmallConfig, trained: Trained, test: Line) -> Evaluation:
        evaluation = super().evaluate(config, trained, test)
        table, series = {"table": {"x": [1.0, 2.0]}}, {"series": {1: 0.5, 2: 0.25}}
        return dataclasses.replace(evaluation, tables=table, series=series)

    def figures(self, *_: Any) -> Iterator[NamedFigure]:
        figure = Figure()
        figure.add_subplot().plot(np.arange(9))
        yield "figure", figure
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        yield "animation", Animation(frames, milliseconds=10)

    def images(self, config: SmallConfig, trained: Trained) -> ImagesByEpoch:
        return {epoch: Image.new("RGB", (8, 8)) for epoch in trained.history.milestones()}


def test_nothing_that_records_touches_a_random_stream(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method of a run, found by itself, and what is called to log the data."""
    called = set()

    def streams() -> list[str]:
        state = random_state()
        keys, *rest = state["numpy"]
        return [str(state["python"]), str([keys.tolist(), rest]), str(state["torch"].tolist())]

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            before = streams()
            result = original(*args, **kwargs)
            assert streams() == before, name
            called.add(name)
            return result

        monkeypatch.setattr(owner, name, watched)

    methods = {name for name in vars(Run) if not name.startswith("_")}
    for name in methods:
        watch(Run, name)
    watch(run_module, "log_split")
    watch(Checkpoint, "offer")
    watch(Checkpoint, "flush")
    run_experiment(RecordsEverything(), SmallConfig(seeds=2, checkpoint_seconds=0.0))
    assert called >= (methods - {"load_history"}) | {"log_split", "offer"}


def test_values_that_mlflow_run_has_logged_as_text_stay(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MlflowClient().create_run(MlflowClient().create_experiment("small"))
    MlflowClient().log_param(made.info.run_id, "learning_rate", "1e-1")
    monkeypatch.setenv("MLFLOW_RUN_ID", made.info.run_id)
    run_experiment(EXPERIMENT, SmallConfig())
    run = only_run()
    assert run.info.run_id == made.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "1e-1"
    assert run.data.params["num_epochs"] == "5"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "KILLED"),
        (Terminated(), "KILLED"),
        (RuntimeError("a bug"), "FAILED"),
    ],
)
def test_every_open_run_ends_with_its_final_status(
    store: Path, error: BaseException, status: str
) -> None:
    with (
        pytest.raises(type(error)),
        track(SmallConfig(seeds=2), "cpu") as parent,
        track(SmallConfig(), "cpu", parent_id=parent.run_id),
    ):
        raise error
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    assert [run.info.status for run in runs] == [status, status]
    assert all(type(error).__name__ in run.data.tags["failure"] for run in runs)
    assert mlflow.active_run() is None


def test_a_run_interrupted_while_it_opens_is_killed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "log_params", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(EXPERIMENT, SmallConfig())
    run = only_run()
    assert run.info.status == "KILLED"
    assert run.data.tags["seed"] == "0"
    assert mlflow.active_run() is None


def test_a_store_that_cannot_be_used_is_said_in_one_line(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_experiment(EXPERIMENT, SmallConfig())
    MlflowClient().delete_experiment(mlflow.get_experiment_by_name("small").experiment_id)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI=sqlite") as caught:
        run_experiment(EXPERIMENT, SmallConfig())
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_fails_the_run_and_says_where(store: Path) -> None:
    with pytest.raises(ArithmeticError):
        run_experiment(EXPERIMENT, SmallConfig(learning_rate=1e30, lr_schedule="constant"))
    run = only_run()
    assert run.info.status == "FAILED"
    for word in ("epoch 1", "step 2", "learning rate 1e+30"):
        assert word in run.data.tags["failure"]


def test_a_user_error_leaves_no_run(store: Path) -> None:
    with pytest.raises(UserError), track(SmallConfig(), "cpu"):
        raise UserError("data=nothing.zip: no such file")
    found = mlflow.get_experiment_by_name("small")
    assert MlflowClient().search_runs([found.experiment_id]) == []


def test_asking_for_a_gpu_that_is_not_there_opens_no_run(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda"):
        run_experiment(EXPERIMENT, SmallConfig(device="cuda"))
    assert mlflow.get_experiment_by_name("small") is None


def test_seeds_are_children_and_the_parent_has_mean_and_standard_deviation(store: Path) -> None:
    means = run_experiment(EXPERIMENT, SmallConfig(seeds=3, seed=5)).metrics
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = {run.data.tags["seed"]: run for run in runs if run is not parent}
    assert set(children) == {"5", "6", "7"}
    values = [children[seed].data.metrics["test/loss"] for seed in "567"]
    mean = sum(values) / 3
    deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert parent.data.metrics["test/loss_mean"] == pytest.approx(mean) == means["test/loss"]
    assert parent.data.metrics["test/loss_std"] == pytest.approx(deviation)
    series = history(parent.info.run_id, "seeds/test/loss")
    assert series == list(zip((5, 6, 7), values, strict=True))


def track_twenty_epochs(folder: Path, seed: int) -> None:
    """Do what each of the eight processes does."""
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    with track(SmallConfig(seed=seed), "cpu") as run:
        for epoch in range(1, 21):
            run.log_epoch(epoch, {"val/loss": epoch + seed, "train/loss": 1.0})


@pytest.mark.slow
def test_eight_processes_at_once_on_a_store_that_does_not_exist(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # processes that have imported all already
    context.set_forkserver_preload([__name__, "mlflow.store.tracking.sqlalchemy_store"])
    processes = [
        context.Process(target=track_twenty_epochs, args=(tmp_path, seed)) for seed in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert sorted(int(run.data.tags["seed"]) for run in runs) == list(range(8))
    for run in runs:
        assert run.info.status == "FINISHED"
        seed = int(run.data.tags["seed"])
        logged = client.get_metric_history(run.info.run_id, "val/loss")
        assert [(m.step, m.value) for m in logged] == [(e, e + seed) for e in range(1, 21)]


def test_a_model_that_was_not_logged_to_the_end_is_none(store: Path) -> None:
    """The process was killed in between: MLflow links the model before it writes its files."""
    run_experiment(EXPERIMENT, SmallConfig())
    run, client = only_run(), MlflowClient()
    half = client.create_logged_model(run.info.experiment_id, source_run_id=run.info.run_id)
    client.log_outputs(run.info.run_id, models=[LoggedModelOutput(half.model_id, step=0)])
    assert model_of(run.info.run_id) is None
    client.finalize_logged_model(half.model_id, LoggedModelStatus.READY)
    assert model_of(run.info.run_id) == half.model_id


def test_epochs_are_sent_together_and_all_of_them(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    log_batch = MlflowClient.log_batch

    def count(client: MlflowClient, run_id: str, **batch: Any) -> Any:
        calls.append(len(batch.get("metrics", ())))
        return log_batch(client, run_id, **batch)

    monkeypatch.setattr(MlflowClient, "log_batch", count)
    with track(SmallConfig(), "cpu") as run:
        for epoch in range(1, 301):
            run.log_epoch(epoch, {f"metric_{i}": float(epoch * i) for i in range(5)})
    epochs = [size for size in calls if size > 50]
    assert len(epochs) <= 5
    assert max(epochs) <= 1000, "a server takes no more in one request"
    assert history(run.run_id, "metric_3") == [(e, 3.0 * e) for e in range(1, 301)]


def test_the_process_is_named_where_the_ui_does_not_show_it(store: Path) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    run = only_run()
    assert {"host", "process_id", "process_started"}.isdisjoint(run.data.tags)
    assert process_of(run.data.tags)["process_id"] == str(os.getpid())
    shown = {name for name in run.data.tags if not name.startswith("mlflow.")}
    expected = {"architecture", "entry_point", "seed", "device", "data", "data_fingerprint"}
    assert shown == expected | {"git_commit", "git_dirty"}


def steps_of_images(run_id: str) -> list[int]:
    """Return the steps that the MLflow UI offers, which it reads off the names of the files."""
    files = [Path(each.path).name for each in MlflowClient().list_artifacts(run_id, "images")]
    pattern = r"images~learning\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]+\.png"
    return sorted(int(found[1]) for file in files if (found := re.fullmatch(pattern, file)))


def test_images_stand_at_their_epochs_and_are_logged_once(store: Path) -> None:
    run_experiment(RecordsEverything(), SmallConfig(num_epochs=9))
    run = only_run()
    best = int(run.data.metrics["best/epoch"])
    steps = steps_of_images(run.info.run_id)
    assert steps[:2] == [0, 1]
    assert steps[-1] == best > 1
    Run(run.info.run_id, SmallConfig()).log_images({1: Image.new("RGB", (8, 8))})
    assert steps_of_images(run.info.run_id) == steps


def test_frames_of_an_animation_are_images_too(store: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(40)]
    with track(SmallConfig(), "cpu") as run:
        run.log_figure("a", Animation(frames, milliseconds=1, epochs=range(1, 41)))
    assert steps_of_images(run.run_id) == [0, 1, 7, 12, 18, 23, 29, 34, 40]


def test_an_animation_of_one_frame_has_one_image(store: Path) -> None:
    frames = [Image.new("RGB", (8, 8))]
    with track(SmallConfig(), "cpu") as run:
        run.log_figure("a", Animation(frames, milliseconds=1, epochs=[3]))
    assert steps_of_images(run.run_id) == [0, 3]

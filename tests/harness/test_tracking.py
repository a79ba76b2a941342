"""Runs in MLflow: how they begin, what they hold, how they end."""

import dataclasses
import json
import multiprocessing
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from PIL import Image
from sqlalchemy import text
from torch import nn

import experiments
from harness import run_experiment as run_module
from harness.errors import UserError
from harness.experiment import Animation, Evaluation, ImagesByEpoch, NamedFigure, Splits, Trained
from harness.run_experiment import run_experiment
from harness.signals import Terminated
from harness.tracking import view
from harness.tracking.abandoned import children_closed
from harness.tracking.git import DIFF, MAX_CHARACTERS, uncommitted_changes
from harness.tracking.lifecycle import track
from harness.tracking.processes import TAG, process_of, this_process
from harness.tracking.run import Run, data_set_of, model_of
from harness.training.checkpoint import Checkpoint, random_state
from harness.training.metrics import StepOutput
from tests.conftest import collect_garbage
from tests.harness.small import EXPERIMENT, FitALine, Line, SmallConfig, squared_error


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log no models here: the tests of the entry points do, and it takes seconds."""
    monkeypatch.setattr("harness.tracking.export.log_model", lambda *_: None)


def only_run(name: str = "small") -> MlflowRun:
    found = MlflowClient().get_experiment_by_name(name)
    (run,) = MlflowClient().search_runs([found.experiment_id])
    return run


def history(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in MlflowClient().get_metric_history(run_id, name)]


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


class LeavesOut(FitALine):
    """Fit a line of another slope, of which two points were left out."""

    slope = 2.0

    def load_data(self, config: SmallConfig) -> Splits[Line]:
        data, skipped = super().load_data(config), [("row 3", "not a number"), ("row 9", "empty")]
        validation = Line(data.train.x, self.slope * data.train.targets)
        counts = {"train": {"a": 10}, "validation": {"a": 10}}
        return dataclasses.replace(data, skipped=skipped, validation=validation, counts=counts)


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


def test_a_run_is_not_resumed_with_other_data(store: Path) -> None:
    """As where a file has another content: not of one seed, and not of several."""
    for config in (SmallConfig(), SmallConfig(seeds=2)):
        experiment = type("Halted", (LeavesOut, Interrupted), {})()
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment, config)
        place = mlflow.get_experiment_by_name("small").experiment_id
        run, *_ = [
            run
            for run in MlflowClient().search_runs([place])
            if "mlflow.parentRunId" not in run.data.tags
        ]
        experiment.slope = 4.0
        message = r"was trained on line \(\w+\), and the data are line \(\w+\) now"
        with pytest.raises(UserError, match=message):
            run_experiment(experiment, SmallConfig(resume=run.info.run_id))
        assert MlflowClient().get_run(run.info.run_id).info.status == "KILLED"


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


class Interrupted(FitALine):
    """Is interrupted in the middle of the fourth epoch, with some seeds only if that is said."""

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds
        self.trained: list[int] = []
        self.calls = 0

    def optimizer(self, config: SmallConfig, model: nn.Module) -> torch.optim.Optimizer:
        self.trained.append(config.seed)
        self.calls = 0
        return super().optimizer(config, model)

    def loss(self, config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        self.calls += model.training
        if self.calls == 3 * 3 + 2 and (not self.seeds or self.seeds == tuple(self.trained)):
            raise KeyboardInterrupt
        return squared_error(model, batch)


def interrupted_run(config: SmallConfig) -> str:
    """Return the id of a run that was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run_experiment(Interrupted(), config)
    return str(only_run().info.run_id)


def test_resuming_continues_the_same_run_with_the_same_numbers(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SmallConfig(num_epochs=6, seed=1)
    run_id = interrupted_run(config)
    assert MlflowClient().get_run(run_id).info.status == "KILLED"
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3]
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    resumed = only_run()
    assert (resumed.info.run_id, resumed.info.status) == (run_id, "FINISHED")
    assert "failure" not in resumed.data.tags

    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "uninterrupted")
    run_experiment(EXPERIMENT, config)
    whole = only_run("uninterrupted")
    for name in ("train/loss", "val/loss", "learning_rate"):
        assert history(run_id, name) == history(whole.info.run_id, name)
    assert resumed.data.metrics["test/loss"] == whole.data.metrics["test/loss"]


def test_an_epoch_that_was_saved_and_not_logged_is_logged_on_resuming(store: Path) -> None:
    run_id = interrupted_run(SmallConfig(num_epochs=4))
    with MlflowClient()._tracking_client.store.ManagedSessionMaker() as session:
        session.execute(text("DELETE FROM metrics WHERE step = 3"))  # died before it was logged
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert [step for step, _ in history(run_id, "val/loss")] == [1, 2, 3, 4]


def test_resuming_seeds_repeats_none_that_finished(store: Path) -> None:
    experiment = Interrupted(0, 1)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, SmallConfig(num_epochs=5, seeds=3))
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    run_experiment(experiment, SmallConfig(resume=parent.info.run_id))
    assert experiment.trained == [0, 1, 1, 2]
    runs = MlflowClient().search_runs([parent.info.experiment_id])
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    "case", ["unknown", "deleted", "collected", "other entry point", "finished", "other value"]
)
def test_what_cannot_be_resumed_says_why(store: Path, case: str) -> None:
    run_id = interrupted_run(SmallConfig())
    config = SmallConfig(resume=run_id)
    if case == "unknown":
        config = SmallConfig(resume="0123456789abcdef0123456789abcdef")
    elif case == "deleted":
        MlflowClient().delete_run(run_id)
    elif case == "collected":
        collect_garbage(run_id)
    elif case == "other entry point":
        MlflowClient().set_tag(run_id, "entry_point", "rnn")
    elif case == "finished":
        MlflowClient().set_terminated(run_id)
    else:
        config = SmallConfig(resume=run_id, num_epochs=99)
    word = {
        "unknown": "no run",
        "deleted": f"is deleted; `mlflow runs restore --run-id {run_id}` restores it",
        "collected": "or `mlflow gc` has removed it",
        "other entry point": "rnn",
        "finished": "has finished",
        "other value": "num_epochs=99",
    }
    with pytest.raises(UserError, match=word[case]) as caught:
        run_experiment(EXPERIMENT, config)
    assert "\n" not in str(caught.value)


def test_a_run_whose_process_lives_is_not_resumed(store: Path) -> None:
    run_id = interrupted_run(SmallConfig())
    MlflowClient().update_run(run_id, status="RUNNING")
    with pytest.raises(UserError, match="still works on that run"):
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))


def test_a_damaged_checkpoint_is_said_and_the_run_left_as_it_was(store: Path) -> None:
    run_id = interrupted_run(SmallConfig())
    (path,) = store.rglob("last.pt")
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert MlflowClient().get_run(run_id).info.status == "KILLED"


def test_a_run_of_mlflow_that_only_resumes_another_says_so(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = interrupted_run(SmallConfig())
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    wrapper = MlflowClient().create_run(experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", wrapper)
    run_experiment(EXPERIMENT, SmallConfig(resume=run_id))
    assert MlflowClient().get_run(run_id).info.status == "FINISHED"
    assert run_id in MlflowClient().get_run(wrapper).data.tags["mlflow.note.content"]


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


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a repository with one commit be the project."""
    folder = tmp_path_factory.mktemp("project")
    monkeypatch.setattr("harness.tracking.git.ROOT", folder)
    (folder / "lesson.py").write_text("one\n")
    for arguments in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", *arguments.split()], cwd=folder, check=True)
    return folder


def test_changes_since_the_commit_are_logged_once(store: Path, project: Path) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert not list(store.rglob(DIFF))
    (project / "lesson.py").write_text("two \udcff\n", errors="surrogateescape")
    (project / "notes.txt").write_text("a secret\n")
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1, seeds=2))
    (path,) = store.rglob(DIFF)
    parent = MlflowClient().get_run(path.parts[-4])
    assert "mlflow.parentRunId" not in parent.data.tags
    logged = path.read_text()
    assert {"-one", "+two \\xff", "# new, content not recorded: notes.txt"} <= {*logged.split("\n")}
    assert "a secret" not in logged


def test_a_diff_can_be_applied_to_the_commit(project: Path) -> None:
    (project / "lesson.py").write_text("two\n")
    (project / "new.txt").touch()
    diff = uncommitted_changes()
    subprocess.run(["git", "checkout", "-q", "lesson.py"], cwd=project, check=True)
    subprocess.run(["git", "apply"], cwd=project, check=True, input=diff, text=True)
    assert (project / "lesson.py").read_text() == "two\n"


def test_a_long_diff_is_cut(project: Path) -> None:
    (project / "lesson.py").write_text("two\n" * 1_000_000)
    diff = uncommitted_changes()
    assert len(diff) < MAX_CHARACTERS + 100
    assert diff.endswith("# cut off here, after 1,000,000 characters\n")


def test_a_project_without_git_has_no_diff(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.tracking.git.ROOT", tmp_path)
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert only_run().data.tags["git_commit"] == "unknown"
    assert not list(store.rglob(DIFF))


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


def state_of(name: str) -> Any:
    experiment = mlflow.get_experiment_by_name(name)
    saved = json.loads(experiment.tags[view.TAG])
    assert saved["name"] == "Results"
    return json.loads(saved["state"])


def test_an_experiment_has_a_view_that_a_user_may_change(store: Path) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    state = state_of("small")
    assert state["orderByKey"] == "metrics.`best/val_loss`"
    assert state["orderByAsc"]
    place = mlflow.get_experiment_by_name("small").experiment_id
    assert "viewStateShareKey=results" in view.runs_url(place)
    MlflowClient().set_experiment_tag(place, view.TAG, "changed")
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    assert mlflow.get_experiment(place).tags[view.TAG] == "changed"


@pytest.mark.parametrize("name", experiments.names())
def test_the_view_shows_what_its_architecture_tunes_and_logs(name: str) -> None:
    experiment = experiments.find(name)
    space = experiment.companion("space").SPACE
    state = view.state_of_view(experiment)
    first, *others = state["selectedColumns"]
    assert first == state["orderByKey"] == f"metrics.`best/{space.metric.replace('/', '_')}`"
    assert state["orderByAsc"] == (not space.maximise)
    shown = {column.split("`")[1] for column in others if column.startswith("params.")}
    assert len(shown) == 3
    assert shown <= {field.name for field in experiment.config_class.parameters()}
    assert {"metrics.`test/accuracy`", "tags.`data`", "tags.`seed`"} <= {*others}


def test_a_link_leads_to_where_the_ui_is(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(EXPERIMENT, SmallConfig(num_epochs=1))
    run = only_run()
    path = f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f"  http://localhost:5000{path}" in capsys.readouterr().out
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "https://me:secret@example.org/a/")
    assert view.address() == "https://me:***@example.org/a"


def test_children_of_workers_that_were_killed_are_closed(store: Path) -> None:
    client = MlflowClient()
    experiment = client.create_experiment("several")
    parent = client.create_run(experiment).info.run_id
    gone = {"host": socket.gethostname(), "process_id": "999999999", "process_started": "0"}
    tags = {"mlflow.parentRunId": parent}
    orphan, alive = (
        client.create_run(experiment, tags={**tags, TAG: json.dumps(process)}).info.run_id
        for process in (gone, this_process())
    )
    with pytest.raises(KeyError), children_closed(parent):
        raise KeyError("an error")
    assert client.get_run(orphan).info.status == "KILLED"
    assert client.get_run(alive).info.status == "RUNNING"

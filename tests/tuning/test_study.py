"""Studies: what a trial may do, what is tracked, what survives."""

import dataclasses
import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.tracking import MlflowClient
from optuna.pruners import MedianPruner

from harness.command_line import parse
from harness.errors import UserError
from harness.search_space import choice
from harness.training.train import train
from tests.conftest import collect_garbage
from tests.tuning.lines import SPACE, LineConfig
from tuning import figures, report, storage, study
from tuning.config import StudyConfig
from tuning.importance import importance
from tuning.registry import versions
from tuning.search import TrialBugError
from tuning.space import Space
from tuning.study import StudyResult, prepare, tune

QUICK: dict[str, Any] = {"experiment": "line", "finalists": 0, "pruner": "none"}


def run_study(space: Space = SPACE, **options: Any) -> StudyResult:
    return tune(StudyConfig(**{**QUICK, **options}), space)


def enqueue(space: Space, points: list[dict[str, Any]], **options: Any) -> StudyConfig:
    """Make a study in which these points wait, and return the configuration that resumes it."""
    config = StudyConfig(**{**QUICK, "study_name": "queued", "trials": len(points), **options})
    opened = study.open_study(config, space, storage.open_storage(config.storage))
    for point in points:
        opened.enqueue_trial(point)
    return StudyConfig(**{**config.as_parameters(), "resume": True})


def children(result: StudyResult) -> dict[int, Run]:
    experiment = MlflowClient().get_run(result.parent_id).info.experiment_id
    query = f"tags.mlflow.parentRunId = '{result.parent_id}'"
    runs = MlflowClient().search_runs([experiment], query)
    return {int(run.data.tags["optuna.trial_number"]): run for run in runs}


def states(result: StudyResult) -> list[str]:
    return [trial.state.name for trial in result.study.get_trials()]


draw = report.draw


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: the pictures have tests of their own, and take seconds."""
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def test_three_trials_of_which_one_is_pruned(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that train well, then one so slow that after its first epoch it is behind both."""
    monkeypatch.setattr(study, "pruner", lambda *arguments: MedianPruner(n_startup_trials=2))
    points = [{"learning_rate": rate, "batch_size": 2} for rate in (0.1, 0.2, 1e-4)]
    result = tune(enqueue(SPACE, points), SPACE)
    assert states(result) == ["COMPLETE", "COMPLETE", "PRUNED"]

    parent, runs = MlflowClient().get_run(result.parent_id), children(result)
    assert parent.info.run_name == "small-study"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["optuna.study_name"] == "queued"
    assert parent.data.metrics["trials/complete"] == 2
    assert parent.data.metrics["trials/pruned"] == 1
    assert [runs[n].info.status for n in range(3)] == ["FINISHED", "FINISHED", "KILLED"]
    for number, trial in enumerate(result.study.get_trials()):
        tags = runs[number].data.tags
        assert tags["architecture"] == "small"
        assert tags["optuna.study_name"] == "queued"
        assert tags["optuna.trial_state"] == trial.state.name
        assert runs[number].data.params["learning_rate"] == str(points[number]["learning_rate"])
        assert runs[number].data.params["num_epochs"] == "4"
        history = MlflowClient().get_metric_history(runs[number].info.run_id, "val/loss")
        assert {m.step: m.value for m in history} == trial.intermediate_values
    assert len(result.study.get_trials()[2].intermediate_values) == 1

    best = min(result.study.get_trials()[:2], key=lambda trial: trial.values)
    assert runs[best.number].data.metrics["best/val_loss"] == best.value
    assert best.value == min(best.intermediate_values.values())
    assert parent.data.metrics["best/val_loss"] == best.value
    assert (
        f"--learning-rate {best.params['learning_rate']}" in parent.data.tags["mlflow.note.content"]
    )


def test_a_trial_gives_what_its_configuration_gives_by_itself(store: Path) -> None:
    """The tuner adds nothing and takes nothing away."""
    result = run_study(trials=2, seed=5)
    for trial in result.study.get_trials():
        config = SPACE.configuration({**trial.params, "seed": 5})
        history = train(SPACE.experiment, config).history
        assert trial.value == pytest.approx(history.best["val/loss"], rel=1e-6)


@pytest.mark.slow
def test_same_seed_same_trials_and_another_seed_others(store: Path) -> None:
    def trials(seed: int, count: int = 14) -> list[tuple[dict[str, Any], float | None]]:
        result = run_study(trials=count, seed=seed, pruner="median")
        return [(trial.params, trial.value) for trial in result.study.get_trials()]

    first = trials(0)
    assert trials(0) == first
    assert trials(1, count=2)[1] != first[1]
    assert first[0][0] == SPACE.point_near(SPACE.final_configuration({}))


def test_the_champions_configuration_is_tried_after_the_default(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = LineConfig(learning_rate=0.9, batch_size=10)
    values = json.dumps(champion.as_parameters())
    tags = {"entry_point": "line", "configuration": values}
    version = ModelVersion("small", "1", 0, tags=[ModelVersionTag(*tag) for tag in tags.items()])
    monkeypatch.setattr(versions, "by_alias", lambda *_: version)
    first, second = run_study(trials=2).study.get_trials()
    assert first.params == {"learning_rate": 0.1, "batch_size": 4}
    assert second.params == {"learning_rate": 0.5, "batch_size": 10}, "moved into its range"
    version.tags["configuration"] = json.dumps({"no_such_parameter": 1})
    assert study.known_points(StudyConfig(**QUICK), SPACE) == [first.params]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["asha", "median", "hyperband"])
def test_bad_trials_are_pruned(store: Path, pruner: str) -> None:
    space = SPACE.fix({"num_epochs": 27, "batch_size": 10})
    rates = (0.2, 0.3, 0.1, 1e-4, 1.1e-4, 1.2e-4, 1.3e-4, 1.4e-4)
    points = [{"learning_rate": rate} for rate in rates]
    result = tune(enqueue(space, points, pruner=pruner), space)
    found = [trial.state.name for trial in result.study.get_trials()]
    assert found[0] == "COMPLETE"
    assert "PRUNED" in found[3:], found


def test_two_workers_share_a_study(store: Path) -> None:
    result = run_study(trials=8, workers=2)
    trials = result.study.get_trials()
    assert [trial.number for trial in trials] == list(range(8))
    assert set(states(result)) == {"COMPLETE"}
    assert len(children(result)) == 8
    first, second = trials[:2]
    assert second.datetime_start is not None
    assert first.datetime_complete is not None
    assert second.datetime_start < first.datetime_complete


def test_a_resumed_study_repeats_nothing(store: Path) -> None:
    first = run_study(trials=5, study_name="mine", sampler="random")
    before = first.study.get_trials()
    again = run_study(trials=9, study_name="mine", sampler="random", resume=True)
    trials = again.study.get_trials()
    assert again.parent_id == first.parent_id
    assert len(trials) == 9
    assert trials[:5] == before
    assert len({trial.params["learning_rate"] for trial in trials}) == 9
    assert len(children(again)) == 9
    assert MlflowClient().get_run(first.parent_id).info.status == "FINISHED"


def test_a_study_that_is_interrupted_tells_the_whole_command_that_resumes_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuning.search.Search.run", interrupt)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/my store.db")
    with pytest.raises(KeyboardInterrupt) as caught:
        run_study(trials=3, workers=2, set=("num_epochs=4",), seed=5)
    (parent,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    first, command = caught.value.__notes__[-1].splitlines()
    assert first == f"Run {parent.info.run_id} was interrupted. To resume it:"
    name = parent.data.tags["optuna.study_name"]
    uri, python, *words = shlex.split(command)
    assert uri == f"MLFLOW_TRACKING_URI=sqlite:///{store}/my store.db"
    assert shutil.which(python)
    assert words[:2] == ["-m", "tuning"]
    again = parse(StudyConfig, words[2:])
    assert again == StudyConfig(
        **{**QUICK, "trials": 3, "workers": 2, "set": ("num_epochs=4",), "seed": 5},
        study_name=name,
        resume=True,
    )


def test_a_study_is_resumed_after_mlflow_gc_has_removed_its_runs(store: Path) -> None:
    """The trials are in Optuna's storage: they count, and the new ones have a new parent run."""
    first = run_study(trials=3, study_name="mine")
    before = first.study.get_trials()
    for run in [*children(first).values(), MlflowClient().get_run(first.parent_id)]:
        collect_garbage(run.info.run_id)
    again = run_study(trials=5, study_name="mine", resume=True)
    assert again.study.get_trials()[:3] == before
    assert set(children(again)) == {3, 4}
    metrics = MlflowClient().get_run(again.parent_id).data.metrics
    assert metrics["trials/complete"] == 5


def test_a_worker_that_is_killed_loses_its_trial_only_and_that_is_run_again(store: Path) -> None:
    """SIGKILL to a real worker in the second of four trials."""
    space = with_behaviours("fit", "die once")
    points = [
        {"learning_rate": 0.1 + i / 100, "batch_size": 4, "behaviour": behaviour}
        for i, behaviour in enumerate(["fit", "die once", "fit", "fit"])
    ]
    result = tune(enqueue(space, points), space)
    trials, runs = result.study.get_trials(), children(result)
    assert states(result) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert "killed (exit status -9)" in trials[1].user_attrs["failure"]
    assert trials[4].params == trials[1].params == points[1]
    assert runs[1].info.status == "FAILED"
    assert runs[1].data.tags["failure"] == trials[1].user_attrs["failure"]
    assert runs[4].info.status == "FINISHED"
    metrics = MlflowClient().get_run(result.parent_id).data.metrics
    assert (metrics["trials/failed"], metrics["trials/requeued"]) == (0, 1)


def with_behaviours(*behaviours: str) -> Space:
    parameters = {**SPACE.parameters, "behaviour": choice(*behaviours)}
    return dataclasses.replace(SPACE, parameters=parameters)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("diverge", "DivergedError"),
        ("memory", "can't allocate memory"),
        ("size", "NotEnoughMemoryError"),
    ],
)
def test_a_trial_with_bad_luck_fails_and_the_study_goes_on(
    store: Path, behaviour: str, reason: str
) -> None:
    space = with_behaviours("fit", behaviour)
    points = [
        {"learning_rate": 0.1 + i / 100, "batch_size": 4, "behaviour": each}
        for i, each in enumerate([behaviour] * 4 + ["fit"])
    ]
    result = tune(enqueue(space, points), space)
    assert states(result) == ["FAIL"] * 4 + ["COMPLETE"]
    failed = children(result)[0]
    assert failed.info.status == "FAILED"
    assert reason in failed.data.tags["failure"]


def test_the_same_bug_three_times_ends_the_study_with_its_traceback(store: Path) -> None:
    space = with_behaviours("fit", "bug")
    points = [
        {"learning_rate": 0.1 + i / 100, "batch_size": 4, "behaviour": each}
        for i, each in enumerate(["bug", "fit", *["bug"] * 5])
    ]
    with pytest.raises(TrialBugError, match=r"(?s)3 trials.*Traceback.*in build_model.*KeyError"):
        tune(enqueue(space, points), space)
    loaded = optuna.load_study(study_name="queued", storage=storage.open_storage("optuna.journal"))
    finished = [t.state.name for t in loaded.get_trials() if t.state.is_finished()]
    assert finished == ["FAIL", "COMPLETE", "FAIL", "FAIL"]
    parent = MlflowClient().get_run(loaded.user_attrs["parent_id"])
    assert parent.info.status == "FAILED"
    assert "TrialBugError" in parent.data.tags["failure"]


def test_a_user_error_of_a_trial_ends_the_study(store: Path) -> None:
    space = with_behaviours("mistake")
    with pytest.raises(UserError, match=r"^data=nothing.zip: no such file$"):
        run_study(space, trials=3)
    runs = MlflowClient().search_runs([mlflow.get_experiment_by_name("small").experiment_id])
    assert {run.info.status for run in runs} == {"FAILED"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"experiment": "meo"}, ["experiment=meo", "moe"]),
        ({"set": ["learning_rat=1"]}, ["learning_rat", "did you mean learning_rate?"]),
        ({"set": ["learning_rate=-1"]}, ["learning_rate=-1", "greater than 0"]),
        ({"set": ["learning_rate"]}, ["set=learning_rate", "name=value"]),
        ({"set": ["device=cuda"]}, ["device=cuda"]),
        ({"space": "nowhere.yaml"}, ["space=nowhere.yaml", "No such file"]),
        ({"storage": "sqlite:///study.db"}, ["storage=sqlite", "journal", "postgresql"]),
        ({"storage": "bananas://host/x"}, ["storage=bananas"]),
        ({"storage": "."}, ["storage=."]),
        ({"resume": True, "study_name": "nothing"}, ["study_name=nothing", "no such study"]),
        ({"resume": True}, ["has no study of moe"]),
        ({"metric": "train/loss"}, ["metric=train/loss", "validation"]),
        ({"finalists": 1, "registered_model_name": "a/b"}, ["registered_model_name=a/b"]),
        ({"metric": "val/beauty"}, ["metric=val/beauty", "direction=maximize or"]),
        (
            {"metric": "val/beauty", "trials": 1, "direction": "maximize"},
            ["metric=val/beauty", "val/accuracy"],
        ),
    ],
)
def test_a_mistake_is_said_in_one_line_before_any_trial(
    store: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    tiny = ["num_train=50", "num_validation=20", "num_epochs=1", "restarts=1"]
    values = {**QUICK, "experiment": "moe", "set": tiny, **options}
    with pytest.raises(UserError) as caught:
        tune(StudyConfig(**values))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    if "direction" not in options:
        assert mlflow.search_runs(search_all_experiments=True).empty


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["study_name=mine", "resume=True"]),
        ({"resume": True, "direction": "maximize"}, ["another direction"]),
        ({"resume": True, "metric": "val/accuracy"}, ["another metric"]),
        ({"resume": True, "seed": 3}, ["another seed"]),
        ({"resume": True, "set": ["batch_size=2"]}, ["another", "batch_size"]),
        ({"resume": True, "other": True}, ["is a study of line, not of moe"]),
        ({"other": True}, ["is a study of line, not of moe"]),
    ],
)
def test_a_study_is_not_resumed_as_another(
    store: Path, options: dict[str, Any], words: list[str]
) -> None:
    config = StudyConfig(**QUICK, study_name="mine")
    study.open_study(config, prepare(config, SPACE), storage.open_storage(config.storage))
    other = options.pop("other", False)
    values = {**QUICK, "study_name": "mine", "experiment": "moe", **options}
    with pytest.raises(UserError) as caught:
        tune(StudyConfig(**values), None if other else SPACE)
    for word in words:
        assert word in str(caught.value)


def test_a_timeout_ends_the_search_and_queues_again_what_was_running(store: Path) -> None:
    space = SPACE.fix({"num_epochs": 100_000})
    config = enqueue(space, [{"learning_rate": 0.1, "batch_size": 4}], timeout_seconds=1.5)
    began = time.monotonic()
    result = tune(config, space)
    assert time.monotonic() - began < 60
    assert states(result) == ["FAIL", "WAITING"]
    ended, waiting = result.study.get_trials()
    assert ended.params == waiting.params
    assert {run.info.status for run in children(result).values()} == {"KILLED"}


def test_the_description_counts_all_trials(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = with_behaviours("fit", "diverge")
    points = [
        {"learning_rate": 0.1 + i / 100, "batch_size": 4, "behaviour": behaviour}
        for i, behaviour in enumerate(["fit", "diverge", "fit"])
    ]
    result = tune(enqueue(space, points), space)
    note = MlflowClient().get_run(result.parent_id).data.tags["mlflow.note.content"]
    assert note.startswith("Best of 2 complete trials (1 failed): **trial ")
    assert "Importance is not drawn: of 20 complete trials it needs, there are 2." in note
    assert "Best of 2 complete trials (1 failed): trial " in capsys.readouterr().out


def test_a_best_value_at_the_edge_is_warned_of(store: Path) -> None:
    points = [{"learning_rate": rate, "batch_size": 4} for rate in (1e-4, 1.1e-4)]
    result = tune(enqueue(SPACE, points), SPACE)
    note = MlflowClient().get_run(result.parent_id).data.tags["mlflow.note.content"]
    assert "Warning" in note
    assert "learning_rate=0.00011 is at the low end of 0.0001 to 0.5" in note


@pytest.mark.usefixtures("store")
def test_every_picture_of_a_study_is_drawn() -> None:
    made = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        values = SPACE.suggest(trial)
        trial.report(1.0, 1)
        return float((values["learning_rate"] - 0.1) ** 2 + values["batch_size"] / 100)

    made.optimize(objective, n_trials=20)
    pictures = draw(made, SPACE, {}, importance(made))
    expected = {
        "history",
        "importance",
        "slices",
        "parallel_coordinates",
        "contour",
        "intermediate_values",
        "timeline",
    }
    assert set(pictures) == expected
    assert figures.finalists({"trial 1": {1: 0.5}}, "val/loss", maximise=False)


def test_a_half_written_line_of_the_journal_is_cut_off(store: Path) -> None:
    before = run_study(trials=2, study_name="mine").study.get_trials()
    path = Path("optuna.journal")
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "worker_id": "x')
    again = run_study(trials=3, study_name="mine", resume=True)
    assert again.study.get_trials()[:2] == before
    assert len(again.study.get_trials()) == 3


def test_a_database_that_does_not_answer_is_said_within_ten_seconds(store: Path) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"storage=postgresql.*cannot be reached") as caught:
        run_study(storage="postgresql://someone:secret@127.0.0.1:1/nothing")
    assert time.monotonic() - began < 10
    assert "secret" not in str(caught.value)

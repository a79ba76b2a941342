"""Values that were tuned alike: budgets, seeds, what is compared, what is resumed."""

from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities import Run
from scipy.stats import wilcoxon

from harness.command_line import parse
from harness.errors import UserError
from tests.tuning.lines import SPACE
from tuning import report, study
from tuning.compare import command
from tuning.compare.config import TunedComparisonConfig
from tuning.config import StudyConfig
from tuning.registry import versions
from tuning.space import find

SMALL: dict[str, Any] = {
    "experiment": "line",
    "parameter": "batch_size",
    "values": ("2", "10"),
    "trials": 3,
    "final_seeds": 3,
    "metric": "test/loss",
    "seed": 5,
    "study_name": "fair",
}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing of the studies: the pictures have tests of their own, and take seconds."""
    monkeypatch.setattr(report, "draw", lambda *arguments: {})


def compare(**changes: Any) -> Run:
    """Tune and compare; return the comparison's run."""
    command.compare_tuned(TunedComparisonConfig(**{**SMALL, **changes}), SPACE)
    (run, *_) = runs_of("tags.entry_point = 'compare_tuned'")
    return run


def runs_of(query: str) -> list[Run]:
    """Return the runs of a query, the latest first."""
    everywhere: dict[str, Any] = {"search_all_experiments": True, "output_format": "list"}
    return list(mlflow.search_runs(filter_string=query, **everywhere))


def stage(name: str) -> list[Run]:
    return runs_of(f"tags.`tuning.stage` = '{name}'")


@pytest.mark.slow
def test_each_value_has_as_many_trials_and_then_new_seeds(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(versions, "by_alias", lambda *which: asked.append(which))
    run = compare()
    assert not asked, "no value begins with what a champion of another one was tuned to"
    assert run.info.status == "FINISHED"
    studies = runs_of(f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert {each.data.tags["optuna.study_name"] for each in studies} == {"fair-2", "fair-10"}

    trials, finals = stage("trial"), stage("finalist")
    assert Counter(each.data.params["batch_size"] for each in trials) == {"2": 3, "10": 3}
    assert {each.data.params["seed"] for each in trials} == {"5"}
    for value in ("2", "10"):
        of_value = [each for each in trials if each.data.params["batch_size"] == value]
        complete = [each for each in of_value if each.info.status == "FINISHED"]
        best = min(complete, key=lambda each: each.data.metrics["best/val_loss"])
        trained = [each for each in finals if each.data.params["batch_size"] == value]
        assert {each.data.params["seed"] for each in trained} == {"6", "7", "8"}
        for each in trained:
            assert each.data.params["learning_rate"] == best.data.params["learning_rate"]
        mean = sum(each.data.metrics["test/loss"] for each in trained) / 3
        assert run.data.metrics[f"by_group/{value}_mean"] == pytest.approx(mean)
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/paired_tests.json")
    (test,) = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert test["num pairs"] == 3
    note = run.data.tags["mlflow.note.content"]
    assert "with seed 5; the best one was trained with seeds 6 to 8, which no trial had" in note
    assert "p = 0.25 is the smallest that 3 pairs can reach; it takes 6 pairs" in note

    again = compare(resume=True)
    assert len(stage("trial")) == 6
    assert len(stage("finalist")) == 6, "what has finished is not repeated"
    ours, theirs = again.data.metrics, run.data.metrics
    assert ours == theirs
    with pytest.raises(UserError, match="study_name=fair-2: exists already"):
        compare()


def test_a_value_that_never_trains_is_left_out(
    store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = "0.1", "1e+30"
    run = compare(parameter="learning_rate", values=rates, trials=1, final_seeds=1)
    assert run.info.status == "FINISHED"
    assert {each.data.params["learning_rate"] for each in stage("finalist")} == {"0.1"}
    assert "All runs are of one group" in run.data.tags["mlflow.note.content"]
    assert "1e+30 is left out: no trial is complete" in capsys.readouterr().out
    assert "Left out, as trainings failed: 1e+30." in run.data.tags["mlflow.note.content"]


def test_a_metric_that_there_is_not_is_named_and_the_trainings_are_kept(store: Any) -> None:
    short = {"values": ("2", "4"), "trials": 1, "final_seeds": 1}
    with pytest.raises(UserError, match=r"metric=test/los: .*; did you mean test/loss\?"):
        compare(**short, metric="test/los", direction="minimize")
    (run,) = runs_of("tags.entry_point = 'compare_tuned'")
    assert run.info.status == "FAILED"
    assert compare(**short, resume=True).info.status == "FINISHED"
    assert len(stage("finalist")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameter": "batch_sise"}, "parameter: line has no parameter batch_sise; did you mean"),
        ({"parameter": "seed"}, "parameter: seed belongs to the study"),
        ({"parameter": "learning_rate", "values": ()}, "values: have to be given, as parameter=l"),
        ({"values": ("2", "two")}, "batch_size=two: "),
        ({"values": ("2",)}, "values=2: have to be two or more"),
        ({"values": ("2", "2")}, "values=2 2: one of them stands twice"),
        ({"metric": "test/entropy"}, "metric=test/entropy: does not say whether more"),
        ({"study_name": "", "resume": True}, "resume=True: .*needs study_name"),
        ({"final_seeds": 2**32}, "final_seeds=4294967296: seeds from 6"),
    ],
)
def test_what_cannot_be_compared_leaves_no_run(
    changes: dict[str, Any], message: str, store: Any
) -> None:
    with pytest.raises(UserError, match=message):
        compare(**changes)
    assert mlflow.search_runs(search_all_experiments=True).empty


def test_the_password_of_the_storage_is_logged_nowhere(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "studies_of", lambda *_: {})
    monkeypatch.setattr(command, "train_best", interrupted)
    password = "-".join(["pass", "word"])  # not as it stands here, for changes are logged, too
    with pytest.raises(KeyboardInterrupt) as caught:
        compare(storage=f"postgresql://me:{password}@host/studies")
    (run,) = runs_of("tags.entry_point = 'compare_tuned'")
    assert run.data.params["storage"] == "postgresql://me:***@host/studies"
    assert password not in "".join(caught.value.__notes__)
    files = [path for path in store.rglob("*") if path.is_file()]
    assert len(files) > 1
    assert not [path for path in files if password.encode() in path.read_bytes()]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("num_values", [2, 7, 12, 14])
def test_by_default_new_seeds_can_show_a_difference(
    num_values: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TunedComparisonConfig(**{**SMALL, "final_seeds": "auto"})
    seeds = command.final_seeds(config, num_values)
    assert seeds[0] == 6
    assert len(seeds) >= 10
    assert smallest_adjusted_p(len(seeds), num_values) <= 0.05
    assert len(seeds) == 10 or smallest_adjusted_p(len(seeds) - 1, num_values) > 0.05
    assert capsys.readouterr().out == ""


def test_too_few_new_seeds_are_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    config = TunedComparisonConfig(**{**SMALL, "final_seeds": 11})
    assert command.final_seeds(config, 12) == range(6, 17)
    p = smallest_adjusted_p(11, 12)
    assert capsys.readouterr().out == (
        "Warning: final_seeds=11: No difference can be shown by so few runs: "
        f"p = {p:.3g} is the smallest that 11 pairs can reach; it takes 12 pairs.\n"
    )


def smallest_adjusted_p(num_seeds: int, num_values: int) -> float:
    """Return that of a value that is ahead of another one with every seed."""
    p: float = wilcoxon(np.arange(1, num_seeds + 1), method="exact").pvalue
    return p * num_values * (num_values - 1) / 2


def test_all_values_of_a_parameter_that_has_few() -> None:
    classifier = find("seq_classification")
    assert command.possible_values(classifier, "optimizer") == ("adamw", "sgd", "muon")
    assert command.possible_values(classifier, "bidirectional") == ("False", "True")
    assert command.possible_values(classifier, "width") == ("8", "16", "32", "64")


def test_the_command_is_understood_as_it_was_given() -> None:
    config = TunedComparisonConfig(**{**SMALL, "set": ("num_epochs=2",), "resume": True})
    words = config.as_command().split()
    assert words[:5] == ["python", "-m", "tuning.compare", "line", "batch_size"]
    assert parse(TunedComparisonConfig, [*words[3:], "--resume"]) == config


def test_the_champion_is_left_out_of_the_first_trials() -> None:
    config = StudyConfig(experiment="line")
    assert study.known_points(config, SPACE, try_champion=False) == [
        SPACE.point_near(SPACE.final_configuration({}))
    ]

"""Comparing runs: which are taken, how they are grouped, what is said of them."""

import base64
import json
import re
import statistics
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient

from experiments import compare
from experiments.compare import CompareConfig
from experiments.harness.errors import UserError

CELLS = {"gru": [0.91, 0.97, 0.94], "lstm": [0.99, 0.95], "<b>rnn</b>": [0.5]}
"""Accuracies of the runs, by a parameter."""


@pytest.fixture
def runs(store: Path) -> dict[str, list[str]]:
    """Log runs as experiments do; return their ids by cell."""
    client = MlflowClient()
    place = mlflow.create_experiment("rnn", f"file://{store}/artifacts")
    ids: dict[str, list[str]] = {}
    for cell, values in CELLS.items():
        for seed, value in enumerate(values):
            tags = {"architecture": "rnn", "entry_point": "rnn", "seed": str(seed)}
            tags["mlflow.note.content"] = f"Good.\n\n```\npython -m experiments.rnn {cell}\n```\n"
            run = client.create_run(place, tags=tags, run_name=f"{cell} & {seed}")
            run_id = run.info.run_id
            client.log_param(run_id, "cell", cell)
            client.log_param(run_id, "length", "15")
            for epoch in range(1, 3 + seed):
                client.log_metric(run_id, "val/accuracy", value * epoch / 9, step=epoch)
                client.log_metric(run_id, "epoch_seconds", 0.5 + seed, step=epoch)
            client.log_metric(run_id, "best/val_accuracy", value)
            client.log_metric(run_id, "test/accuracy", value - 0.01)
            client.log_metric(run_id, "num_parameters", 1000)
            figure = Figure()
            figure.text(0.5, 0.5, f"{cell} {seed}")
            for name in "abcdefg":
                client.log_figure(run_id, figure, f"figures/{name}.png")
            client.set_terminated(run_id)
            ids.setdefault(cell, []).append(run_id)
    failed = client.create_run(place, tags={"architecture": "rnn"})
    client.log_metric(failed.info.run_id, "best/val_accuracy", 1.0)
    client.set_terminated(failed.info.run_id, "FAILED")
    return ids


def comparison(store: Path, **asked: Any) -> Any:
    """Compare, and return the run that was logged."""
    place = mlflow.get_experiment_by_name("comparison")
    if place is None:
        mlflow.create_experiment("comparison", f"file://{store}/comparisons")
    compare.main(CompareConfig(**asked))
    place = mlflow.get_experiment_by_name("comparison")
    (newest, *_) = MlflowClient().search_runs([place.experiment_id])
    return newest


def test_the_table_has_mean_spread_best_and_costs(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, experiment="rnn", group_by="cell")
    assert run.info.status == "FINISHED"
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/comparison.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["group"] for row in rows] == ["lstm", "gru", "<b>rnn</b>"]  # by their means
    for row in rows:
        values = CELLS[row["group"]]
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(sum(values) / len(values))
        deviation = statistics.stdev(values) if len(values) > 1 else 0
        assert row["standard deviation"] == pytest.approx(deviation)
        assert row["best"] == max(values)
        assert row["test accuracy"] == pytest.approx(row["mean"] - 0.01)
        seconds = [(0.5 + seed) * (2 + seed) for seed in range(len(values))]
        assert row["seconds of training"] == pytest.approx(sum(seconds) / len(seconds))
        assert row["parameters"] == 1000
    assert run.data.metrics["by_group/gru_mean"] == pytest.approx(0.94)
    pictures = {file.path for file in MlflowClient().list_artifacts(run.info.run_id, "figures")}
    names = ("curves", "accuracy_by_time", "accuracy_by_parameters")
    assert pictures == {f"figures/{name}.png" for name in names}


def test_the_report_stands_alone(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, experiment="rnn", group_by="cell")
    html = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    assert not re.search(r"https?:|<script|<b>rnn|src=\"(?!data:)", html)
    assert "&lt;b&gt;rnn&lt;/b&gt; &amp; 0" in html
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(shown) == 3 + 3 * compare.MOST_PICTURES
    best = {"gru": 1, "lstm": 0, "<b>rnn</b>": 0}
    for cell, seed in best.items():
        assert runs[cell][seed] in html
        picture = mlflow.artifacts.download_artifacts(
            run_id=runs[cell][seed], artifact_path="figures/a.png"
        )
        assert base64.b64encode(Path(picture).read_bytes()).decode() in shown
    assert runs["gru"][0] not in html
    assert "python -m experiments.rnn gru" in html
    assert html.count("1 more pictures") == 3


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 6),
        ({"tags": ("architecture=rnn", "seed=0")}, 3),
        ({"tags": ("architecture=cnn",)}, 0),
        ({"study": "s"}, 2),
        ({"study": "s", "tags": ("seed=1",)}, 1),
        ({"metric": "test/accuracy"}, 6),
    ],
)
def test_runs_are_selected(
    asked: dict[str, Any], count: int, runs: dict[str, list[str]], store: Path
) -> None:
    for run_id in runs["lstm"]:
        MlflowClient().set_tag(run_id, "optuna.study_name", "s")
    if count:
        assert len(compare.select(CompareConfig(**asked))) == count
    else:
        with pytest.raises(UserError, match="no finished run with the metric"):
            compare.select(CompareConfig(**asked))


def test_runs_are_selected_by_their_ids(runs: dict[str, list[str]], store: Path) -> None:
    asked = [runs["gru"][0], runs["lstm"][1]]
    found = compare.select(CompareConfig(runs=tuple(asked)))
    assert {run.info.run_id for run in found} == set(asked)


def test_a_loss_is_better_when_lower(runs: dict[str, list[str]], store: Path) -> None:
    config = CompareConfig(group_by="cell", lower_is_better=True)
    groups = compare.grouped(config, compare.select(config))
    assert list(groups) == ["<b>rnn</b>", "gru", "lstm"]
    assert [member.value for member in groups["gru"]] == [0.91, 0.94, 0.97]


def test_a_parameter_of_all_comes_before_a_tag(runs: dict[str, list[str]], store: Path) -> None:
    client = MlflowClient()
    for cell, ids in runs.items():
        for run_id in ids:
            client.set_tag(run_id, "cell", "tag")
        assert list(groups_by("cell")) != ["tag"], cell
    assert list(groups_by("architecture")) == ["rnn"]
    client.log_param(runs["gru"][0], "architecture", "residual")  # as one of several kinds has
    assert set(groups_by("architecture")) == {"rnn"} or "residual" not in groups_by("architecture")


def groups_by(name: str) -> compare.Groups:
    config = CompareConfig(group_by=name)
    return compare.grouped(config, compare.select(config))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"experiment": "rn"}, "experiment=rn: no such experiment; did you mean rnn"),
        ({"group_by": "colour"}, "group_by=colour: no parameter or tag .* they differ in cell$"),
        ({"runs": ("abc",)}, "runs=abc: no run has that id"),
        ({"metric": "nothing"}, "metric=nothing: no finished run with the metric nothing"),
    ],
)
def test_what_cannot_be_compared_leaves_no_run(
    asked: dict[str, Any], reason: str, runs: dict[str, list[str]], store: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        compare.main(CompareConfig(**asked))
    assert mlflow.get_experiment_by_name("comparison") is None


def test_curves_are_the_metric_by_epoch(runs: dict[str, list[str]], store: Path) -> None:
    config = CompareConfig(group_by="cell")
    (best, *_) = compare.grouped(config, compare.select(config))["gru"]
    np.testing.assert_allclose(best.curve, [0.97 * epoch / 9 for epoch in (1, 2, 3)])


def test_the_table_can_be_read_by_programs(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, experiment="rnn", group_by="cell")
    config = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json")
    assert json.loads(config)["group_by"] == "cell"

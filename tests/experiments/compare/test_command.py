"""Comparing runs: which are selected, how they are grouped, what is logged of them."""

import base64
import json
import math
import re
import shutil
import statistics
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from experiments.compare import command
from experiments.compare.config import CompareConfig
from experiments.compare.groups import Groups, grouped, select
from experiments.compare.pairs import paired_results
from experiments.compare.table import caveats, headline, row_of
from harness.errors import UserError
from harness.significance import paired_tests

CELLS = {"gru": [0.91, 0.97, 0.94], "lstm": [0.99, 0.95], "<b>rnn</b>": [0.5]}
"""Accuracies of the runs, by a parameter."""


Logged = tuple[Path, dict[str, list[str]]]
"""A database of runs, and their ids by cell."""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Logged:
    """Log runs as experiments do, once for all tests, which have copies of the database."""
    folder = tmp_path_factory.mktemp("runs")
    database = Path(shutil.copy(empty_database, folder))
    client = MlflowClient(f"sqlite:///{database}")
    place = client.create_experiment("rnn", f"file://{folder}/artifacts")
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
            client.log_metric(run_id, "best/epoch", 2)
            client.log_metric(run_id, "test/accuracy", value - 0.01)
            client.log_metric(run_id, "num_parameters", 1000)
            figure = Figure()
            figure.text(0.5, 0.5, f"{cell} {seed}")
            for name in "abcdefg":
                client.log_figure(run_id, figure, f"figures/{name}.png")
            client.set_terminated(run_id)
            ids.setdefault(cell, []).append(run_id)
    failed = client.create_run(place, tags={"architecture": "rnn"}, run_name="failed")
    client.log_metric(failed.info.run_id, "best/val_accuracy", 1.0)
    client.log_metric(failed.info.run_id, "best/epoch", 1)
    client.set_terminated(failed.info.run_id, "FAILED")
    # A study logs its best value, too, but has trained nothing.
    study = client.create_run(
        place, tags={"architecture": "rnn", "optuna.study_name": "s"}, run_name="study"
    )
    client.log_metric(study.info.run_id, "best/val_accuracy", 1.0)
    client.set_terminated(study.info.run_id)
    return database, ids


@pytest.fixture
def runs(logged: Logged, store: Path) -> dict[str, list[str]]:
    """Put the runs into the test's store, and return their ids by cell."""
    database, ids = logged
    shutil.copy(database, store)
    return ids


def run_named(name: str) -> str:
    """Return the id of one of the runs that were logged."""
    place = mlflow.get_experiment_by_name("rnn")
    (run,) = MlflowClient().search_runs([place.experiment_id], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def set_parameter(name: str, values: Sequence[str], runs: dict[str, list[str]]) -> None:
    """Give all runs a parameter, with these values by turns."""
    ids = [run_id for each in runs.values() for run_id in each]
    for run_id, value in zip(ids, cycle(values), strict=False):
        MlflowClient().log_param(run_id, name, value)


def comparison(store: Path, **asked: Any) -> Any:
    """Compare, and return the run that was logged."""
    place = mlflow.get_experiment_by_name("comparison")
    if place is None:
        mlflow.create_experiment("comparison", f"file://{store}/comparisons")
    command.main(CompareConfig(**asked))
    place = mlflow.get_experiment_by_name("comparison")
    (newest, *_) = MlflowClient().search_runs([place.experiment_id])
    return newest


def test_the_table_has_mean_std_best_and_costs(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, experiment="rnn", group_by="cell")
    assert run.info.status == "FINISHED"
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/comparison.json")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["group"] for row in rows] == ["lstm", "gru", "<b>rnn</b>"]  # by their means
    for row in rows:
        values = CELLS[row["group"]]
        assert row["n"] == len(values)
        assert row["mean"] == pytest.approx(sum(values) / len(values))
        deviation = statistics.stdev(values) if len(values) > 1 else None  # of one: not known
        assert row["standard deviation"] == pytest.approx(deviation)
        assert row["best"] == max(values)
        assert row["test accuracy"] == pytest.approx(row["mean"] - 0.01)
        seconds = [(0.5 + seed) * (2 + seed) for seed in range(len(values))]
        assert row["seconds of training"] == pytest.approx(sum(seconds) / len(seconds))
        assert row["parameters"] == 1000
    assert run.data.metrics["by_group/gru_mean"] == pytest.approx(0.94)
    assert "by_group/_b_rnn__b__standard_deviation" not in run.data.metrics
    note = run.data.tags["mlflow.note.content"]
    assert "6 runs by cell: lstm comes first, best/val_accuracy 0.9700 ± 0.0283 (n=2)." in note
    assert "python -m experiments.compare --experiment rnn --group-by cell" in note
    pictures = {file.path for file in MlflowClient().list_artifacts(run.info.run_id, "figures")}
    names = ("curves", "by_training_time", "by_num_parameters")
    assert pictures == {f"figures/{name}.png" for name in names}


def test_the_report_stands_alone(
    runs: dict[str, list[str]], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MAX_PICTURES", 6)
    run = comparison(store, experiment="rnn", group_by="cell")
    html = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    assert not re.search(r"https?:|<script|<b>rnn|src=\"(?!data:)", html)
    assert "&lt;b&gt;rnn&lt;/b&gt; &amp; 0" in html
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(shown) == 3 + 3 * 6
    best = {"gru": 1, "lstm": 0, "<b>rnn</b>": 0}
    for cell, seed in best.items():
        assert runs[cell][seed] in html
        picture = mlflow.artifacts.download_artifacts(
            run_id=runs[cell][seed], artifact_path="figures/a.png"
        )
        assert base64.b64encode(Path(picture).read_bytes()).decode() in shown
    assert runs["gru"][0] not in html
    assert "python -m experiments.rnn gru" in html
    assert html.count("1 more figure in") == 3


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
        assert len(select(CompareConfig(**asked))) == count
    else:
        with pytest.raises(UserError, match="no finished run with the metric"):
            select(CompareConfig(**asked))


def test_runs_are_selected_by_their_ids(runs: dict[str, list[str]], store: Path) -> None:
    asked = [runs["gru"][0], runs["lstm"][1]]
    found = select(CompareConfig(runs=tuple(asked)))
    assert {run.info.run_id for run in found} == set(asked)


def test_a_loss_is_better_when_lower(runs: dict[str, list[str]], store: Path) -> None:
    config = CompareConfig(group_by="cell", direction="minimize")
    groups = grouped(config, select(config))
    assert list(groups) == ["<b>rnn</b>", "gru", "lstm"]
    assert [member.value for member in groups["gru"]] == [0.91, 0.94, 0.97]


def test_the_direction_follows_from_the_name_of_the_metric(
    runs: dict[str, list[str]], store: Path
) -> None:
    for ids in runs.values():
        for run_id in ids:
            MlflowClient().log_metric(run_id, "best/val_loss", 0.1 * len(ids))
            MlflowClient().log_metric(run_id, "best/val_entropy", 0.1)
    config = CompareConfig(group_by="cell", metric="best/val_loss")
    assert list(grouped(config, select(config))) == ["<b>rnn</b>", "lstm", "gru"]
    with pytest.raises(UserError, match=r"metric=best/val_entropy: .*add direction=maximize or"):
        command.main(CompareConfig(group_by="cell", metric="best/val_entropy"))


def test_how_far_the_first_is_ahead_stands_beside_the_standard_error() -> None:
    def row(group: str, n: int, mean: float, std: float | None) -> dict[str, Any]:
        return {"group": group, "n": n, "mean": mean, "standard deviation": std}

    config = CompareConfig(group_by="cell")
    a, b, c = row("a", 3, 0.95, 0.02), row("b", 5, 0.93, 0.01), row("c", 5, 0.9, 0.01)
    pooled = math.sqrt((2 * 0.02**2 + 4 * 0.01**2) / 6 * (1 / 3 + 1 / 5))
    close = "0.0200 ahead of b, too little to tell them apart by so few runs"
    assert f"It is {close} (pooled standard error {pooled:.4f})." in headline(config, [a, b, c], {})
    assert "It is 0.0500 ahead of c (pooled" in headline(config, [a, c], {})
    assert "one run each" in headline(config, [row("a", 1, 0.9, None), row("b", 1, 0.8, None)], {})
    tied = headline(config, [a, row("b", 1, 0.95, None), c], {})
    assert "a and b share the first place, best/val_accuracy 0.9500" in tied
    assert "ahead" not in tied


def test_what_is_not_finite_is_not_ranked(runs: dict[str, list[str]], store: Path) -> None:
    client, bad = MlflowClient(), [*runs["gru"][1:], runs["lstm"][0]]
    for run_id, value in zip(bad, (math.nan, math.inf, -math.inf), strict=True):
        client.log_metric(run_id, "best/val_loss", value)
    client.log_metric(runs["gru"][0], "best/val_loss", 0.1)
    config = CompareConfig(metric="best/val_loss")
    assert [run.info.run_id for run in select(config)] == [runs["gru"][0]]
    for run_id in bad:
        with pytest.raises(UserError, match="best/val_loss is not finite"):
            select(CompareConfig(metric="best/val_loss", runs=(run_id,)))


def test_failures_and_repeated_runs_are_told(runs: dict[str, list[str]], store: Path) -> None:
    """Those that did not fail may be the lucky ones; the same run twice is no second seed."""
    config = CompareConfig(group_by="cell", experiment="rnn")
    text = " ".join(caveats(config, found := select(config), grouped(config, found), {}, 8))
    assert "failed" not in text
    assert "not independent" not in text
    client = MlflowClient()
    client.log_param(run_named("failed"), "cell", "gru")
    client.set_tag(runs["gru"][1], "seed", "0")
    text = " ".join(caveats(config, found := select(config), grouped(config, found), {}, 8))
    assert "Runs that failed are not in the means: gru 1." in text
    assert "1 run of the same parameters and seed as another" in text


def test_ranking_by_the_test_split_is_pointed_out(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, group_by="cell", metric="test/accuracy")
    note = run.data.tags["mlflow.note.content"]
    assert "after a choice by this table no test split is left" in note
    assert "was not used for ranking" not in note


def test_a_parameter_of_all_comes_before_a_tag(runs: dict[str, list[str]], store: Path) -> None:
    client = MlflowClient()
    for cell, ids in runs.items():
        for run_id in ids:
            client.set_tag(run_id, "cell", "tag")
        assert list(groups_by("cell")) != ["tag"], cell
    assert list(groups_by("architecture")) == ["rnn"]
    client.log_param(runs["gru"][0], "architecture", "residual")  # as a cnn among others has
    assert list(groups_by("architecture")) == ["rnn"]


def groups_by(name: str) -> Groups:
    config = CompareConfig(group_by=name)
    return grouped(config, select(config))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"experiment": "rn"}, "experiment=rn: no such experiment; did you mean rnn"),
        ({"group_by": "colour"}, "group_by=colour: no parameter or tag .* they differ in cell$"),
        ({"runs": ("abc",)}, "runs=abc: no run has that id"),
        ({"metric": "nothing"}, "metric=nothing: no finished run with the metric nothing"),
        ({"tags": ("architecture",)}, "tags=architecture: has to be name=value"),
        ({"study": "moe-studie"}, "study=moe-studie: no run is of .*did you mean moe-study"),
    ],
)
def test_what_cannot_be_compared_leaves_no_run(
    asked: dict[str, Any], reason: str, runs: dict[str, list[str]], store: Path
) -> None:
    MlflowClient().set_tag(runs["gru"][0], "optuna.study_name", "moe-study")
    with pytest.raises(UserError, match=reason):
        command.main(CompareConfig(**asked))
    assert mlflow.get_experiment_by_name("comparison") is None


@pytest.mark.parametrize(
    ("name", "reason"), [("failed", "is FAILED"), ("study", "trained nothing itself")]
)
def test_a_run_that_was_named_is_not_left_out_silently(
    name: str, reason: str, runs: dict[str, list[str]], store: Path
) -> None:
    run_id = run_named(name)
    with pytest.raises(UserError, match=f"runs={run_id}: that run .*{reason}"):
        select(CompareConfig(runs=(runs["gru"][0], run_id)))


@pytest.mark.parametrize("value", ["/home/me/photos.zip", "../photos.zip", "a//b", "", "x" * 300])
def test_groups_may_have_any_name(value: str, runs: dict[str, list[str]], store: Path) -> None:
    set_parameter("data", [value], runs)
    run = comparison(store, experiment="rnn", group_by="data")
    assert run.info.status == "FINISHED"
    (mean,) = (v for k, v in run.data.metrics.items() if k.endswith("_mean"))
    assert mean == pytest.approx(statistics.fmean(v for each in CELLS.values() for v in each))
    assert "there is nothing to compare it with" in run.data.tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("values", "name"), [(["0.001", "1e-3"], "0.001"), (["", "''"], ""), (["a b", "'a b'"], "a b")]
)
def test_values_that_mlflow_run_spells_otherwise_are_the_same(
    values: list[str], name: str, runs: dict[str, list[str]], store: Path
) -> None:
    set_parameter("setting", values, runs)
    assert list(groups_by("setting")) == [name]


def test_what_else_differs_is_listed(runs: dict[str, list[str]], store: Path) -> None:
    set_parameter("width", ["16", "32"], runs)
    set_parameter("seed", ["0", "1"], runs)
    config = CompareConfig(group_by="cell")
    found = select(config)
    text = " ".join(caveats(config, found, grouped(config, found), {}, 8))
    assert "also differ in width." in text
    assert "task of its own" not in text
    client = MlflowClient()
    client.set_tag(runs["gru"][0], "architecture", "other")
    client.set_tag(runs["gru"][1], "one", "1")
    text = " ".join(caveats(config, found := select(config), groups_by("cell"), {}, 8))
    assert "task of its own" in text
    assert "5 more have no one" in " ".join(
        caveats(CompareConfig(group_by="one"), found, groups_by("one"), {}, 8)
    )


def test_runs_on_different_data_are_not_averaged_in_silence(
    runs: dict[str, list[str]], store: Path
) -> None:
    client, config = MlflowClient(), CompareConfig(group_by="cell")

    def tag(cell: str, *data: str) -> None:
        for run_id, words in zip(runs[cell], data, strict=True):
            for name, value in zip(("data", "data_fingerprint"), words.split(), strict=True):
                client.set_tag(run_id, name, value)

    def told() -> tuple[list[str], list[str]]:
        groups = grouped(config, found := select(config))
        lines = [line for line in caveats(config, found, groups, {}, 8) if "different data" in line]
        return [row_of(*group)["data"] for group in groups.items()], lines  # lstm, gru, rnn

    assert told() == (["unknown data"] * 3, [])
    for cell, ids in runs.items():  # other samples for each seed, as they are generated
        tag(cell, *[f"echo {seed}" for seed in range(len(ids))])
    assert told() == (["echo"] * 3, [])
    tag("gru", "echo 0", "copy 7", "echo 2")
    assert told() == (
        ["echo", "copy, echo", "echo"],
        [
            "The mean of gru is over runs on different data: copy, echo.",
            "The runs are on different data: copy, echo.",
        ],
    )
    tag("gru", "echo 0", "echo 1", "echo 2")
    tag("lstm", "echo 0", "echo 8")  # another file of that name, with the seed of one of gru
    data, lines = told()
    assert data == ["echo"] * 3
    assert lines == ["The runs are on different data: echo (1), echo (8)."]
    client.set_tag(runs["gru"][1], "seed", "0")
    assert "The mean of gru is over runs on different data: echo (0), echo (1)." in told()[1]


def test_of_many_groups_the_first_are_drawn(runs: dict[str, list[str]], store: Path) -> None:
    client = MlflowClient()
    place = mlflow.get_experiment_by_name("rnn").experiment_id
    for number in range(command.MAX_GROUPS):
        run_id = client.create_run(place, tags={"architecture": "rnn"}).info.run_id
        client.log_param(run_id, "cell", f"cell {number}")
        for name, value in {"best/val_accuracy": 0.1, "best/epoch": 1, "val/accuracy": 0.1}.items():
            client.log_metric(run_id, name, value)
        client.set_terminated(run_id)
    run = comparison(store, group_by="cell")
    html = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    assert html.count("<h3>") == command.MAX_GROUPS
    assert "cell 7" in html.partition("</table>")[0]
    assert f"the first {command.MAX_GROUPS} of {command.MAX_GROUPS + 3} groups" in html


def test_a_group_has_one_colour_in_all_pictures(runs: dict[str, list[str]], store: Path) -> None:
    groups = groups_by("cell")
    groups["lstm"] = [member._replace(num_parameters=np.nan) for member in groups["lstm"]]
    pictures = command.figures_of("best/val_accuracy", groups)

    def colours(name: str) -> dict[str, Any]:
        lines: Any
        lines, labels = pictures[name].axes[0].get_legend_handles_labels()
        return {label: line.get_color() for label, line in zip(labels, lines, strict=True)}

    everywhere, fewer = colours("curves"), colours("by_num_parameters")
    assert set(everywhere) - set(fewer) == {"lstm"}
    assert fewer.items() <= everywhere.items()


def test_what_is_logged_once_has_no_curve(runs: dict[str, list[str]], store: Path) -> None:
    for ids in runs.values():
        for run_id in ids:
            MlflowClient().log_metric(run_id, "test/loss", 0.1)
    config = CompareConfig(group_by="cell", metric="test/loss")
    members = [member for group in grouped(config, select(config)).values() for member in group]
    assert members
    assert not any(len(member.curve) for member in members)


def test_curves_are_the_metric_by_epoch(runs: dict[str, list[str]], store: Path) -> None:
    config = CompareConfig(group_by="cell")
    (best, *_) = grouped(config, select(config))["gru"]
    np.testing.assert_allclose(best.curve, [0.97 * epoch / 9 for epoch in (1, 2, 3)])


def test_the_table_can_be_read_by_programs(runs: dict[str, list[str]], store: Path) -> None:
    run = comparison(store, experiment="rnn", group_by="cell")
    config = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json")
    assert json.loads(config)["group_by"] == "cell"


def log_runs(values: dict[str, list[float]], data: str = "echo") -> None:
    """Log a run for each value of a cell, with seeds from 0 upwards, on data of that name."""
    client, place = MlflowClient(), mlflow.get_experiment_by_name("rnn").experiment_id
    for cell, each in values.items():
        for seed, value in enumerate(each):
            tags = {"seed": str(seed), "data": data, "data_fingerprint": f"{data}{seed}"}
            run_id = client.create_run(place, tags=tags).info.run_id
            client.log_param(run_id, "kind", cell)
            client.log_metric(run_id, "best/epoch", 1)
            client.log_metric(run_id, "best/val_accuracy", value)
            client.log_metric(run_id, "prediction_seconds", 0.0125)
            client.set_terminated(run_id)


def by_kind(store: Path) -> tuple[str, dict[str, Any], set[str], Run]:
    """Compare by kind; return description, table of tests by both names, and figures."""
    run = comparison(store, experiment="rnn", group_by="kind")
    files = {each.path for each in MlflowClient().list_artifacts(run.info.run_id, "tables")}
    tests = {}
    if "tables/paired_tests.json" in files:
        table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/paired_tests.json")
        for row in table["data"]:
            tests[f"{row[0]} {row[1]}"] = dict(zip(table["columns"], row, strict=True))
    figures = {each.path for each in MlflowClient().list_artifacts(run.info.run_id, "figures")}
    return run.data.tags["mlflow.note.content"], tests, figures, run


def test_runs_with_the_same_seed_and_data_are_paired(
    runs: dict[str, list[str]], store: Path
) -> None:
    gru = [0.91, 0.95, 0.93, 0.97, 0.92, 0.94, 0.96, 0.90]
    log_runs({"lstm": [v - 0.02 + s / 1000 for s, v in enumerate(gru)], "gru": gru})
    log_runs({"rnn": [v + (-1) ** s / 100 for s, v in enumerate(gru)][:5]})
    log_runs({"gru": [0.1], "rnn": [0.9]}, data="copy")
    log_runs({"fcn": [0.5]}, data="adding")  # paired with none
    note, tests, figures, run = by_kind(store)
    assert set(tests) == {"rnn lstm", "rnn gru", "lstm gru"}
    assert tests["lstm gru"]["num pairs"] == 8
    assert tests["lstm gru"]["p"] == pytest.approx(2 / 2**8)
    assert tests["lstm gru"]["adjusted p"] == pytest.approx(3 * 2 / 2**8)
    assert tests["rnn gru"]["num pairs"] == 6
    assert tests["rnn gru"]["mean difference"] == pytest.approx((0.8 + 0.01) / 6)
    assert "figures/critical_difference.png" not in figures, "fcn has nothing in common"
    assert f"ahead of lstm, which may be chance: p = {2 * 2 / 2**5:.3g} over 5 pairs." in note
    assert run.data.metrics["by_group/lstm_p_against_the_first"] == pytest.approx(0.125)
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/comparison.json")
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    assert rows["rnn"]["p against the first"] is None
    assert rows["gru"]["p against the first"] == pytest.approx(tests["rnn gru"]["adjusted p"])
    assert rows["gru"]["seconds to predict"] == pytest.approx(0.0125)
    assert "with the same seed, with Holm's correction for 3 tests; above 0.05" in note
    assert "No difference can be shown" not in note


def test_what_is_clear_is_not_called_chance(runs: dict[str, list[str]], store: Path) -> None:
    gru = [0.91, 0.95, 0.93, 0.97, 0.92, 0.94, 0.96, 0.90]
    log_runs({"gru": gru, "lstm": [v - 0.02 for v in gru], "rnn": [v - 0.03 for v in gru]})
    note, _, figures, _ = by_kind(store)
    assert "It is 0.0200 ahead of lstm, p = 0.0234 over 8 pairs." in note
    assert "figures/critical_difference.png" in figures


def test_too_few_pairs_are_said_to_show_nothing(runs: dict[str, list[str]], store: Path) -> None:
    gru = [0.91, 0.95, 0.93, 0.97, 0.92]
    log_runs({"gru": gru, "lstm": [v - 0.02 for v in gru]})
    note, _, figures, _ = by_kind(store)
    assert "ahead of lstm, which may be chance: p = 0.0625 over 5 pairs" in note
    assert (
        "No difference can be shown by so few runs: p = 0.0625 is the smallest that 5 pairs can "
        "reach; it takes 6 pairs." in note
    )
    assert "Holm" not in note
    assert "figures/critical_difference.png" not in figures, "two groups have no need of it"


def test_runs_of_unknown_data_are_not_paired(runs: dict[str, list[str]], store: Path) -> None:
    config = CompareConfig(group_by="cell")
    assert paired_tests(paired_results(grouped(config, select(config)))) == {}

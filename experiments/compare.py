"""Compare runs that were tracked: by group, over seeds, against time and against parameters.

    python -m experiments.compare --experiment rnn --group-by cell
    python -m experiments.compare --tags architecture=seq_classification --group-by encoder
    python -m experiments.compare --runs RUN_ID RUN_ID RUN_ID --group-by num_experts

A run with a table, curves and a report is what comes of it. Groups stand in the order of their
means on validation; what they reach on the test split is told beside it, and chooses nothing.
"""

import re
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic.dataclasses import dataclass

from experiments.figures import comparison as figures
from experiments.harness import signals, tracking
from experiments.harness.config import STRICT, Configuration, Words, as_words, nearest, parse
from experiments.harness.errors import UserError
from experiments.harness.launch import run_command
from experiments.harness.metrics import decimal
from experiments.harness.report import Column, Picture, Report
from experiments.harness.tracking import spread

MOST_PICTURES = 12
"""Of each group's best run, in the report."""
MOST_GROUPS = 8
"""That are drawn, as many as there are colours; the table has all."""
TOLD_APART_BY = {"seed", "seeds", "resume", "device", "checkpoint_seconds"}
"""Parameters in which runs of one recipe may differ."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CompareConfig(Configuration):
    """Compare runs that were tracked, by groups."""

    entry_point: ClassVar[str] = "compare"
    tiny: ClassVar[Mapping[str, Any]] = {"experiment": "moe"}

    experiment: str = ""
    """MLflow experiment that the runs are in (empty: any)."""
    study: str = ""
    """Name of the study that they belong to (empty: any, or none)."""
    tags: Words = ()
    """Tags that they bear, as name=value."""
    runs: Words = ()
    """Their ids (none: all that the rest allows)."""
    group_by: str = "architecture"
    """What they are grouped by: a parameter that all of them have, or a tag."""
    metric: str = "best/val_accuracy"
    """What they are judged by; runs without it are left out."""
    lower_is_better: bool = False
    """Whether less of that is better, as of a loss."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.compare"


class Member(NamedTuple):
    """A run, and what of it is compared."""

    run: Run
    value: float
    """Of the metric."""
    test: float
    """Test accuracy; not a number where there is none."""
    seconds: float
    """Of training; not a number where that is not known."""
    parameters: float
    """Of the model, likewise."""
    curve: np.ndarray
    """The metric by epoch, (epochs,); empty where there is none."""


Groups = dict[str, list[Member]]
"""The best group first, and in each the best run first."""


def main(config: CompareConfig) -> None:
    """Compare what the configuration selects.

    Raises:
        UserError: nothing is selected, or it cannot be grouped so.

    """
    with tracking.store_errors(), tracking.store_lock():
        runs = select(config)
    groups = grouped(config, runs)
    with tracking.track_command(config, "comparison") as run_id:
        log_comparison(config, runs, groups, run_id)


def select(config: CompareConfig) -> list[Run]:
    """Return the finished training runs that have the metric and are what is asked for.

    Raises:
        UserError: an experiment, a study or a run does not exist, or there is none such.

    """
    client = MlflowClient()
    experiments = {each.name: each.experiment_id for each in client.search_experiments()}
    if config.experiment and config.experiment not in experiments:
        hint = nearest(config.experiment, experiments, f"; there are {', '.join(experiments)}")
        raise UserError(f"experiment={config.experiment}: no such experiment{hint}")
    places = [experiments[config.experiment]] if config.experiment else list(experiments.values())
    wanted = dict(map(_name_and_value, config.tags))
    if config.study:
        wanted["optuna.study_name"] = config.study
    trained = {
        run.info.run_id: run
        for run in finished_runs(places)
        # The parents of studies and of several seeds have metrics of their own, but no epoch.
        if "best/epoch" in run.data.metrics and config.metric in run.data.metrics
    }
    for run_id in config.runs:
        if run_id not in trained:
            raise UserError(f"runs={run_id}: {_why_not(run_id, config)}")
    found = [
        run
        for run_id, run in trained.items()
        if (not config.runs or run_id in config.runs)
        and all(run.data.tags.get(name) == value for name, value in wanted.items())
    ]
    if config.study and not found:
        studies = {run.data.tags.get("optuna.study_name", "") for run in trained.values()}
        if config.study not in studies:
            hint = nearest(config.study, studies)
            raise UserError(f"study={config.study}: no run is of a study of that name{hint}")
    if not found:
        asked = " ".join(as_words(config.changes()))
        metric = f"no finished run with the metric {config.metric}"
        raise UserError(f"{asked}: {metric} is among these" if asked else f"there is {metric}")
    return found


def _name_and_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"tags={text}: has to be name=value")
    return name, value


def _why_not(run_id: str, config: CompareConfig) -> str:
    """Say why a run that was named is none to compare."""
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException:
        return "no run has that id"
    if run.info.lifecycle_stage == "deleted":
        return "that run is deleted"
    if run.info.status != "FINISHED":
        return f"that run is {run.info.status}; only finished ones are compared"
    if "best/epoch" not in run.data.metrics:
        return "that run has trained nothing itself; its children may have"
    if config.metric not in run.data.metrics:
        return f"that run has no metric {config.metric}"
    return f"that run is not in experiment {config.experiment}"


def finished_runs(experiment_ids: Sequence[str]) -> Iterable[Run]:
    """Yield every run of these experiments that has finished."""
    token = None
    while True:
        page = MlflowClient().search_runs(
            list(experiment_ids), "attributes.status = 'FINISHED'", page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def grouped(config: CompareConfig, runs: Sequence[Run]) -> Groups:
    """Put runs into groups, by a parameter that all of them have, or else by a tag.

    Raises:
        UserError: what they are to be grouped by is known of none.

    """
    # A cnn has a parameter `architecture`, and like all runs a tag of that name.
    is_parameter = all(config.group_by in run.data.params for run in runs)
    groups: Groups = {}
    for run in runs:
        known = run.data.params if is_parameter else run.data.params | run.data.tags
        if config.group_by in known:
            name = plain(known[config.group_by])
            groups.setdefault(name, []).append(measured(config, run))
    if not groups:
        hint = f"; they differ in {', '.join(differing(runs)) or 'nothing'}"
        raise UserError(f"group_by={config.group_by}: no parameter or tag of these runs{hint}")
    sign = 1 if config.lower_is_better else -1
    for members in groups.values():
        members.sort(key=lambda member: sign * member.value)
    order = sorted(groups, key=lambda n: sign * statistics.fmean(m.value for m in groups[n]))
    return {name: groups[name] for name in order}


def plain(value: str) -> str:
    """Return a value as it is logged without `mlflow run`, which quotes it, and keeps 1e-3."""
    if len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1]
    try:
        return f"{float(value):.12g}"
    except ValueError:
        return value


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the parameters in which runs differ, by which they could be grouped."""
    names = sorted({name for run in runs for name in run.data.params})
    return [
        name for name in names if len({plain(run.data.params.get(name, "")) for run in runs}) > 1
    ]


def measured(config: CompareConfig, run: Run) -> Member:
    """Look up what of a run is compared."""
    metrics = run.data.metrics
    return Member(
        run,
        metrics[config.metric],
        metrics.get("test/accuracy", np.nan),
        float(history(run, "epoch_seconds").sum()) or np.nan,
        metrics.get("num_parameters", np.nan),
        history(run, config.metric.replace("best/val_", "val/")),
    )


def history(run: Run, metric: str) -> np.ndarray:
    """Return a metric by epoch, (epochs,)."""
    if metric not in run.data.metrics:
        return np.empty(0)
    points = MlflowClient().get_metric_history(run.info.run_id, metric)
    return np.array([point.value for point in sorted(points, key=lambda point: point.step)])


def log_comparison(
    config: CompareConfig, runs: Sequence[Run], groups: Groups, run_id: str, command: str = ""
) -> None:
    """Log table, numbers, pictures and report to a run, and print the table.

    Args:
        config: what was asked for.
        runs: what was selected.
        groups: the same by groups, as far as it belongs to one.
        run_id: of the run to log to.
        command: what repeats it (empty: comparing, as `config` says).

    """
    client = MlflowClient()
    rows = [in_numbers(name, members) for name, members in groups.items()]
    table = {column: [row[column] for row in rows] for column in rows[0]}
    mlflow.log_table(table, "tables/comparison.json", run_id=run_id)
    numbers = {
        f"by_group/{as_metric_name(row['group'])}_{column.replace(' ', '_')}": row[column]
        for row in rows
        for column in ("mean", "standard deviation", "test accuracy")
        if row[column] is not None
    }
    for batch in tracking.in_batches(tracking.as_metrics(numbers, step=0)):
        client.log_batch(run_id, metrics=batch)

    drawn_groups = dict(list(groups.items())[:MOST_GROUPS])
    pictures = draw_pictures(config, drawn_groups)
    for title, figure in pictures.items():
        client.log_figure(run_id, figure, f"figures/{title}.png")
    drawn = [Picture.of(title.replace("_", " "), figure) for title, figure in pictures.items()]
    caveats = remarks(config, runs, groups)
    report = Report(
        title=f"Runs by {config.group_by}",
        remarks=caveats,
        headings=list(rows[0]),
        rows=[cells(row) for row in rows],
        figures=drawn,
        columns=[column_of(config, name, members[0]) for name, members in drawn_groups.items()],
    )
    client.log_text(run_id, report.html(), "report.html")
    headline = headline_of(config, rows)
    text = "\n".join([headline, "", *(f"- {remark}" for remark in caveats)])
    note = f"{text}\n\n```\n{command or config.as_command()}\n```\n"
    client.set_tag(run_id, "mlflow.note.content", note)
    print(as_text(rows), *caveats, headline, sep="\n")
    print(f"Run {run_id}; `mlflow ui` shows its curves, pictures and report.html.")


def as_metric_name(group: str) -> str:
    """Return a group's name as a part of a metric's name: no path, and short."""
    return re.sub(r"[^\w. -]", "_", group)[:100]


def headline_of(config: CompareConfig, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what the comparison has come to, in one line."""
    first, count = rows[0], sum(row["n"] for row in rows)
    deviation = first["standard deviation"]
    spread_of_it = "" if deviation is None else f" ± {decimal(deviation, beside=first['mean'])}"
    return (
        f"{count} run{'s' * (count > 1)} by {config.group_by}: {first['group'] or '(empty)'} comes "
        f"first, {config.metric} {decimal(first['mean'])}{spread_of_it} (n={first['n']})."
    )


def remarks(config: CompareConfig, runs: Sequence[Run], groups: Groups) -> list[str]:
    """Return what a reader has to know lest numbers be taken for what they are not."""
    better = "lower" if config.lower_is_better else "higher"
    said = [f"Judged by {config.metric}, of which {better} is better"]
    said[0] += (
        ", on the test split: what is chosen by this table has no test left."
        if config.metric.startswith("test/")
        else "; the test accuracy is told beside it and has chosen nothing."
    )
    members = [member.run for each in groups.values() for member in each]
    others = [n for n in differing(members) if n not in {config.group_by, *TOLD_APART_BY}]
    if len({run.data.tags.get("architecture") for run in members}) > 1:
        said.append(
            "Each architecture has a task of its own: accuracies tell how far each has got, not "
            "which is the better one."
        )
    elif others:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        said.append(f"The runs also differ in {', '.join(others[:10])}{more}.")
    if len(groups) == 1:
        said.append("All runs are of one group: there is nothing to compare it with.")
    if len(groups) > MOST_GROUPS:
        said.append(f"Pictures show the first {MOST_GROUPS} of {len(groups)} groups.")
    if left_out := len(runs) - len(members):
        said.append(f"{left_out} more have no {config.group_by}, and are left out.")
    return said


def in_numbers(name: str, members: Sequence[Member]) -> dict[str, Any]:
    """Return the row of a group; what is not known is None."""
    values = [member.value for member in members]
    return {
        "group": name,
        "n": len(values),
        "mean": statistics.fmean(values),
        "standard deviation": spread(values) if len(values) > 1 else None,
        "best": values[0],
        "test accuracy": mean_of(member.test for member in members),
        "seconds of training": mean_of(member.seconds for member in members),
        "parameters": mean_of(member.parameters for member in members),
    }


def mean_of(values: Iterable[float]) -> float | None:
    """Return the mean of what is known, and None if nothing is."""
    known = [value for value in values if not np.isnan(value)]
    return statistics.fmean(known) if known else None


def draw_pictures(config: CompareConfig, groups: Groups) -> dict[str, Any]:
    """Draw curves, and what the runs have reached against their time and their size."""
    pictures = {}
    # Groups that have none of these stay, so that each has one colour in all pictures.
    curves = {
        name: [member.curve for member in members if len(member.curve)]
        for name, members in groups.items()
    }
    y = config.metric.removeprefix("best/").replace("_", " ").replace("val ", "validation ")
    if any(curves.values()):
        pictures["curves"] = figures.curves(curves, y)
    for title, field, draw in (
        ("accuracy_by_time", "seconds", figures.against_time),
        ("accuracy_by_parameters", "parameters", figures.against_parameters),
    ):
        known_of = {
            name: [member for member in members if getattr(member, field) > 0]
            for name, members in groups.items()
        }
        xs, ys = (
            {
                name: np.array([getattr(member, what) for member in members])
                for name, members in known_of.items()
            }
            for what in (field, "value")
        )
        if any(map(len, xs.values())):
            pictures[title] = draw(xs, ys, y)
    return pictures


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row of the table as text."""
    return [_cell(column, value, row["mean"]) for column, value in row.items()]


def _cell(column: str, value: Any, mean: float) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if column == "parameters":
        return f"{value:,.0f}"
    if column == "seconds of training" or value >= 10:
        return f"{value:,.1f}"
    return decimal(value, beside=mean if column == "standard deviation" else None)


def column_of(config: CompareConfig, group: str, best: Member) -> Column:
    """Return the best run of a group with its pictures and the command that repeats it."""
    info, tags = best.run.info, best.run.data.tags
    files = [
        file.path
        for file in MlflowClient().list_artifacts(info.run_id, "figures")
        if file.path.endswith(".png")
    ]
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files[:MOST_PICTURES]:
            local = mlflow.artifacts.download_artifacts(
                run_id=info.run_id, artifact_path=path, dst_path=folder
            )
            pictures.append(Picture(Path(path).stem.replace("_", " "), Path(local).read_bytes()))
    command = re.search(r"```\n(.*?)\n```", tags.get("mlflow.note.content", ""), re.DOTALL)
    left_out = len(files) - len(pictures)
    return Column(
        heading=f"{config.group_by}={group}: {decimal(best.value)}",
        name=info.run_name or "",
        run_id=info.run_id,
        command=command[1] if command else "",
        pictures=pictures,
        note=f"{left_out} more pictures are in the run itself." if left_out else "",
    )


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a terminal."""
    lines = [list(rows[0]), *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(parse(CompareConfig)))

"""Compare runs that were tracked: by group, over seeds, against time and against parameters.

    python -m experiments.compare --experiment rnn --group-by cell
    python -m experiments.compare --tags architecture=seq_classification --group-by encoder
    python -m experiments.compare --runs RUN_ID RUN_ID RUN_ID --group-by num_experts

A run with a table, curves and a report is what comes of it. Groups stand in the order of their
means on validation; what they reach on the test split is told beside it, and chooses nothing.
"""

import re
import statistics
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
from experiments.harness.config import STRICT, Configuration, Words, nearest, parse
from experiments.harness.errors import UserError
from experiments.harness.launch import run_command
from experiments.harness.report import Column, Picture, Report
from experiments.harness.tracking import spread

MOST_PICTURES = 6
"""Of each group's best run, in the report."""


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
        log_comparison(config, groups, run_id)


def select(config: CompareConfig) -> list[Run]:
    """Return the finished runs that have the metric and are what is asked for.

    Raises:
        UserError: an experiment or a run does not exist, or there is none such.

    """
    client = MlflowClient()
    experiments = {each.name: each.experiment_id for each in client.search_experiments()}
    if config.experiment and config.experiment not in experiments:
        hint = nearest(config.experiment, experiments, f"; there are {', '.join(experiments)}")
        raise UserError(f"experiment={config.experiment}: no such experiment{hint}")
    places = [experiments[config.experiment]] if config.experiment else list(experiments.values())
    wanted = dict(tag.partition("=")[::2] for tag in config.tags)
    if config.study:
        wanted["optuna.study_name"] = config.study
    for run_id in config.runs:
        try:
            client.get_run(run_id)
        except MlflowException:
            raise UserError(f"runs={run_id}: no run has that id") from None
    found = [
        run
        for run in finished_runs(places)
        if config.metric in run.data.metrics
        and (not config.runs or run.info.run_id in config.runs)
        and all(run.data.tags.get(name) == value for name, value in wanted.items())
    ]
    if not found:
        asked = " ".join(f"{k}={v}" for k, v in config.changes().items()) or "everything"
        raise UserError(f"{asked}: no finished run with the metric {config.metric} is among these")
    return found


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
            groups.setdefault(known[config.group_by], []).append(measured(config, run))
    if not groups:
        hint = f"; they differ in {', '.join(differing(runs)) or 'nothing'}"
        raise UserError(f"group_by={config.group_by}: no parameter or tag of these runs{hint}")
    sign = 1 if config.lower_is_better else -1
    for members in groups.values():
        members.sort(key=lambda member: sign * member.value)
    order = sorted(groups, key=lambda n: sign * statistics.fmean(m.value for m in groups[n]))
    return {name: groups[name] for name in order}


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the parameters in which runs differ, by which they could be grouped."""
    names = sorted({name for run in runs for name in run.data.params})
    return [name for name in names if len({run.data.params.get(name) for run in runs}) > 1]


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


def log_comparison(config: CompareConfig, groups: Groups, run_id: str) -> None:
    """Log table, numbers, pictures and report to a run, and print the table."""
    client = MlflowClient()
    rows = [in_numbers(name, members) for name, members in groups.items()]
    table = {column: [row[column] for row in rows] for column in rows[0]}
    mlflow.log_table(table, "tables/comparison.json", run_id=run_id)
    for row in rows:
        name = re.sub(r"[^\w. /-]", "_", str(row["group"]))
        for column in ("mean", "standard deviation", "test accuracy"):
            if row[column] is not None:
                key = f"by_group/{name}_{column.replace(' ', '_')}"
                client.log_metric(run_id, key, row[column])

    pictures = draw_pictures(config, groups)
    for title, figure in pictures.items():
        client.log_figure(run_id, figure, f"figures/{title}.png")
    drawn = [Picture.of(title.replace("_", " "), figure) for title, figure in pictures.items()]
    report = report_of(config, groups, rows, drawn)
    client.log_text(run_id, report.html(), "report.html")
    count = sum(map(len, groups.values()))
    best = rows[0]
    headline = (
        f"{count} runs by {config.group_by}: {best['group']} is best, {config.metric} "
        f"{best['mean']:.4f} ± {best['standard deviation']:.4f} (n={best['n']})."
    )
    note = f"{headline}\n\n```\n{config.as_command()}\n```\n"
    client.set_tag(run_id, "mlflow.note.content", note)
    print(as_text(rows))
    print(f"{headline}\nRun {run_id}; `mlflow ui` shows its curves, pictures and report.html.")


def in_numbers(name: str, members: Sequence[Member]) -> dict[str, Any]:
    """Return the row of a group; what is not known is None."""
    values = [member.value for member in members]
    return {
        "group": name,
        "n": len(values),
        "mean": statistics.fmean(values),
        "standard deviation": spread(values),
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
    curves = {
        name: [member.curve for member in members if len(member.curve)]
        for name, members in groups.items()
    }
    y = config.metric.removeprefix("best/").replace("_", " ").replace("val ", "validation ")
    if known := {name: runs for name, runs in curves.items() if runs}:
        pictures["curves"] = figures.curves(known, y)
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
                if members
            }
            for what in (field, "value")
        )
        if xs:
            pictures[title] = draw(xs, ys, y)
    return pictures


def report_of(
    config: CompareConfig,
    groups: Groups,
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
) -> Report:
    """Return the report: the table, the pictures, and the best run of each group."""
    better = "lower" if config.lower_is_better else "higher"
    return Report(
        title=f"Runs by {config.group_by}",
        remarks=[
            f"Judged by {config.metric}, of which {better} is better; the test accuracy is told "
            "beside it and has chosen nothing."
        ],
        headings=list(rows[0]),
        rows=[[cell(value) for value in row.values()] for row in rows],
        figures=pictures,
        columns=[column_of(config, name, members[0]) for name, members in groups.items()],
    )


def cell(value: Any) -> str:
    """Return a cell of the table as text."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value > 1000 else f"{value:.1f}" if value > 10 else f"{value:.4f}"
    return str(value)


def column_of(config: CompareConfig, group: str, best: Member) -> Column:
    """Return the best run of a group with its pictures and the command that repeats it."""
    info, tags = best.run.info, best.run.data.tags
    files = [
        file.path
        for file in MlflowClient().list_artifacts(info.run_id, "figures")
        if file.path.endswith(".png")
    ]
    pictures = []
    for path in files[:MOST_PICTURES]:
        local = mlflow.artifacts.download_artifacts(run_id=info.run_id, artifact_path=path)
        pictures.append(Picture(Path(path).stem.replace("_", " "), Path(local).read_bytes()))
    command = re.search(r"```\n(.*?)\n```", tags.get("mlflow.note.content", ""), re.DOTALL)
    left_out = len(files) - len(pictures)
    return Column(
        heading=f"{config.group_by}={group}: {cell(best.value)}",
        name=info.run_name or "",
        run_id=info.run_id,
        command=command[1] if command else "",
        pictures=pictures,
        note=f"{left_out} more pictures are in the run itself." if left_out else "",
    )


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a terminal."""
    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(parse(CompareConfig)))

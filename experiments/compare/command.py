"""Compare tracked runs: the result is a run with a table, figures and a report.

Groups stand in the order of their means on validation. Their accuracy on the test split is shown
beside it, and not used for ranking. Where groups have runs on the same data with the same seeds,
their differences are tested (see `harness.significance`).
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from experiments.compare.config import CompareConfig
from experiments.compare.groups import Groups, Member, grouped, select
from experiments.compare.pairs import paired_results, ranks_figure, table_of_tests
from experiments.compare.table import P_VALUE, as_text, caveats, cells, headline, rows_of
from harness.figures import comparison
from harness.report import Column, Picture, Report
from harness.significance import paired_tests
from harness.tracking.lifecycle import track_command
from harness.tracking.store import store_errors, store_lock
from harness.tracking.view import shown_at
from harness.training.metrics import decimal
from harness.wording import code_block, plural

MAX_PICTURES = 12  # of each group's best run, in the report
MAX_GROUPS = 8
"""Groups that are drawn, as many as there are colours; the table has all."""
MAX_RANKED = 16
"""Groups whose average ranks are drawn, which takes no colours."""


def main(config: CompareConfig) -> None:
    """Compare what the configuration selects; a UserError if it cannot be grouped so."""
    with store_errors(), store_lock():
        runs = select(config)
    groups = grouped(config, runs)
    with track_command(config, "comparison") as run_id:
        log_comparison(config, runs, groups, run_id)


def log_comparison(
    config: CompareConfig,
    runs: Sequence[Run],
    groups: Groups,
    run_id: str,
    *,
    command: str = "",
    about: Sequence[str] = (),
) -> None:
    """Log table, metrics, figures and report of the groups to a run, and print the table.

    `runs` are all that were selected; `command` repeats the comparison (empty: `config` does);
    `about` says where the runs come from.
    """
    client = MlflowClient()
    paired = paired_results(groups)
    tests = paired_tests(paired)
    rows = rows_of(groups, tests)
    table = {column: [row[column] for row in rows] for column in rows[0]}
    mlflow.log_table(table, "tables/comparison.json", run_id=run_id)
    if tests:
        mlflow.log_table(table_of_tests(tests), "tables/paired_tests.json", run_id=run_id)
    metrics = {}
    for row in rows:
        group = re.sub(r"[^\w. -]", "_", row["group"])[:100]  # a metric's name is a path, and short
        for column in ("mean", "standard deviation", "test accuracy", P_VALUE):
            if row.get(column) is not None:
                metrics[f"by_group/{group}_{column.replace(' ', '_')}"] = row[column]
    mlflow.log_metrics(metrics, run_id=run_id)

    drawn_groups = dict(list(groups.items())[:MAX_GROUPS])
    figures = figures_of(config.metric, drawn_groups)
    drawn = {name: paired[name] for name in list(groups)[:MAX_RANKED]}
    if (ranks := ranks_figure(drawn, tests, maximise=config.sign > 0)) is not None:
        figures["critical_difference"] = ranks
    for name, figure in figures.items():
        client.log_figure(run_id, figure, f"figures/{name}.png")
    notes = [*about, *caveats(config, runs, groups, tests, MAX_GROUPS)]
    report = Report(
        title=f"Runs by {config.group_by}",
        notes=notes,
        headings=list(rows[0]),
        rows=[cells(row) for row in rows],
        figures=[Picture.of(name.replace("_", " "), figure) for name, figure in figures.items()],
        columns=[column_of(config, name, members[0]) for name, members in drawn_groups.items()],
    )
    client.log_text(run_id, report.html(), "report.html")
    result = headline(config, rows, tests)
    text = "\n".join([result, "", *(f"- {note}" for note in notes)])
    description = f"{text}\n\n{code_block(command or config.as_command())}\n"
    client.set_tag(run_id, "mlflow.note.content", description)
    print(as_text(rows), *notes, result, sep="\n")
    print(f"Run {run_id}; {shown_at(run_id)}")


def figures_of(metric: str, groups: Groups) -> dict[str, Figure]:
    """Draw the figures that there are data for; each group has the same colour in all of them."""
    y = metric.removeprefix("best/").replace("_", " ").replace("val ", "validation ")
    drawn = {}
    curves = {name: [m.curve for m in members if len(m.curve)] for name, members in groups.items()}
    if any(curves.values()):
        drawn["curves"] = comparison.curves(curves, y)
    for title, field, x in (
        ("by_training_time", "training_seconds", "training time (s)"),
        ("by_num_parameters", "num_parameters", "number of parameters"),
    ):
        xs, ys = {}, {}
        for name, members in groups.items():
            known = [member for member in members if getattr(member, field) > 0]
            xs[name] = np.array([getattr(member, field) for member in known])
            ys[name] = np.array([member.value for member in known])
        if any(map(len, xs.values())):
            drawn[title] = comparison.against(xs, ys, x, y)
    return drawn


def column_of(config: CompareConfig, group: str, best: Member) -> Column:
    """Return the report's column of a group: its best run's figures and command."""
    info, tags = best.run.info, best.run.data.tags
    logged = (file.path for file in MlflowClient().list_artifacts(info.run_id, "figures"))
    paths = [path for path in logged if path.endswith(".png")]
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for path in paths[:MAX_PICTURES]:
            file = Path(MlflowClient().download_artifacts(info.run_id, path, folder))
            pictures.append(Picture(file.stem.replace("_", " "), file.read_bytes()))
    command = re.search(r"```\n(.*?)\n```", tags.get("mlflow.note.content", ""), re.DOTALL)
    left_out = len(paths) - len(pictures)
    return Column(
        heading=f"{config.group_by}={group}: {decimal(best.value)}",
        name=info.run_name or "",
        run_id=info.run_id,
        command=command[1] if command else "",
        pictures=pictures,
        note=f"{plural(left_out, 'more figure')} in the run itself." if left_out else "",
    )

"""Compare tracked runs: the result is a run with a table, figures and a report.

Groups stand in the order of their means on validation. Their accuracy on the test split is shown
beside it, and not used for ranking.
"""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from experiments.compare import figures
from experiments.compare.config import CompareConfig
from experiments.compare.groups import Groups, Member, grouped
from experiments.compare.selection import select
from experiments.compare.table import as_text, caveats, cells, headline, row_of
from harness.report import Column, Picture, Report
from harness.tracking.lifecycle import track_command
from harness.tracking.run import as_metrics, in_batches
from harness.tracking.store import store_errors, store_lock
from harness.training.metrics import decimal

MAX_PICTURES = 12
"""Of each group's best run, in the report."""
MAX_GROUPS = 8
"""Groups that are drawn, as many as there are colours; the table has all."""


def main(config: CompareConfig) -> None:
    """Compare what the configuration selects.

    Raises:
        UserError: nothing is selected, or it cannot be grouped so.

    """
    with store_errors(), store_lock():
        runs = select(config)
    groups = grouped(config, runs)
    with track_command(config, "comparison") as run_id:
        log_comparison(config, runs, groups, run_id)


def log_comparison(
    config: CompareConfig, runs: Sequence[Run], groups: Groups, run_id: str, command: str = ""
) -> None:
    """Log table, metrics, figures and report to a run, and print the table.

    Args:
        config: what was asked for.
        runs: what was selected.
        groups: the same by groups, without the runs that belong to none.
        run_id: of the run to log to.
        command: what repeats the comparison (empty: `compare`, as `config` says).

    """
    client = MlflowClient()
    rows = [row_of(name, members) for name, members in groups.items()]
    table = {column: [row[column] for row in rows] for column in rows[0]}
    mlflow.log_table(table, "tables/comparison.json", run_id=run_id)
    metrics = {
        f"by_group/{as_metric_name(row['group'])}_{column.replace(' ', '_')}": row[column]
        for row in rows
        for column in ("mean", "standard deviation", "test accuracy")
        if row[column] is not None
    }
    for batch in in_batches(as_metrics(metrics, step=0)):
        client.log_batch(run_id, metrics=batch)

    drawn_groups = dict(list(groups.items())[:MAX_GROUPS])
    drawn = figures.draw(config.metric, drawn_groups)
    for name, figure in drawn.items():
        client.log_figure(run_id, figure, f"figures/{name}.png")
    notes = caveats(config, runs, groups, MAX_GROUPS)
    report = Report(
        title=f"Runs by {config.group_by}",
        notes=notes,
        headings=list(rows[0]),
        rows=[cells(row) for row in rows],
        figures=[Picture.of(name.replace("_", " "), figure) for name, figure in drawn.items()],
        columns=[column_of(config, name, members[0]) for name, members in drawn_groups.items()],
    )
    client.log_text(run_id, report.html(), "report.html")
    result = headline(config, rows)
    text = "\n".join([result, "", *(f"- {note}" for note in notes)])
    description = f"{text}\n\n```\n{command or config.as_command()}\n```\n"
    client.set_tag(run_id, "mlflow.note.content", description)
    print(as_text(rows), *notes, result, sep="\n")
    print(f"Run {run_id}; `mlflow ui` shows its figures and report.html.")


def as_metric_name(group: str) -> str:
    """Return a group's name as a part of a metric's name: no path, and short."""
    return re.sub(r"[^\w. -]", "_", group)[:100]


def column_of(config: CompareConfig, group: str, best: Member) -> Column:
    """Return the report's column of a group: its best run's figures and command."""
    info, tags = best.run.info, best.run.data.tags
    files = [
        file.path
        for file in MlflowClient().list_artifacts(info.run_id, "figures")
        if file.path.endswith(".png")
    ]
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files[:MAX_PICTURES]:
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
        note=f"{left_out} more figures are in the run itself." if left_out else "",
    )

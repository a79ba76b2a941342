"""The table of the groups, and the sentences beside it."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mlflow.entities import Run

from experiments.compare.config import CompareConfig
from experiments.compare.groups import Groups, Member, differing, failures
from experiments.compare.pairs import Tests, notes_on, verdict
from harness.evaluation import pooled_standard_error
from harness.fingerprints import DataSet
from harness.tracking.run import data_set_of
from harness.training.metrics import decimal
from harness.wording import plural

EXPECTED_DIFFERENCES = {"seed", "seeds", "resume", "device", "checkpoint_seconds"}
"""Parameters in which runs of one recipe may differ."""
P_VALUE = "p against the first"
"""Column of the paired test of a group against the first one."""
MAX_LISTED = 4
"""Data sets that are named; more are counted."""

Row = Mapping[str, Any]
"""A group's values, by the names of their columns; None stands for what is not known."""


def rows_of(groups: Groups, tests: Tests) -> list[Row]:
    """Return the row of each group; where runs are paired, with p-values against the first one."""
    rows = [row_of(name, members) for name, members in groups.items()]
    if not tests:
        return rows
    against = {other: test for (name, other), test in tests.items() if name == rows[0]["group"]}
    p_values = [against[r["group"]].adjusted_p if r["group"] in against else None for r in rows]
    return [{**row, P_VALUE: p} for row, p in zip(rows, p_values, strict=True)]


def row_of(name: str, members: Sequence[Member]) -> Row:
    """Return the row of a group, with the sample standard deviation if it has several runs."""
    values = [member.value for member in members]
    return {
        "group": name,
        "n": len(values),
        "mean": statistics.fmean(values),
        "standard deviation": statistics.stdev(values) if len(values) > 1 else None,
        "best": values[0],
        "test accuracy": _mean(member.test_accuracy for member in members),
        "seconds of training": _mean(member.training_seconds for member in members),
        "seconds to predict": _mean(member.prediction_seconds for member in members),
        "parameters": _mean(member.num_parameters for member in members),
        "data": _joined(data_sets(members)),
    }


def data_sets(members: Iterable[Member]) -> list[str]:
    """Return the data sets of runs, by name.

    Those of one name have their fingerprints, too, if two runs with one seed have different ones:
    with another seed, samples are generated anew, or another part of them is for validation.
    """
    by_seed: dict[tuple[str, str], set[str]] = {}
    for member in members:
        name, fingerprint = data_set_of(member.run)
        known = by_seed.setdefault((name, member.run.data.tags.get("seed", "")), set())
        known |= {fingerprint} - {""}  # of earlier runs it is not known
    contents: dict[str, set[str]] = {}
    for (name, _), fingerprints in by_seed.items():
        contents[name] = max(contents.get(name, set()), fingerprints, key=len)
    return sorted(
        str(DataSet(name, each))
        for name, fingerprints in contents.items()
        for each in (fingerprints if len(fingerprints) > 1 else [""])
    )


def _joined(words: Sequence[str]) -> str:
    return ", ".join(words) if len(words) <= MAX_LISTED else f"{len(words)} data sets"


def num_repeated(members: Sequence[Member]) -> int:
    """Return how many runs of a group have the seed and all parameters of another one."""
    ignored = EXPECTED_DIFFERENCES - {"seed"}
    kept = [{n: v for n, v in m.run.data.params.items() if n not in ignored} for m in members]
    seeds = [member.run.data.tags.get("seed", member.run.info.run_id) for member in members]
    different = {(seed, *sorted(each.items())) for seed, each in zip(seeds, kept, strict=True)}
    return len(members) - len(different)


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return statistics.fmean(known) if known else None


def cells(row: Row) -> list[str]:
    """Return a row of the table as text."""
    return [_cell(column, value, row["mean"]) for column, value in row.items()]


def _cell(column: str, value: Any, mean: float) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    if column == "parameters":
        return f"{value:,.0f}"
    if column in (P_VALUE, "seconds to predict"):
        return f"{value:.3g}"
    if column == "seconds of training" or value >= 10:
        return f"{value:,.1f}"
    return decimal(value, beside=mean if column == "standard deviation" else None)


def as_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    lines = [list(rows[0]), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )


def headline(config: CompareConfig, rows: Sequence[Row], tests: Tests) -> str:
    """Return the result of the comparison in one line."""
    first, count = rows[0], sum(row["n"] for row in rows)
    std = first["standard deviation"]
    plus_minus = "" if std is None else f" ± {decimal(std, beside=first['mean'])}"
    reached = f"{config.metric} {decimal(first['mean'])}{plus_minus} (n={first['n']})"
    ties = [row["group"] or "(empty)" for row in rows if row["mean"] == first["mean"]]
    place = "comes first" if len(ties) == 1 else "share the first place"
    by_group = f"{plural(count, 'run')} by {config.group_by}"
    return f"{by_group}: {' and '.join(ties)} {place}, {reached}.{_gap(rows, len(ties), tests)}"


def _gap(rows: Sequence[Row], num_first: int, tests: Tests) -> str:
    """Return how far the first group is ahead of the next, beside what chance gives."""
    if num_first > 1 or len(rows) < 2:
        return ""
    first, second = rows[:2]
    stds = [row["standard deviation"] or 0.0 for row in (first, second)]
    error = pooled_standard_error(stds[0], first["n"], stds[1], second["n"])
    gap = abs(first["mean"] - second["mean"])
    ahead = f" It is {decimal(gap)} ahead of {second['group'] or '(empty)'}"
    if test := tests.get((first["group"], second["group"])):
        return f"{ahead}, {verdict(test)}."
    if math.isnan(error):
        return f"{ahead}; how much runs of other seeds would differ is not known from one run each."
    reach = "" if gap > 2 * error else ", too little to tell them apart by so few runs"
    return f"{ahead}{reach} (pooled standard error {decimal(error)})."


def caveats(
    config: CompareConfig, runs: Sequence[Run], groups: Groups, tests: Tests, drawn: int
) -> list[str]:
    """Return what a reader has to know about the numbers: of the runs, some belong to no group."""
    ranking = f"Ranked by {config.metric}, {'higher' if config.sign > 0 else 'lower'} first"
    if config.metric.startswith("test/"):
        ranking += ", on the test split: after a choice by this table no test split is left."
    else:
        ranking += "; the test accuracy stands beside it and was not used for ranking."
    lines = [ranking]
    members = [member.run for each in groups.values() for member in each]
    lines += notes_on(tests) + _mixed_data(groups) + _differences(config, groups)
    if failed := failures(config, groups):
        names = ", ".join(f"{name or '(empty)'} {count}" for name, count in failed.items())
        lines.append(f"Runs that failed are not in the means: {names}.")
    if repeated := sum(map(num_repeated, groups.values())):
        lines.append(
            f"{plural(repeated, 'run')} of the same parameters and seed as another: n counts them, "
            "though they are not independent."
        )
    if len(groups) == 1:
        lines.append("All runs are of one group: there is nothing to compare it with.")
    if len(groups) > drawn:
        shown = f"the first {drawn} of {len(groups)} groups"
        lines.append(f"Figures in which each group has a colour show {shown}.")
    if left_out := len(runs) - len(members):
        lines.append(f"{left_out} more have no {config.group_by}, and are left out.")
    return lines


def _mixed_data(groups: Groups) -> list[str]:
    """Name the groups whose mean is over runs on different data."""
    mixed = {name: data_sets(members) for name, members in groups.items()}
    return [
        f"The mean of {name or '(empty)'} is over runs on different data: {_joined(data)}."
        for name, data in mixed.items()
        if len(data) > 1
    ]


def _differences(config: CompareConfig, groups: Groups) -> list[str]:
    """Say in which other ways the runs of all groups differ."""
    members = [member for each in groups.values() for member in each]
    if len({member.run.data.tags.get("architecture") for member in members}) > 1:
        return [
            "Each architecture has a task of its own: accuracies tell how far each has got, not "
            "which is the better one."
        ]
    lines = []
    if len(data := data_sets(members)) > 1:
        lines.append(f"The runs are on different data: {_joined(data)}.")
    names = differing([member.run for member in members])
    if others := [n for n in names if n not in {config.group_by, *EXPECTED_DIFFERENCES}]:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        lines.append(f"The runs also differ in {', '.join(others[:10])}{more}.")
    return lines

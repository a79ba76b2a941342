"""One line of the table that the check ends with."""

from collections.abc import Iterable
from typing import NamedTuple


class Result(NamedTuple):
    """What was checked or measured."""

    what: str
    value: str
    bound: str = ""
    """What is allowed; empty where something is measured only."""
    holds: bool = True


def within(what: str, value: float, bound: float) -> Result:
    """Return whether a difference is at most its bound."""
    return Result(what, f"{value:.1e}", f"at most {bound:.0e}", value <= bound)


def as_table(results: Iterable[Result]) -> str:
    """Return a table in Markdown."""
    rows = ["| what | result | allowed | |", "|---|---|---|---|"]
    for what, value, bound, holds in results:
        mark = ("holds" if holds else "**fails**") if bound else ""
        rows.append(f"| {what} | {value} | {bound} | {mark} |")
    return "\n".join(rows)

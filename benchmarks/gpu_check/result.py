"""One line of the table that the check ends with."""

import traceback
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Result(NamedTuple):
    """What was checked or measured."""

    what: str
    measured: str
    aim: str = ""
    """What is to be reached; empty where something is measured only."""
    held: bool = True
    is_check: bool = True
    """Whether something is wrong where the aim is missed, or merely slow."""


Part = tuple[str, Iterator[Result]]
"""What the progress bar says, and results that are worked out one after the other."""


def within(what: str, difference: float, bound: float) -> Result:
    """Return whether a relative difference is at most its bound."""
    return Result(what, f"{difference:.1e}", f"at most {bound:.0e}", difference <= bound)


def without_errors(part: Part) -> Iterator[Result]:
    """Yield the results of a part; an error is one of them, and ends that part only."""
    title, results = part
    try:
        yield from results
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).strip() or "no message").splitlines()[0][:200]
        yield Result(title, f"{type(error).__name__}: {reason}", "no error", held=False)


def as_table(results: Iterable[Result]) -> str:
    """Return a table in Markdown."""
    rows = ["| what | measured | aim | held |", "|---|---|---|---|"]
    for what, measured, aim, held, is_check in results:
        mark = ("yes" if held else "**no**" if is_check else "missed") if aim else ""
        cells = (each.replace("|", "\\|") for each in (what, measured, aim, mark))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)

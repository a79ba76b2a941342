"""Values, commands and names, as messages and pages write them."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Return values as people read them: name=value, several values with commas between."""
    return [f"{name}={as_text(value, ',')}" for name, value in values.items()]


def as_text(value: Any, between: str = " ") -> str:
    """Return a value as text; several words as the command line takes them, with blanks between."""
    return between.join(map(str, value)) if isinstance(value, tuple) else str(value)


def code_block(command: str, width: int = 80) -> str:
    """Return a command as a code block in Markdown, broken over lines of some `width`.

    A long line in a description would push what stands beside it out of the MLflow UI.
    """
    pieces: list[str] = []
    for word in shlex.split(command):
        if pieces and re.fullmatch(r"--[\w-]+", pieces[-1]) and not word.startswith("--"):
            pieces[-1] += f" {shlex.quote(word)}"  # an option and its value stay together
        else:
            pieces.append(shlex.quote(word))
    lines = pieces[:1]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) < width:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"    {piece}")
    return "\n".join(["```", " \\\n".join(lines), "```"])


def option(name: str) -> str:
    """Return the spelling of a parameter on the command line, after the two hyphens."""
    return name.replace("_", "-")


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a hint at the known name nearest to `name`, or `otherwise`."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else otherwise


def plural(count: int, noun: str, of_several: str = "") -> str:
    """Return a number with its noun: "1 row", "1,200 rows"; irregular ones are given, `classes`."""
    return f"{count:,} {noun if count == 1 else of_several or f'{noun}s'}"

"""Files that users name as inputs."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from harness.errors import UserError
from harness.inference.inference import Row

A = TypeVar("A")
S = TypeVar("S")


def abridged(text: str) -> str:
    """Return a text in quotation marks, the middle of a long one left out."""
    return repr(text if len(text) <= 60 else f"{text[:30]}...{text[-20:]}")


def lines_of(text: str) -> list[str]:
    """Return the lines of a text file, without empty ones at its end.

    Raises:
        UserError: it cannot be read, or is empty.

    """
    try:
        content = Path(text).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(error.strerror) from None
    except RuntimeError as error:  # ~name of no user
        raise UserError(str(error)) from None
    except UnicodeDecodeError as error:
        raise UserError(f"not a text file in UTF-8 ({error.reason})") from None
    lines = content.rstrip().splitlines()
    if not lines:
        raise UserError("is empty")
    return lines


def attempt(
    name: str, parse: Callable[[A], tuple[Row, S]], argument: A
) -> tuple[Row, S | UserError]:
    """Return what is known of an input and its sample, or its name and why there is no sample."""
    try:
        return parse(argument)
    except UserError as error:
        return {"input": name}, error


def parse_lines(
    text: str, parse: Callable[[list[str]], tuple[Row, S]]
) -> Iterator[tuple[Row, S | UserError]]:
    """Yield what `attempt` makes of each line of a CSV file."""
    try:
        reader = csv.reader(lines_of(text))
    except UserError as error:
        yield {"input": text}, error
        return
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a very long field
            yield {"input": f"{text}: line {reader.line_num}"}, UserError(str(error))
            continue
        yield attempt(f"{text}: line {reader.line_num}", parse, fields)

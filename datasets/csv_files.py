"""Rows of CSV files with the lines in which they stand, and the numbers in their fields."""

import csv
import io
from collections.abc import Iterator

from datasets.errors import DataError

MISSING = {"", "nan", "na", "n/a", "null", "none", "?"}
"""What stands for no value, in any letters."""
MAX_FIELD_SIZE = 2**31 - 1
"""Characters of a field of a CSV file: as many as the module `csv` counts on every platform."""


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each line, after its number from 1; blank lines at the end are none.

    Raises:
        DataError: a line is not valid CSV.

    """
    csv.field_size_limit(MAX_FIELD_SIZE)
    reader = csv.reader(io.StringIO(text.rstrip(), newline=""), strict=True)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: {error}") from None


def filled_rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the lines that have anything in their fields, stripped, each after its number.

    Raises:
        DataError: a line is not valid CSV, or there is none.

    """
    stripped = ((number, [field.strip() for field in fields]) for number, fields in csv_rows(text))
    rows = [(number, fields) for number, fields in stripped if any(fields)]
    if not rows:
        raise DataError("the file is empty")
    return rows


def as_number(field: str) -> float | None:
    """Return the number that a field has, or None; 1_000 is a number in Python only."""
    try:
        return None if "_" in field else float(field)
    except ValueError:
        return None


def is_missing(field: str) -> bool:
    """Return whether a field stands for no value."""
    return field.strip().lower() in MISSING

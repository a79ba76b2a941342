"""Rows of CSV files, with the line that each stands in."""

import csv
import io
from collections.abc import Iterator

from datasets.errors import DataError

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

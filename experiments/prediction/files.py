"""Files that users name as inputs."""

from pathlib import Path

from datasets.errors import DataError, disk_errors
from experiments.harness.errors import UserError


def lines_of(text: str) -> list[str]:
    """Return the lines of a text file, without empty ones at its end.

    Raises:
        UserError: it cannot be read, or is empty.

    """
    file = Path(text).expanduser()
    try:
        with disk_errors(file):
            lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except DataError as error:
        raise UserError(f"inputs={text}: {error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"inputs={text}: is no text in UTF-8 ({error.reason})") from None
    if not lines:
        raise UserError(f"inputs={text}: is empty")
    return lines

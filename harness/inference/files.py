"""Files that users name as inputs."""

from pathlib import Path

from harness.errors import UserError


def lines_of(text: str) -> list[str]:
    """Return the lines of a text file, without empty ones at its end.

    Raises:
        UserError: it cannot be read, or is empty.

    """
    file = Path(text).expanduser()
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise UserError(f"inputs={text}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"inputs={text}: not a text file in UTF-8 ({error.reason})") from None
    if not lines:
        raise UserError(f"inputs={text}: is empty")
    return lines

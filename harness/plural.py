"""Numbers of things in messages and titles: 1 row, 2 rows."""


def plural(count: int, noun: str, of_several: str = "") -> str:
    """Return a number with its noun: "1 row", "1,200 rows"; irregular ones are given, `classes`."""
    return f"{count:,} {noun if count == 1 else of_several or f'{noun}s'}"

"""Files of sequences, in the formats in which people have them.

symbols   CSV without header: a class, a comma, and symbols: `XY,BacXbd`, or `b,tick tack tick`
ts        UCR and UEA archives: @-lines, then series with channels between colons, the class last
tsv       UCR archive: the class first, then one channel, NaN after the end of a shorter series
long      CSV with a header: columns `series` and `label`, perhaps `time` and `split`; the
          others are channels, and each line is one step of a series

Of a pair NAME_TRAIN and NAME_TEST, either names both.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets.choices import SequenceFormat, Split
from datasets.csv_files import as_number, csv_rows, filled_rows, is_missing
from datasets.errors import DataError
from datasets.folders import user_path
from datasets.gaps import fill_gaps
from datasets.text_files import read_text

PAIR: dict[str, Split] = {"_TRAIN": "train", "_TEST": "test"}
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Series(NamedTuple):
    """One sequence of a file."""

    name: str
    """Where it stands, such as `line 3`."""
    steps: tuple[str, ...] | np.ndarray
    """T symbols, or (T, C) float32 without gaps."""
    label: str
    """Its class; empty where the file has none."""
    split: Split | None = None
    """Its split, where the file tells."""


class SequenceFile(NamedTuple):
    """What a file, or a pair of files, contains."""

    name: str
    """Of the file without its ending; of a pair, what both names begin with."""
    series: list[Series]
    channels: tuple[str, ...]
    """Names of the channels; empty where the steps are symbols."""
    skipped: list[tuple[str, str]]
    """Series that were left out, each with the reason."""


def read_sequences(path: str, file_format: SequenceFormat) -> SequenceFile:
    """Read a file, a pair of files, or the only pair in a folder.

    Args:
        path: of the file, or of a folder.
        file_format: symbols, ts, tsv or long; auto: what name and content look like.

    Raises:
        DataError: a file cannot be read, or a line of it is invalid.

    """
    files = _files_of(user_path(path))
    parts = []
    for file, split in files:
        try:
            part = read_one(file, file_format)
        except DataError as error:
            where = f"{file.name}: " if len(files) > 1 else ""
            raise DataError(f"{where}{error}") from None
        given = [each._replace(split=each.split or split) for each in part.series]
        parts.append(part._replace(series=given))
    channels = parts[0].channels
    if any(part.channels != channels for part in parts):
        found = " and ".join(f"({', '.join(part.channels)})" for part in parts)
        raise DataError(f"the two files have different channels: {found}")
    name = parts[0].name.removesuffix("_TRAIN") if len(parts) > 1 else parts[0].name
    series = [each for part in parts for each in part.series]
    return SequenceFile(name, series, channels, [each for part in parts for each in part.skipped])


def _files_of(path: Path) -> list[tuple[Path, Split | None]]:
    """Return the files to read, each with its split where its name tells."""
    if path.is_dir():
        pairs = [_pair_of(file) for kind in ("ts", "tsv") for file in path.glob(f"*_TRAIN.{kind}")]
        pairs = [pair for pair in pairs if pair]  # the archives have .arff and .txt beside them
        if len(pairs) != 1:
            needed = "NAME_TRAIN.ts and NAME_TEST.ts, or the same in .tsv"
            raise DataError(f"the folder has {len(pairs)} pairs; one of {needed}, is needed")
        return pairs[0]
    return _pair_of(path) or [(path, None)]


def _pair_of(path: Path) -> list[tuple[Path, Split | None]]:
    """Return the two files of a pair, of which one is given; none if there is no other."""
    for suffix in PAIR:
        if path.stem.endswith(suffix):
            stem = path.stem.removesuffix(suffix)
            pair = {path.with_name(f"{stem}{each}{path.suffix}"): PAIR[each] for each in PAIR}
            if all(file.is_file() for file in pair):
                return list(pair.items())
    return []


def read_one(path: Path, file_format: SequenceFormat, *, is_labelled: bool = True) -> SequenceFile:
    """Read one file, even if it is one of a pair; the arguments are those of `read_sequences`.

    Without `is_labelled`, a long table may lack the column of the labels, which are empty then.
    """
    text = read_text(str(path))
    if not text.strip():
        raise DataError("the file is empty")
    if file_format == "auto":
        file_format = _recognised(path, text)
    if file_format == "long":
        return _read_long(text, is_labelled=is_labelled)._replace(name=path.stem)
    readers = {"symbols": _read_symbols, "ts": _read_ts, "tsv": _read_tsv}
    return readers[file_format](text)._replace(name=path.stem)


def _recognised(path: Path, text: str) -> SequenceFormat:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    suffix = path.suffix.lower()
    if suffix == ".ts" or any(line.lower() == "@data" for line in lines):
        return "ts"
    if suffix == ".tsv":
        return "tsv"
    header = [field.strip().lower() for field in lines[0].split(",")]
    if "series" in header:
        return "long"
    if len(header) == 2:
        return "symbols"
    raise DataError(
        f"line 1: no column 'series', and the number of fields is {len(header)}; a class and "
        "symbols, or a header with the columns series and label, are needed (format names another: "
        "symbols, ts, tsv, long)"
    )


def _read_symbols(text: str) -> SequenceFile:
    needed = "class and symbols are needed"
    rows = []
    for number, fields in csv_rows(text):
        if len(fields) != 2:
            raise DataError(f"line {number}: the number of fields is {len(fields)}; {needed}")
        label, symbols = (field.strip() for field in fields)
        if not label or not symbols:
            missing = "class" if not label else "symbols"
            raise DataError(f"line {number}: no {missing}; {needed}")
        rows.append((number, label, symbols))
    are_words = any(" " in symbols for _, _, symbols in rows)
    return SequenceFile(
        "",
        [
            Series(f"line {number}", tuple(symbols.split() if are_words else symbols), label)
            for number, label, symbols in rows
        ],
        channels=(),
        skipped=[],
    )


def _read_ts(text: str) -> SequenceFile:
    lines = enumerate(text.splitlines(), start=1)
    header = _ts_header(lines)
    if _flag(header, "@timeStamps"):
        raise DataError("@timeStamps true: series with time stamps are not supported")
    if _flag(header, "@targetLabel"):
        raise DataError("@targetLabel true: numbers as targets are not supported, only classes")
    has_label = _flag(header, "@classLabel", default=True)
    known = header.get("@classlabel", [])[1:]
    table = _ts_table(header)
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(":")
        label = parts.pop().strip() if has_label else ""
        if label and known and label not in known:
            raise DataError(f"line {number}: class {label!r}; @classLabel has {', '.join(known)}")
        table.add(number, label, [part.split(",") for part in parts])
    return table.finish()


def _ts_header(lines: Iterator[tuple[int, str]]) -> dict[str, list[str]]:
    """Read the lines up to @data; return the words of each @-line by its name in small letters."""
    header: dict[str, list[str]] = {}
    for _, line in lines:
        words = line.split()
        if words and words[0].lower() == "@data":
            return header
        if words and words[0].startswith("@"):
            header[words[0].lower()] = words[1:]
        elif words and not words[0].startswith(("#", "%")):
            raise DataError(f"a line before @data begins with none of @, # and %: {line[:40]!r}")
    raise DataError("there is no line @data")


def _ts_table(header: dict[str, list[str]]) -> "_Table":
    """Return a table for series of the shape that the header promises."""
    table = _Table(equal_length=_flag(header, "@equalLength"))
    if _flag(header, "@univariate"):
        table.expected["channels"] = 1, "@univariate is true:"
    if "@dimensions" in header:
        table.expected["channels"] = _count(header, "@dimensions"), "@dimensions is"
    if table.equal_length and "@serieslength" in header:
        table.expected["steps"] = _count(header, "@seriesLength"), "@seriesLength is"
    return table


def _flag(header: dict[str, list[str]], name: str, *, default: bool = False) -> bool:
    """Return whether an @-line says true; the default where there is none."""
    word = " ".join(header.get(name.lower(), [str(default)])[:1]).lower()
    if word not in ("true", "false"):
        raise DataError(f"{name} {word!r}: true or false is needed")
    return word == "true"


def _count(header: dict[str, list[str]], name: str) -> int:
    """Return the number of an @-line."""
    word = " ".join(header[name.lower()])
    if not (word.isdecimal() and int(word)):
        raise DataError(f"{name} {word!r}: a number from 1 is needed")
    return int(word)


def _read_tsv(text: str) -> SequenceFile:
    table = _Table()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            label, *values = line.strip("\n").split("\t")
            while values and is_missing(values[-1]):
                values.pop()
            table.add(number, label.strip(), [values])
    return table.finish()


def _read_long(text: str, *, is_labelled: bool) -> SequenceFile:
    rows = filled_rows(text)
    (_, names), body = rows[0], rows[1:]
    names = [name.lower() if name.lower() in (*LONG, "series") else name for name in names]
    if not is_labelled and "label" not in names:
        rows = [(number, [*fields, ""]) for number, fields in rows]
        names, body = [*names, "label"], rows[1:]
    for needed in ("series", "label"):
        if needed not in names:
            raise DataError(f"line 1: no column {needed!r} (there are: {', '.join(names)})")
    name, count = Counter(names).most_common(1)[0]
    if count > 1 or "" in names:
        problem = f"{count} columns {name!r}" if count > 1 else "a column without a name"
        raise DataError(f"line 1: {problem}; each needs a name of its own")
    channels = tuple(name for name in names if name not in (*LONG, "series"))
    if not channels:
        raise DataError("line 1: no column of a channel beside series, time, label and split")
    if not body:
        raise DataError("line 1: a header, and no rows after it")
    for number, fields in body:
        if len(fields) != len(names):
            fewer = f"the number of fields is {len(fields)}"
            raise DataError(f"line {number}: {fewer}; in the header it is {len(names)}")
    lines = [number for number, _ in body]
    table = pd.DataFrame([fields for _, fields in body], columns=names, index=lines)
    found: list[Series] = []
    skipped: list[tuple[str, str]] = []
    for name, part in table.groupby("series", sort=False):
        _add(found, skipped, _long_series(f"series {name}", part, channels))
    return SequenceFile("", found, channels, skipped)


def _long_series(name: str, part: pd.DataFrame, channels: Sequence[str]) -> Series:
    """Return one series from its lines in a long table, in the order of its times.

    The index of the table has the numbers of the lines.
    """
    for column in {"label", "split"} & set(part.columns):
        differs = part[column] != part[column].iloc[0]
        if differs.any():
            raise DataError(f"line {part.index[differs][0]}: {name} has several values of {column}")
    if "time" in part.columns:
        times = [_number(value, line, "time") for line, value in part["time"].items()]
        if np.isnan(times).any():
            raise DataError(f"line {part.index[np.isnan(times)][0]}: no time")
        part = part.iloc[np.argsort(times, kind="stable")]
    rows = zip(part.index, part[list(channels)].to_numpy(), strict=True)
    values = [
        [_number(value, line, channel) for channel, value in zip(channels, row, strict=True)]
        for line, row in rows
    ]
    split = part["split"].iloc[0].lower() if "split" in part.columns else None
    if split is not None and split not in SPLITS:
        raise DataError(f"line {part.index[0]}: split {split!r}; allowed are {', '.join(SPLITS)}")
    return Series(name, np.array(values), part["label"].iloc[0], split)


LONG = ("time", "label", "split")
"""Columns that a long table may have beside `series` and the channels."""


class _Table:
    """Series of numbers that are read line by line, and must agree in their shape."""

    def __init__(self, *, equal_length: bool = False):
        self.equal_length = equal_length
        self.expected: dict[str, tuple[int, str]] = {}
        """How many channels, and perhaps steps, a series has, and what says so."""
        self.series: list[Series] = []
        self.skipped: list[tuple[str, str]] = []

    def add(self, number: int, label: str, channels: Sequence[Sequence[str]]) -> None:
        """Add the series of a line, from the fields of each channel."""
        if not channels:
            raise DataError(f"line {number}: no channel beside the class")
        length = len(channels[0])
        self._check(number, "channels", len(channels))
        if any(len(channel) != length for channel in channels):
            lengths = ", ".join(str(len(channel)) for channel in channels)
            raise DataError(f"line {number}: channels of different lengths ({lengths} steps)")
        if self.equal_length:
            self._check(number, "steps", length)
        values = [
            [_number(value, number, f"channel {k}") for value in channel]
            for k, channel in enumerate(channels, start=1)
        ]
        _add(self.series, self.skipped, Series(f"line {number}", np.array(values).T, label))

    def _check(self, line: int, what: str, count: int) -> None:
        """Raise a DataError if a count is not that of the header or of the first series."""
        expected, source = self.expected.setdefault(what, (count, "the first series has"))
        if count != expected:
            because = " (@equalLength true)" if what == "steps" else ""
            raise DataError(f"line {line}: {count} {what}; {source} {expected}{because}")

    def finish(self) -> SequenceFile:
        """Return what was read."""
        if not self.series:
            raise DataError("there is no series in it")
        names = tuple(f"channel {number}" for number in range(1, self.expected["channels"][0] + 1))
        return SequenceFile("", self.series, names, self.skipped)


def _add(found: list[Series], skipped: list[tuple[str, str]], series: Series) -> None:
    """Add a series without its gaps, or the reason why it has to be left out."""
    try:
        if not len(series.steps):
            raise ValueError("no step")
        filled = fill_gaps(np.asarray(series.steps, dtype=np.float64)).astype(np.float32)
    except ValueError as error:
        skipped.append((series.name, str(error)))
    else:
        found.append(series._replace(steps=filled))


def _number(field: str, line: int, column: str) -> float:
    if is_missing(field):
        return math.nan
    value = as_number(field)
    if value is None:
        raise DataError(f"line {line}: {column} has {field.strip()!r}, no number")
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise DataError(f"line {line}: {column} has {field.strip()}, no finite number")
    return value

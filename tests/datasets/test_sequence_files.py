"""Files of sequences in every format, and what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.choices import SequenceFormat
from datasets.errors import DataError
from datasets.gaps import fill_gaps
from datasets.sequence_datasets import SequenceDataset, from_file
from datasets.sequence_files import read_one, read_sequences

HEADER = [
    "# two channels of made recordings",
    "@problemName waves",
    "@timeStamps false",
    "@missing true",
    "@univariate false",
    "@dimensions 2",
    "@equalLength false",
    "@classLabel true slow fast",
    "@data",
]


def wave(label: str, length: int, phase: float) -> np.ndarray:
    """Return (length, 2): a sine and a cosine, faster for the class `fast`."""
    angles = phase + np.arange(length) * (1.6 if label == "fast" else 0.4)
    return np.stack([np.sin(angles), 5 + np.cos(angles)], axis=1).round(4)


def write_ts(path: Path, count: int = 40, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    lines = list(HEADER)
    for number in range(count):
        label = ("slow", "fast")[number % 2]
        series = wave(label, int(rng.integers(8, 15)), rng.uniform(0, 6))
        channels = [",".join(map(str, channel)) for channel in series.T.tolist()]
        lines.append(":".join([*channels, label]))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def total(dataset: SequenceDataset) -> dict[str, int]:
    return {split: sum(by_class.values()) for split, by_class in dataset.counts.items()}


def test_a_ts_file_with_two_channels_of_unequal_lengths(tmp_path: Path) -> None:
    path = write_ts(tmp_path / "waves.ts")
    dataset = from_file(path, "auto", seed=0)
    assert dataset.classes == ("fast", "slow")
    assert read_sequences(path, "ts").channels == ("channel 1", "channel 2")
    assert total(dataset) == {"train": 24, "validation": 8, "test": 8}
    lines = Path(path).read_text().splitlines()[len(HEADER) :]
    expected = set()
    for line in lines:
        *channels, label = line.split(":")
        expected.add((label, tuple(tuple(map(float, c.split(","))) for c in channels)))
    found = set()
    for split in (dataset.train, dataset.validation, dataset.test):
        for series, length, label in zip(*split, strict=True):
            channels = series[: int(length)].T.double().numpy().round(4).tolist()
            found.add((dataset.classes[int(label)], tuple(map(tuple, channels))))
            assert (series[int(length) :] == 0).all()
    assert found == expected


@pytest.mark.parametrize("given", ["waves_TRAIN.ts", "waves_TEST.ts", ""])
def test_a_pair_of_files_keeps_its_split(tmp_path: Path, given: str) -> None:
    write_ts(tmp_path / "waves_TRAIN.ts", 40)
    write_ts(tmp_path / "waves_TEST.ts", 12, seed=1)
    dataset = from_file(str(tmp_path / given), "auto", seed=0)
    assert total(dataset) == {"train": 32, "validation": 8, "test": 12}
    assert dataset.name == "waves"
    alone = read_one(tmp_path / "waves_TEST.ts", "auto")
    assert (alone.name, len(alone.series)) == ("waves_TEST", 12)


def test_a_pair_of_tables_has_one_order_of_channels_and_keeps_its_column_of_splits(
    tmp_path: Path,
) -> None:
    def write(name: str, channels: str, splits: Sequence[str]) -> None:
        rows = [f"{i},{'ab'[i % 2]},{i},{-i},{split}" for i, split in enumerate(splits)]
        header = f"series,label,{channels},split"
        (tmp_path / f"p_{name}.csv").write_text("\n".join([header, *rows]))

    write("TRAIN", "x,y", 8 * ["train"] + 2 * ["validation"])
    write("TEST", "y,x", 6 * ["test"])
    path = str(tmp_path / "p_TRAIN.csv")
    with pytest.raises(
        DataError, match=r"^the two files have different channels: \(x, y\) and \(y, x"
    ):
        from_file(path, "auto", seed=0)
    write("TEST", "x,y", 6 * ["test"])
    dataset = from_file(path, "auto", seed=0)
    assert dataset.channels == ("x", "y")
    assert dataset.validation.inputs[:, 0].tolist() == [[8, -8], [9, -9]]
    assert total(dataset) == {"train": 8, "validation": 2, "test": 6}


def test_comments_of_the_archives_begin_with_either_sign(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    write_ts(path)
    before = from_file(str(path), "auto", seed=0).fingerprints
    path.write_text(f"%# a comment\n%\n# another\n{path.read_text()}")
    assert from_file(str(path), "auto", seed=0).fingerprints == before


def test_of_a_folder_only_a_pair_counts(tmp_path: Path) -> None:
    """The archives have the same series in other formats beside it."""
    write_ts(tmp_path / "waves_TRAIN.ts")
    for name in ("waves_TRAIN.arff", "waves_TEST.arff", "waves_TEST.txt"):
        (tmp_path / name).write_text("@relation waves")
    with pytest.raises(DataError, match=r"^the folder has 0 pairs; one of NAME_TRAIN\.ts and NAME"):
        from_file(str(tmp_path), "auto", seed=0)
    write_ts(tmp_path / "waves_TEST.ts", 12)
    assert total(from_file(str(tmp_path), "auto", seed=0))["test"] == 12


def test_another_content_has_another_fingerprint(tmp_path: Path) -> None:
    def fingerprints(old: str = "", new: str = "", split: str = "TEST") -> dict[str, str]:
        write_ts(tmp_path / "waves_TRAIN.ts", 40)
        write_ts(tmp_path / "waves_TEST.ts", 12, seed=1)
        for file in tmp_path.glob(f"*_{split}.ts"):
            file.write_text(file.read_text().replace(old, new))
        return dict(from_file(str(tmp_path), "auto", seed=0).fingerprints)

    before = fingerprints()
    assert len(set(before.values())) == 3
    assert fingerprints() == before
    changed = fingerprints("0.", "0.1")
    assert {split for split in before if changed[split] != before[split]} == {"test"}
    renamed = fingerprints("slow", "calm", split="T*")
    assert not set(renamed.values()) & set(before.values())


def test_a_tsv_file_with_padding_and_gaps(tmp_path: Path) -> None:
    rows = [f"{1 + n % 2}\t{n}\t{n + 2}\tNaN\t{n + 6}" + n % 3 * "\tNaN" for n in range(20)]
    path = tmp_path / "a.TSV"
    path.write_text("\n".join([*rows, "1\tNaN\tNaN"]))
    file = read_sequences(str(path), "auto")
    assert file.channels == ("channel 1",)
    for number, each in enumerate(file.series):
        np.testing.assert_allclose(
            np.asarray(each.steps)[:, 0], [number, number + 2, number + 4, number + 6]
        )
    assert file.skipped == [("line 21", "no step")]
    assert from_file(str(path), "tsv", seed=0).classes == ("1", "2")


def long_table(*, time: bool, split: bool) -> list[str]:
    names = [
        "series",
        *(["time"] if time else []),
        "u",
        "v",
        "label",
        *(["split"] if split else []),
    ]
    lines = [",".join(names)]
    for number in range(30):
        label, part = "ab"[number % 2], ("train", "test", "validation")[number // 10]
        for step in (2, 0, 1) if time else (0, 1, 2):
            u = "" if (number, step) == (3, 1) else str(10 * number + step)
            fields = [f"s{number}", *[str(step)][:time], u, "0.5", label, *[part][:split]]
            lines.append(",".join(fields))
    return lines


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_a_long_table(tmp_path: Path, time: bool, split: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(long_table(time=time, split=split)))
    file = read_sequences(str(path), "auto")
    assert file.channels == ("u", "v")
    for number, each in enumerate(file.series):
        assert each.name == f"series s{number}"
        np.testing.assert_allclose(np.asarray(each.steps)[:, 0], 10 * number + np.arange(3))
        np.testing.assert_allclose(np.asarray(each.steps)[:, 1], 0.5)
    by_split = (10, 10, 10) if split else (18, 6, 6)
    dataset = from_file(str(path), "auto", seed=0)
    assert total(dataset) == dict(zip(("train", "validation", "test"), by_split, strict=True))


@pytest.mark.parametrize("name", ["line", "index", "0"])
def test_a_channel_may_have_any_name_of_its_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "\n".join(long_table(time=True, split=False)).replace("v,label", f"{name},label")
    )
    file = read_sequences(str(path), "auto")
    assert file.channels == ("u", name)
    assert file.name == "a"
    np.testing.assert_allclose(np.asarray(file.series[0].steps), [[0, 0.5], [1, 0.5], [2, 0.5]])


def test_words_are_symbols_with_blanks_between_them(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["up,tick tack  tick", "down,tack tick"] * 5))
    dataset = from_file(str(path), "auto", seed=0)
    assert dataset.symbols == ("tack", "tick")
    assert {tuple(row.tolist()) for row in dataset.train.inputs} == {(1, 0, 1), (0, 1, 0)}
    assert dataset.train.inputs.dtype == torch.int64


def test_gaps_are_interpolated() -> None:
    values = np.array([[np.nan, 1], [2, np.nan], [np.nan, 3], [4, np.nan]])
    np.testing.assert_array_equal(fill_gaps(values), [[2, 1], [2, 2], [3, 3], [4, 3]])
    with pytest.raises(ValueError, match=r"^channel 2 has no value$"):
        fill_gaps(np.array([[1, np.nan], [2, np.nan]]))


TS = ["@timeStamps false", "@classLabel true a b", "@data", "1,2:3,4:a", "1,2,3:4,5,6:b"]
ENOUGH = ["1,2:3,4:a", "1,2,3:4,5,6:b"] * 5
BAD: dict[str, tuple[str, list[str] | bytes, str]] = {
    "empty": ("a.ts", [], "^the file is empty$"),
    "no data": ("a.ts", TS[:2], "^there is no line @data$"),
    "nothing after the header": ("a.ts", TS[:3], "^there is no series in it$"),
    "other channels": ("a.ts", [*TS, "1,2:a"], "^line 6: 1 channels; the first series has 2$"),
    "uneven channels": ("a.ts", [*TS, "1,2:3:a"], r"^line 6: channels of different lengths"),
    "an unknown class": ("a.ts", [*TS, "1:2:c"], "^line 6: class 'c'; @classLabel has a, b$"),
    "another length": (
        "a.ts",
        ["@equalLength true", *TS],
        r"^line 6: 3 steps; the first series has 2 \(@equalLength true\)$",
    ),
    "another length than the header": (
        "a.ts",
        ["@equalLength TRUE", "@seriesLength 3", *TS],
        r"^line 6: 2 steps; @seriesLength is 3 \(@equalLength true\)$",
    ),
    "other channels than the header": (
        "a.ts", ["@dimensions 3", *TS], "^line 5: 2 channels; @dimensions is 3$",
    ),
    "more than one channel": (
        "a.ts", ["@univariate true", *TS], "^line 5: 2 channels; @univariate is true: 1$",
    ),
    "no number of channels": (
        "a.ts", ["@dimensions two", *TS], "^@dimensions 'two': a number from 1 is needed$",
    ),
    "neither true nor false": ("a.ts", ["@classLabel", *TS[2:]], "^@classLabel '': true or false"),
    "targets": ("a.ts", ["@targetLabel true", *TS[2:]], "^@targetLabel true: .* only classes$"),
    "only a class": ("a.ts", [*TS, "a"], "^line 6: no channel beside the class$"),
    "time stamps": ("a.ts", ["@timeStamps True", *TS[1:]], "^@timeStamps true: .* not supported$"),
    "no classes": ("a.ts", ["@classLabel false", "@data", "1,2", "3,4"], "^line 3: no class$"),
    "text": ("a.ts", [*TS, "1,x:2,3:a"], "^line 6: channel 1 has 'x', no number$"),
    "infinite": ("a.ts", [*TS, "1,inf:2,3:a"], "^line 6: channel 1 has inf, no finite number$"),
    "no header": ("a.ts", ["1,2:a"], "^a line before @data begins with none of @, # and %"),
    "one class": ("a.tsv", ["1\t2\t3"] * 9, r"^no class but '1' \(sequences: 9\); "),
    "a rare class": ("a.tsv", ["1\t2"] * 9 + ["2\t2"], "^class '2' has too few sequences: 1; "),
    "no UTF-8": ("a.tsv", b"\xff\t1\n", "^not a text file in UTF-8 .* at byte 0"),
    "an unknown table": ("a.csv", ["1,2,3"], "^line 1: no column 'series', .* is 3; a class"),
    "no labels": ("a.csv", ["series,u", "1,2"], "^line 1: no column 'label'"),
    "no channels": ("a.csv", ["series,label", "1,2"], "^line 1: no column of a channel"),
    "only a header": ("a.csv", ["series,u,label"], "^line 1: a header, and no rows after it$"),
    "a short row": ("a.csv", ["series,u,label", "1,2"], "^line 2: .* is 2; in the header it is 3$"),
    "two columns of one name": ("a.csv", ["series,u,u,label"], "^line 1: 2 columns 'u'; each"),
    "no name": ("a.csv", [",series,u,label"], "^line 1: a column without a name; each needs"),
    "no time": (
        "a.csv", ["series,time,u,label", "s,0,1,a", "s,,2,a"], "^line 3: no time$",
    ),
    "one class in splits": (
        "a.csv",
        ["series,u,label,split", "s,1,a,train", "r,1,a,validation", "t,1,a,test"],
        r"^the train split has 1 class \('a'\); at least 2 needed$",
    ),
    "two labels": (
        "a.csv",
        ["series,u,label", "s,1,a", "s,2,b"],
        "^line 3: series s has several values of label$",
    ),
    "an unknown split": (
        "a.csv",
        ["series,u,label,split", "s,1,a,dev"],
        "^line 2: split 'dev'; allowed are train, validation, test$",
    ),
    "no training split": (
        "a.csv",
        ["series,u,label,split", "s,1,a,test"],
        "^its splits are test; train and test are needed$",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, how: str) -> None:
    name, content, reason = BAD[how]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else "\n".join(content).encode())
    with pytest.raises(DataError, match=reason) as caught:
        from_file(str(path), "auto", seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["symbols", "long"])
def test_a_format_that_is_named_is_taken(tmp_path: Path, given: SequenceFormat) -> None:
    path = tmp_path / "a.ts"
    path.write_text("\n".join(["a,xy", "b,yx"] * 5) if given == "symbols" else "series,u,label\n")
    if given == "symbols":
        assert from_file(str(path), given, seed=0).symbols == ("x", "y")
    else:
        with pytest.raises(DataError, match="a header, and no rows"):
            from_file(str(path), given, seed=0)


def test_a_long_table_of_commas_alone_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",,\n,,\n")
    with pytest.raises(DataError, match=r"^the file is empty$"):
        from_file(str(path), "long", seed=0)


def test_a_long_table_to_be_predicted_needs_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "unlabelled.csv"
    path.write_text("series,time,x\na,1,0.5\na,2,0.75\nb,1,1.5\n")
    found = read_one(path, "auto", is_labelled=False)
    assert [(each.name, each.label, np.asarray(each.steps).tolist()) for each in found.series] == [
        ("series a", "", [[0.5], [0.75]]),
        ("series b", "", [[1.5]]),
    ]
    with pytest.raises(DataError, match=r"^line 1: no column 'label'"):
        read_one(path, "auto")

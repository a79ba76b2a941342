"""Tables with labels: files of every kind, and the sets of scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch

from datasets.errors import DataError
from datasets.tables import load_table
from models.standardised import StandardisedInput


def write(path: str, content: str | bytes) -> str:
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(count: int = 30, classes: str = "abc") -> list[str]:
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (count, 2)).round(4)
    return [f"{x},{y},{classes[i % len(classes)]}" for i, (x, y) in enumerate(values.tolist())]


@pytest.mark.parametrize("label_column", ["", "3", "species"])
@pytest.mark.parametrize("has_header", [True, False])
def test_a_file_with_or_without_header(tmp_path: Path, has_header: bool, label_column: str) -> None:
    if label_column == "species" and not has_header:
        return
    header = ["length,width,species"] if has_header else []
    path = write(str(tmp_path / "a.csv"), "\n".join([*header, *rows()]) + "\n\n")
    table = load_table(path, label_column, seed=0)
    assert table.features == (("length", "width") if has_header else ("x1", "x2"))
    assert table.classes == ("a", "b", "c")
    assert {split: sum(by.values()) for split, by in table.counts.items()} == {
        "train": 18,
        "validation": 6,
        "test": 6,
    }
    assert [set(by.values()) for by in table.counts.values()] == [{6}, {2}, {2}]
    original = np.array([row.split(",")[:2] for row in rows()], dtype=float)
    everything = torch.cat([table.train.points, table.validation.points, table.test.points])
    raw = (everything * table.std + table.mean).numpy()
    np.testing.assert_allclose(np.sort(raw, 0), np.sort(original, 0), rtol=1e-5)
    np.testing.assert_allclose(table.train.points.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(table.train.points.std(0, correction=0), 1, rtol=1e-5)
    by_row = {row[: row.rfind(",")]: row[-1] for row in rows()}
    for points, labels in (table.train, table.validation, table.test):
        for point, label in zip(points * table.std + table.mean, labels, strict=True):
            nearest = min(
                by_row, key=lambda r: np.abs(np.array(r.split(","), float) - point.numpy()).sum()
            )
            assert by_row[nearest] == table.classes[int(label)]


def test_a_label_column_in_front_and_rows_without_a_value(tmp_path: Path) -> None:
    lines = [f"{row.split(',')[2]},{','.join(row.split(',')[:2])}" for row in rows(20, "ab")]
    lines[3:3] = ["a,,1", "b,NaN,2", "b,?,2"]
    path = write(str(tmp_path / "a.csv"), "\ufeff" + "kind,u,v\n" + "\n".join(lines))
    table = load_table(path, "kind", seed=1)
    assert table.features == ("u", "v")
    assert table.train.labels.dtype == torch.float32, "two classes"
    assert table.skipped == tuple((f"line {n}", "no value in column 'u'") for n in (5, 6, 7))
    assert sum(sum(by.values()) for by in table.counts.values()) == 20


def test_none_is_a_class_and_no_feature(tmp_path: Path) -> None:
    lines = ["u,kind", *(f"{n},{'None' if n % 2 else 'some'}" for n in range(20)), "none,some"]
    table = load_table(write(str(tmp_path / "a.csv"), "\n".join(lines)), "", seed=0)
    assert table.classes == ("None", "some")
    assert table.skipped == (("line 22", "no value in column 'u'"),)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_the_sets_of_scikit_learn(name: str) -> None:
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    table, again, other = (load_table(name, "", seed) for seed in (0, 0, 1))
    assert table.classes == tuple(sorted(map(str, bunch.target_names)))
    counts = np.bincount(bunch.target)
    for k, target in enumerate(bunch.target_names):
        assert sum(by[str(target)] for by in table.counts.values()) == counts[k]
    assert len(table.train.points) == pytest.approx(0.6 * len(bunch.data), abs=2)
    assert table.train.points.shape[1] == len(table.features) == bunch.data.shape[1]
    assert torch.isfinite(table.train.points).all()
    torch.testing.assert_close(again.test, table.test)
    assert again.fingerprints == table.fingerprints != other.fingerprints


ENOUGH = rows(20, "ab")
BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "^the file is empty$"),
    "blank": ("\n , \n", "^the file is empty$"),
    "header only": ("x,y,label\n", "^line 1: a header, and no rows after it$"),
    "one column": ("1\n2\n", "^line 1: one column; features and a label, with commas .* needed$"),
    "semicolons": ("x;y\n1;a\n", "are needed; semicolons are between the fields instead$"),
    "another length": (
        "\n".join([*ENOUGH, "1,2,3,a"]),
        r"^line 21: the number of fields is 4; in the first line it is 3$",
    ),
    "text among features": (
        "\n".join(["x,colour,label", *(f"{i},red,{'ab'[i % 2]}" for i in range(20))]),
        r"^line 2: column 'colour' has 'red'; features are numbers, and label_column names",
    ),
    "infinite": ("\n".join([*ENOUGH, "1,inf,a"]), "^line 21: column 'x2' has inf; features are"),
    "too large": ("\n".join([*ENOUGH, "1,1e39,a"]), "^line 21: column 'x2' has 1e39; "),
    "one class": ("\n".join(rows(20, "a")), r"^no class but 'a' \(rows: 20\); at least 2"),
    "a rare class": ("\n".join([*ENOUGH, "1,2,c"]), "^class 'c' has too few rows: 1; at least 5"),
    "nothing but gaps": ("1,,a\n2,,b\n", r"^every row lacks a value \(line 1: no value"),
    "two columns of a name": ("x,x,label\n1,2,a\n", "^line 1: two columns are called 'x'$"),
    "not UTF-8": ("x,größe,label\n1,2,a\n".encode("latin-1"), "^not a text .* UTF-8 .* byte 4"),
    "a column without a name": (",x,label\n1,2,a\n", "^line 1: column 1 has no name .an index"),
    "Python's own number": ("\n".join([*ENOUGH, "1,1_0,a"]), "^line 21: column 'x2' has '1_0'"),
    "no CSV": ('1,"2,a\n3,4,b', "^line 2: unexpected end of data"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, how: str) -> None:
    content, reason = BAD[how]
    path = write(str(tmp_path / "a.csv"), content)
    with pytest.raises(DataError, match=reason) as caught:
        load_table(path, "", seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "header", "known"),
    [("colour", "x,y,label\n", "x, y, label"), ("4", "", "1 to 3, as the file has no header")],
)
def test_a_label_column_that_is_not_there(
    tmp_path: Path, column: str, header: str, known: str
) -> None:
    path = write(str(tmp_path / "a.csv"), header + "\n".join(ENOUGH))
    with pytest.raises(DataError, match=f"^no column '{column}' for the labels .*{known}"):
        load_table(path, column, seed=0)


def test_no_such_file_is_an_error() -> None:
    with pytest.raises(DataError, match="No such file"):
        load_table("/nowhere/a.csv", "", seed=0)


def test_the_number_of_the_label_column_is_no_name_in_a_header(tmp_path: Path) -> None:
    path = write(str(tmp_path / "a.csv"), "\n".join(["3,2,a", *ENOUGH]))
    table = load_table(path, "3", seed=0)
    assert sum(sum(by.values()) for by in table.counts.values()) == 21
    assert table.features == ("x1", "x2")


def test_numbers_as_classes_are_in_the_order_of_their_size(tmp_path: Path) -> None:
    lines = [f"{i},{(10, 2, 1)[i % 3]}" for i in range(30)]
    table = load_table(write(str(tmp_path / "a.csv"), "\n".join(lines)), "", seed=0)
    assert table.classes == ("1", "2", "10")


def test_features_are_standardised_as_the_logged_model_does_it(tmp_path: Path) -> None:
    """Also where numbers are large beside their differences, or do not differ at all."""
    lines = [f"{1.7e9 + 1000 * i + 0.3},0.1,{'ab'[i % 2]}" for i in range(40)]
    table = load_table(write(str(tmp_path / "a.csv"), "\n".join(lines)), "", seed=0)
    raw = torch.tensor([[float(f) for f in line.split(",")[:2]] for line in lines]).float()
    logged = StandardisedInput(torch.nn.Identity(), table.mean, table.std)(raw)
    rows = set(map(tuple, logged.tolist()))
    for points, _ in (table.train, table.validation, table.test):
        assert set(map(tuple, points.tolist())) <= rows
    assert table.std[1] == 1, "a constant feature is not divided by 0, nor by a rounding error"


def test_rows_in_their_order_are_split_in_their_order(tmp_path: Path) -> None:
    lines = [f"{number},{'ab'[number % 2]}" for number in range(50)]
    table = load_table(write(str(tmp_path / "a.csv"), "\n".join(lines)), "", seed=None)
    numbers = [(points * table.std + table.mean).flatten() for points, _ in table[:3]]
    for found, expected in zip(numbers, (range(30), range(30, 40), range(40, 50)), strict=True):
        assert found.round().tolist() == list(expected)


def test_a_split_in_order_without_a_class_is_refused(tmp_path: Path) -> None:
    path = write(str(tmp_path / "a.csv"), "\n".join(rows(20, "a") + rows(20, "b")))
    with pytest.raises(DataError, match=r"^class 'a': none among the rows 25 to 32, "):
        load_table(path, "", seed=None)

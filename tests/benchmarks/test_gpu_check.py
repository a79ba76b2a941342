"""The check of a GPU, in miniature on the CPU, where nothing may differ."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import experiments
from benchmarks.gpu_check import agreement
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.result import Result, as_table, within, without_errors
from benchmarks.gpu_check.stand_ins import StandIns
from harness.tracking.export import CheckedModel
from harness.training.train import train
from tests.conftest import ROOT

ENOUGH = ("torch", "torchvision", "numpy", "pillow", "pydantic")
"""What an image for GPUs brings."""


def link_packages(folder: Path, *names: str) -> None:
    """Put links to these packages, and to those that they need, into a folder."""
    seen, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # of CUDA, where torch is without it
            continue
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():  # several packages share a folder
                (folder / top).symlink_to(str(found.locate_file(top)))
        needed = map(Requirement, found.requires or [])
        waiting += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]


@pytest.mark.slow
def test_its_untracked_part_needs_five_packages(tmp_path: Path, user_cache: Path) -> None:
    link_packages(tmp_path, *ENOUGH)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-S", "-m", "benchmarks.gpu_check"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(user_cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (.*?) \| (.*?) \| .*? \| .*? \|$", done.stdout, re.M)
    assert "mlflow" in dict(rows)["runs and studies"]
    assert any("ImageFolder" in what for what, _ in rows)
    against_cpu = [(what, value) for what, value in rows if what.endswith("against the CPU")]
    assert len(against_cpu) == 3 * len(experiments.names())
    assert all(value == "0.0e+00" for _, value in against_cpu), against_cpu


@pytest.mark.slow
def test_its_runs_and_studies_end_well_in_miniature(store: Path) -> None:
    from benchmarks.gpu_check.tracked import tracked_parts

    with tracked_parts("cpu", "synthetic", miniature=True) as parts:
        results = [result for part in parts for result in without_errors(part)]
    assert all(result.held for result in results), results
    measured = {result.what: result.measured for result in results}
    assert measured["moe: tracked run resumed after an epoch, against not"] == "0.0e+00"
    assert measured["logged models that predict where no GPU is"] == "1"
    assert measured["cnn: utilisation of cpu while it trains, median, by MLflow"].endswith(" %")
    assert len(results) == 7
    assert list(store.glob("mlruns")) == []  # all is in a folder of its own


def test_another_gradient_and_other_losses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed otherwise on the CPU differs by as much."""
    experiment = experiments.find("moe")
    config = experiment.config_class(**experiment.config_class.tiny)
    calls = list[agreement.FirstSteps]()

    def scaled(*arguments: Any) -> agreement.FirstSteps:
        scale = 1.01 if calls else 1.0
        calls.append(first_steps(*arguments))
        return agreement.FirstSteps(*(scale * each for each in calls[-1]))

    first_steps = agreement.first_steps
    monkeypatch.setattr(agreement, "first_steps", scaled)
    gradient, losses, *_ = agreement.agreement(experiment, config)
    assert (gradient.measured, gradient.held) == ("9.9e-03", False)
    assert losses.measured == "9.9e-03"


def test_a_model_that_differs_after_export_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = experiments.find("moe")
    config = experiment.config_class(**experiment.config_class.tiny)
    trained = train(experiment, config)
    assert agreement.export_difference(experiment, trained) < agreement.ROUNDING_BOUND
    checked = CheckedModel

    def changed(exported: Any) -> Any:
        model = checked(exported)
        for weights in model.parameters():
            weights.mul_(1.5)
        return model

    monkeypatch.setattr(agreement, "CheckedModel", changed)
    assert agreement.export_difference(experiment, trained) > agreement.ROUNDING_BOUND


def test_the_table_says_what_fails_and_what_is_merely_slow() -> None:
    slow = Result("seconds", "0.4", "below 0.3", held=False, is_check=False)
    table = as_table([within("a step", 2e-3, 1e-3), within("another", 1e-4, 1e-3), slow])
    assert "| a step | 2.0e-03 | at most 1e-03 | **no** |" in table
    assert "| another | 1.0e-04 | at most 1e-03 | yes |" in table
    assert "| seconds | 0.4 | below 0.3 | missed |" in table


def test_an_error_ends_its_part_only(capsys: pytest.CaptureFixture[str]) -> None:
    def part() -> Iterator[Result]:
        yield within("first", 0.0, 1e-3)
        raise RuntimeError("out of memory\nand more")

    first, second = without_errors(("a part", part()))
    assert first.held
    assert second == Result("a part", "RuntimeError: out of memory", "no error", held=False)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (within("a step", 1e-2, 1e-3), 1),
        (within("a step", 1e-2, 1e-1), 0),
        (Result("seconds", "0.4", "below 0.3", held=False, is_check=False), 0),
    ],
)
def test_a_failure_is_the_exit_status(
    result: Result, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.gpu_check.__main__.check", lambda *_, **__: [result])
    assert main("synthetic") == status
    assert as_table([result]) in capsys.readouterr().out


def test_ctrl_c_leaves_the_table_of_what_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = within("a step", 0.0, 1e-3)

    def interrupted(*_: Any, **__: Any) -> Iterator[Result]:
        yield first
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.gpu_check.__main__.check", interrupted)
    assert main("synthetic") == 130
    assert as_table([first]) in capsys.readouterr().out


def test_what_is_not_installed_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, StandIns(["nowhere"])])
    names: dict[str, Any] = {}
    exec(
        """
import nowhere.plots as plots
from nowhere.figure import Figure, colors
from nowhere import tqdm

class Mine(Figure):
    pass

map = colors["inferno"].reversed()
try:
    raise ValueError
except Figure.error:
    raise
except ValueError:
    pass
with tqdm(range(3)) as bar:
    seen = [bar.update() or each for each in bar]
""",
        names,
    )
    assert names["seen"] == [0, 1, 2]
    assert issubclass(names["Mine"], names["Figure"])
    with pytest.raises(ModuleNotFoundError):
        exec("import elsewhere")
    for name in [each for each in sys.modules if each.startswith("nowhere")]:
        del sys.modules[name]

"""The check of a GPU, in miniature on the CPU, where nothing may differ."""

import copy
from typing import Any

import pytest
import torch

import experiments
from benchmarks.gpu_check import agreement, tracked
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.agreement import check_agreement
from benchmarks.gpu_check.result import as_table, within
from benchmarks.gpu_check.speed import check_speed


@pytest.mark.slow
def test_a_device_agrees_with_itself() -> None:
    results = list(check_agreement("cpu"))
    assert len(results) == 3 * len(experiments.names())
    assert all(result.holds and result.value == "0.0e+00" for result in results), results


def test_another_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is computed otherwise on the second device differs by as much."""
    experiment = experiments.find("moe")
    config = experiment.config_class(**experiment.config_class.tiny)
    calls = 0

    def scaled(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient(*arguments) * (1.0 if calls == 1 else 1.01)

    gradient = copy.copy(agreement.gradient)
    monkeypatch.setattr(agreement, "gradient", scaled)
    assert agreement.step_difference(experiment, config) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_its_measurements_and_runs_end_well_in_miniature() -> None:
    results = [*check_speed("cpu", "synthetic", miniature=True)]
    results += tracked.check_tracked("cpu", miniature=True)
    assert all(result.holds for result in results), results
    assert any("ImageFolder" in result.what for result in results)


def test_the_table_says_what_fails() -> None:
    table = as_table([within("a step", 2e-3, 1e-3), within("another", 1e-4, 1e-3)])
    assert "| a step | 2.0e-03 | at most 1e-03 | **fails** |" in table
    assert "| another | 1.0e-04 | at most 1e-03 | holds |" in table


def test_a_failure_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, status in ((1e-3, 1), (1e-1, 0)):
        results = [within("a step", 1e-2, bound)]
        monkeypatch.setattr("benchmarks.gpu_check.__main__.check", lambda *_, r=results, **__: r)
        assert main("synthetic") == status

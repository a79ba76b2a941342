"""How many workers there are, and which GPU each has."""

import os
from typing import Any

import pytest
import torch

from harness.errors import UserError
from harness.execution import messages, pools
from harness.execution.config import ExecutionConfig
from harness.execution.local import LocalPool
from harness.execution.pools import num_workers, open_pool_if_needed
from harness.training.config import TrainingConfig
from harness.training.device import num_cores, num_threads


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")


@pytest.mark.parametrize(("limit", "cores"), [("", 8), ("1", 1), ("6", 6), ("many", 8), ("0", 8)])
def test_cores_are_those_of_the_process_within_the_limit(
    limit: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert num_cores() == cores


@pytest.mark.parametrize(
    ("useful", "threads", "expected"),
    [(None, 0, 8), (1, 0, 1), (16, 0, 8), (1, 4, 4), (None, 2, 2)],
)
def test_threads_are_as_many_as_help(
    useful: int | None, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingConfig, "useful_threads", lambda _: useful)
    assert num_threads(TrainingConfig(threads=threads)) == expected


@pytest.mark.parametrize(
    ("values", "tasks", "threads", "expected"),
    [
        ({}, 50, 1, 8),
        ({}, 3, 1, 3),
        ({}, 50, 3, 2),
        ({}, 50, 8, 1),
        ({}, 50, 16, 1),
        ({"workers": 20}, 50, 8, 20),
        ({"workers": 20}, 4, 8, 4),
    ],
)
def test_workers_are_as_many_as_have_their_threads_a_core(
    values: dict[str, Any], tasks: int, threads: int, expected: int
) -> None:
    assert num_workers(ExecutionConfig(**values), tasks, threads, on_gpu=False) == expected


def test_gpus_are_shared_by_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert num_workers(ExecutionConfig(), 50, 1, on_gpu=True) == 2
    assert num_workers(ExecutionConfig(runs_per_gpu=3), 50, 1, on_gpu=True) == 6
    with pytest.raises(UserError, match=r"workers=3: at most 2, on 2 GPUs with runs_per_gpu=1"):
        num_workers(ExecutionConfig(workers=3), 50, 1, on_gpu=True)
    made: dict[str, Any] = {}
    monkeypatch.setattr(pools, "LocalPool", lambda size, **options: made.update(options))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    pools._open_local(ExecutionConfig(runs_per_gpu=2), 3, 1, on_gpu=True)
    assert made["gpus"] == ("5", "7", "5")
    assert made["share"] == pytest.approx(0.45)


def test_a_single_worker_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_pool_if_needed(ExecutionConfig(), 1, threads=1, on_gpu=False) as pool:
        assert pool is None
    with open_pool_if_needed(ExecutionConfig(), 2, threads=1, on_gpu=False) as pool:
        assert isinstance(pool, LocalPool)
    monkeypatch.setattr(messages, "_is_worker", True)  # one of its own has none
    with open_pool_if_needed(ExecutionConfig(), 2, threads=1, on_gpu=False) as pool:
        assert pool is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 0}, "workers=0"),
        ({"backend": "dask"}, "backend=dask"),
        ({"address": "10.0.0.5:6379"}, "address=10.0.0.5:6379: has no effect here; it needs"),
    ],
)
def test_values_that_are_not_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExecutionConfig(**values)


def test_workers_have_no_effect_on_a_single_training() -> None:
    with pytest.raises(UserError, match="workers=2: has no effect here; it needs seeds=2 or more"):
        TrainingConfig(workers=2)
    several = TrainingConfig(workers=2, seeds=3)
    assert several.for_seed(7).changes() == {"seed": 7}


@pytest.mark.parametrize(
    ("useful", "values", "expected"),
    [
        (1, {"seeds": 2}, True),
        (None, {"seeds": 2}, False),  # each takes every core
        (None, {"seeds": 2, "workers": 2}, True),
        (1, {"seeds": 2, "workers": 1}, False),
        (1, {}, False),
    ],
)
def test_a_server_of_workers_is_started_where_there_may_be_some(
    useful: int | None, values: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingConfig, "useful_threads", lambda _: useful)
    assert TrainingConfig(**values).needs_forkserver is expected

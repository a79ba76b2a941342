"""The same tasks on a real Ray cluster: two nodes on this machine, one of which goes."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from harness.errors import UserError
from harness.execution import cluster
from harness.execution.cluster import ClusterPool
from harness.execution.config import ExecutionConfig
from harness.execution.messages import Done, Pruned, Task
from harness.execution.pools import open_pool
from harness.execution.run_all import run_all
from tests.harness.execution.test_run_all import epochs, require_every_outcome
from tests.tuning.lines import SPACE
from tests.tuning.test_study import children
from tuning.config import StudyConfig
from tuning.study import tune

pytest.importorskip("ray")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """Start a cluster of two nodes with one core each; none of its processes is left afterwards."""
    from ray.cluster_utils import Cluster

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    head = {
        "num_cpus": 1,
        "include_dashboard": False,
        # By default its workers give way to all else, and hardly run beside other tests.
        "_system_config": {"worker_niceness": 0},
    }
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    cluster.ray().shutdown()
    made.shutdown()
    deadline = time.monotonic() + 30
    while left := {p.pid for p in psutil.Process().children(recursive=True)} - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


@pytest.fixture
def pool(two_nodes: Any, store: Path) -> Iterator[ClusterPool]:
    """Two workers, one on each node."""
    execution = ExecutionConfig(backend="ray", address=two_nodes.address)
    with open_pool(execution, 50, threads=1, on_gpu=False) as made:
        assert isinstance(made, ClusterPool)
        assert len(made.workers) == 2
        yield made


@slow
def test_every_kind_of_task_has_its_outcome(pool: ClusterPool, tmp_path: Path) -> None:
    require_every_outcome(pool, tmp_path, patience_seconds=15)
    (pruned,) = run_all([Task(partial(epochs, 9))], pool, prune=lambda _, epoch: epoch.number == 2)
    assert pruned[1] == Pruned()


def where(marker: str, report: Any) -> str:
    """Return the node, after two have been noted."""
    node = cluster.ray().get_runtime_context().get_node_id()
    Path(marker, f"{node} {os.getpid()}").touch()
    report(1, {})
    time.sleep(1)
    return str(node)


@slow
def test_a_node_that_goes_costs_only_what_it_was_doing(
    two_nodes: Any, pool: ClusterPool, tmp_path: Path
) -> None:
    extra = two_nodes.add_node(num_cpus=1)
    execution = ExecutionConfig(backend="ray", address=two_nodes.address)
    tasks = [Task(partial(where, str(tmp_path)), str(number)) for number in range(12)]
    pool.stop()
    with open_pool(execution, 50, threads=1, on_gpu=False) as three:
        results = []
        for _, outcome in run_all(tasks, three):
            results.append(outcome)
            if len(results) == 3:
                two_nodes.remove_node(extra, allow_graceful=False)
    assert len(results) == 12
    assert all(isinstance(outcome, Done) for outcome in results)
    assert len({outcome.result for outcome in results if isinstance(outcome, Done)}) >= 2


@slow
def test_more_workers_than_the_cluster_has_room_for(two_nodes: Any, store: Path) -> None:
    execution = ExecutionConfig(backend="ray", address=two_nodes.address, workers=9)
    with (
        pytest.raises(UserError, match=r"workers=9: at most [23], of 1 core and"),
        open_pool(execution, 50, threads=1, on_gpu=False),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "address=127.0.0.1:1: no Ray cluster answers there"),
        ("nowhere", "address=nowhere: has to be auto or host:port"),
        ("127.0.0.1:99999", "address=127.0.0.1:99999"),
    ],
)
def test_no_cluster_at_an_address_is_one_line(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.ray(), "is_initialized", lambda: False)  # by the tests before
    began = time.monotonic()
    with pytest.raises(UserError, match=message):
        cluster.connect(address)
    assert time.monotonic() - began < 10


def kill_two_workers(two_nodes: Any, extra: Any, ended: threading.Event) -> bool:
    """Kill a worker that is at work every four seconds; return whether one was killed."""
    killed = 0
    while killed < 2 and not ended.wait(4):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::Actor.work" in process.cmdline()[0]:
                    process.kill()
                    killed += 1
                    break
    return killed > 0


def remove_a_node(two_nodes: Any, extra: Any, ended: threading.Event) -> bool:
    """Take a node away while each of the three trains; return whether it came to that."""
    client = MlflowClient()
    while not ended.wait(0.2):
        experiments = [each.experiment_id for each in client.search_experiments()]
        running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
        if len(running) == 4:  # the study and its trials
            two_nodes.remove_node(extra, allow_graceful=False)
            return True
    return False


@slow
@pytest.mark.parametrize("disturb", [kill_two_workers, remove_a_node])
def test_a_study_on_a_cluster_loses_nothing(
    disturb: Callable[[Any, Any, threading.Event], bool], two_nodes: Any, store: Path
) -> None:
    """Each trial is trained once, whatever dies meanwhile; no child run stays open."""
    extra = two_nodes.add_node(num_cpus=1)
    two_nodes.wait_for_nodes()
    ended = threading.Event()
    config = StudyConfig(
        experiment="line",
        trials=12,
        finalists=0,
        pruner="none",
        backend="ray",
        address=two_nodes.address,
        study_name=disturb.__name__,
    )
    with ThreadPoolExecutor(1) as aside:
        disturbed = aside.submit(disturb, two_nodes, extra, ended)
        try:
            result = tune(config, SPACE.fix({"num_epochs": 240}))
        finally:
            ended.set()
        if extra in two_nodes.list_all_nodes():
            two_nodes.remove_node(extra)
    assert disturbed.result()
    trials = result.study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(trials) > len(done) == 12  # what died had been training
    assert len({tuple(trial.params.items()) for trial in done}) == 12
    runs = children(result)
    assert {run.info.status for run in runs.values()} <= {"FINISHED", "FAILED"}
    assert sum(run.info.status == "FINISHED" for run in runs.values()) == 12

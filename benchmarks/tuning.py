"""What a study costs beyond its training, here and on Ray, and what a second worker gains.

python -m benchmarks.tuning [TRIALS]

Ray is asked on a cluster of its own on this machine, with the same random trials as a local worker;
where it is not installed, it is left out.
"""

import contextlib
import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.tracking import MlflowClient

from harness.execution import forkserver
from tuning.config import StudyConfig
from tuning.study import StudyResult, tune


def study(name: str, **options: object) -> tuple[float, float, int]:
    """Carry out a study; return the seconds it took, those of training, and the trials."""
    settings = {"finalists": 0, "pruner": "none", "storage": f"{name}.journal", **options}
    result = tune(StudyConfig(experiment="moe", study_name=name, **settings))  # type: ignore[arg-type]
    trials = result.study.get_trials()
    began = min(trial.datetime_start for trial in trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    return (ended - began).total_seconds(), trained_seconds(result), len(trials)


def trained_seconds(result: StudyResult) -> float:
    """Return how long all the trials of a study trained."""
    client = MlflowClient()
    experiment = client.get_run(result.parent_id).info.experiment_id
    query = f"tags.mlflow.parentRunId = '{result.parent_id}'"
    runs = client.search_runs([experiment], query)
    return math.fsum(run.data.metrics["train_seconds"] for run in runs)


@contextlib.contextmanager
def ray_cluster() -> Iterator[str]:
    """Start a cluster with one core on this machine; its address."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made.address
    finally:
        ray.shutdown()
        made.shutdown()


def main(num_trials: int) -> None:
    """Print overhead per trial, and trials per minute with one and with two workers."""
    whole, trained, count = study("tpe", trials=num_trials, workers=1)
    print(
        f"tpe, 1 worker: {count} trials in {whole:.1f} s, of which training {trained:.1f} s: "
        f"overhead {(whole - trained) / count:.3f} s a trial",
        flush=True,
    )
    rates, overhead = {}, 0.0
    for workers in (1, 2):
        name = f"random-{workers}"
        whole, trained, count = study(name, trials=num_trials, sampler="random", workers=workers)
        rates[workers] = 60 * count / whole
        if workers == 1:
            local, overhead = whole, (whole - trained) / count
            print(f"random, 1 worker: overhead {overhead:.3f} s a trial", flush=True)
        print(f"{workers} workers: {rates[workers]:.1f} trials a minute", flush=True)
    print(f"two workers: {rates[2] / rates[1]:.2f} times the trials of one", flush=True)
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed: left out")
        return
    with ray_cluster() as address:
        on_ray = {"backend": "ray", "address": address, "workers": 1}
        whole, trained, count = study("ray", trials=num_trials, sampler="random", **on_ray)
    print(
        f"random, 1 worker on Ray: overhead {(whole - trained) / count:.3f} s a trial; "
        f"in all {(whole - local) / count:+.3f} s a trial against the local worker",
    )


if __name__ == "__main__":
    forkserver.start()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder)}/mlflow.db"
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)

"""Studies of this suite beside plain Optuna with MLflow's callback, and beside Ray Tune.

python -m benchmarks.tuners [SECONDS] [STUDIES]

All search the space of `moe` with the same training, on the same two cores, for the same time from
their first trial on; compared is the best validation accuracy after it. Each repetition runs the
three one after the other, with a seed of its own. Plain Optuna trains two trials at a time in
threads; Ray Tune has Optuna's sampler and ASHA. What is not installed is left out, with a word:
pip install optuna-integration "ray[tune]".
"""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna

from harness.evaluation import sample_std
from harness.execution import forkserver
from harness.training.loop import Progress
from harness.training.train import train
from tuning.config import StudyConfig
from tuning.space import Space, find
from tuning.study import tune

WORKERS = 2


def suite(space: Space, seed: int, limit_seconds: float) -> float:
    """Search with `python -m tuning moe`."""
    config = StudyConfig(
        experiment="moe",
        study_name=f"suite-{seed}",
        seed=seed,
        trials=100_000,
        timeout_seconds=limit_seconds,
        workers=WORKERS,
        finalists=0,
    )
    return float(tune(config).study.best_value)


def plain_optuna(space: Space, seed: int, limit_seconds: float) -> float:
    """Search with `study.optimize` in two threads, and MLflow's callback."""
    from optuna_integration.mlflow import MLflowCallback

    def objective(trial: optuna.Trial) -> float:
        def report(progress: Progress) -> None:
            trial.report(progress.history.rows[-1][space.metric], progress.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        config = space.configuration({**space.suggest(trial), "seed": seed})
        best = train(space.experiment, config, callbacks=(report,)).history.best
        return float(best[space.metric])

    callback = MLflowCallback(metric_name=space.metric.replace("/", "_"))
    study = optuna.create_study(
        study_name=f"plain-{seed}",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.optimize(objective, timeout=limit_seconds, n_jobs=WORKERS, callbacks=[callback])
    return float(study.best_value)


def suggest(trial: optuna.Trial) -> None:
    """Ask for the values of a trial; Ray Tune pickles this function, which a space cannot be."""
    find("moe").suggest(trial)


def ray_tune(space: Space, seed: int, limit_seconds: float) -> float:
    """Search with Ray Tune, Optuna's sampler and ASHA."""
    import ray
    from ray import tune as ray_tune_module
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    def trainable(values: dict[str, Any]) -> None:
        def report(progress: Progress) -> None:
            rows = progress.history.rows
            best = max(row[space.metric] for row in rows)
            ray_tune_module.report({"value": rows[-1][space.metric], "best": best})

        train(space.experiment, space.configuration({**values, "seed": seed}), callbacks=(report,))

    num_epochs = space.configuration({}).num_epochs
    search = OptunaSearch(suggest, metric="value", mode="max", seed=seed)
    tuner = ray_tune_module.Tuner(
        ray_tune_module.with_resources(trainable, {"cpu": 1}),
        tune_config=ray_tune_module.TuneConfig(
            search_alg=ConcurrencyLimiter(search, WORKERS),
            scheduler=ASHAScheduler(metric="value", mode="max", max_t=num_epochs),
            num_samples=-1,
            time_budget_s=limit_seconds,
            reuse_actors=True,
        ),
        run_config=ray_tune_module.RunConfig(
            storage_path=str(Path.cwd() / "ray"), name=f"ray-{seed}", verbose=0
        ),
    )
    if not ray.is_initialized():
        ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    reported = (result.metrics or {} for result in tuner.fit())
    return max(float(metrics["best"]) for metrics in reported if "best" in metrics)


TUNERS: dict[str, Callable[[Space, int, float], float]] = {
    "this suite": suite,
    "plain Optuna": plain_optuna,
    "Ray Tune": ray_tune,
}


def main(limit_seconds: float, num_studies: int) -> None:
    """Print what each has reached, study by study, then mean and standard deviation."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, reached = find("moe"), {name: list[float]() for name in TUNERS}
    for seed in range(num_studies):
        for name, search in TUNERS.items():
            began = time.perf_counter()
            try:
                with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    value = search(space, seed, limit_seconds)
            except ImportError as error:
                print(f"{name} is left out: {error}")
                continue
            seconds = time.perf_counter() - began
            print(f"study {seed}, {name}: {value:.4f} in {seconds:.0f} s", flush=True)
            reached[name].append(value)
    for name, values in reached.items():
        if values:
            spread = sample_std(values)
            print(f"{name}: {statistics.fmean(values):.4f} ± {spread:.4f} (n={len(values)})")


if __name__ == "__main__":
    forkserver.start()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    arguments = [float(word) for word in sys.argv[1:]] + [60.0, 5.0][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        mlflow.MlflowClient().search_experiments()
        main(arguments[0], int(arguments[1]))

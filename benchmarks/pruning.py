"""What pruning saves: the same studies with and without it.

python -m benchmarks.pruning [SAMPLER [STUDIES [TRIALS]]]

With the sampler `random` both try the very same configurations, so that nothing but pruning makes
a difference; `tpe` chooses others where it has seen others.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from harness.execution import forkserver
from tuning.config import StudyConfig
from tuning.study import tune


def study(
    sampler: Literal["random", "tpe"], seed: int, num_trials: int, pruner: Literal["none", "median"]
) -> list[FrozenTrial]:
    """Carry out a study and return its trials."""
    config = StudyConfig(
        experiment="moe",
        study_name=f"{pruner}-{seed}",
        seed=seed,
        trials=num_trials,
        sampler=sampler,
        pruner=pruner,
        finalists=0,
        set=("num_train=5000",),  # epochs count here, not their seconds
    )
    return tune(config).study.get_trials()


def epochs(trials: list[FrozenTrial]) -> int:
    """Return how many epochs trials have trained, all together."""
    return sum(len(trial.intermediate_values) for trial in trials)


def best(trials: list[FrozenTrial]) -> float:
    """Return the best value of the complete ones."""
    return max(t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None)


def within(trials: list[FrozenTrial], budget: int) -> list[FrozenTrial]:
    """Return the trials that end before so many epochs are spent."""
    return [trial for i, trial in enumerate(trials) if epochs(trials[: i + 1]) <= budget]


def main(
    sampler: Literal["random", "tpe"] = "random", num_studies: int = 3, num_trials: int = 50
) -> None:
    """Print, for each seed, best value and epochs of the two studies, and then the means."""
    results = []
    for seed in range(num_studies):
        plain = study(sampler, seed, num_trials, "none")
        pruned = study(sampler, seed, num_trials, "median")
        half = epochs(plain) // 2
        part = epochs(pruned) / epochs(plain)
        results.append((best(plain), best(pruned), part, best(within(pruned, half))))
        print(
            f"seed {seed}: best {best(plain):.4f} in {epochs(plain)} epochs; with pruning "
            f"{best(pruned):.4f} in {epochs(pruned)} ({part:.2f}), {results[-1][-1]:.4f} in {half}",
            flush=True,
        )
    names = ("best", "best with pruning", "part of the epochs", "best with pruning in half of them")
    for name, column in zip(names, zip(*results, strict=True), strict=True):
        print(f"{name}: {statistics.fmean(column):.4f} ± {statistics.stdev(column):.4f}")


if __name__ == "__main__":
    forkserver.start()
    words = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder)}/mlflow.db"
        main(*words[:1], *map(int, words[1:]))  # type: ignore[arg-type]

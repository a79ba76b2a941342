"""What pruning saves: the same studies with and without it, their epochs and best values.

python -m benchmarks.pruning [STUDIES [TRIALS]]
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Literal

from tuning import forks
from tuning.config import StudyConfig
from tuning.study import tune


def study(seed: int, num_trials: int, pruner: Literal["none", "median"]) -> tuple[float, int]:
    """Carry out a study; return the best value, and the epochs of all trials together."""
    config = StudyConfig(
        experiment="moe",
        study_name=f"{pruner}-{seed}",
        seed=seed,
        trials=num_trials,
        pruner=pruner,
        finalists=0,
        threads=1,
        set=("num_train=5000", "restarts=4"),  # epochs count here, not their seconds
    )
    done = tune(config).study
    return done.best_value, sum(len(trial.intermediate_values) for trial in done.get_trials())


def main(num_studies: int, num_trials: int) -> None:
    """Print both for each seed, and the means."""
    results = []
    for seed in range(num_studies):
        (best, epochs), (pruned_best, pruned_epochs) = (
            study(seed, num_trials, "none"),
            study(seed, num_trials, "median"),
        )
        results.append((best, pruned_best, pruned_epochs / epochs))
        print(
            f"seed {seed}: best {best:.4f} in {epochs} epochs, "
            f"pruned {pruned_best:.4f} in {pruned_epochs} ({pruned_epochs / epochs:.2f})"
        )
    best, pruned_best, part = (statistics.fmean(column) for column in zip(*results, strict=True))
    print(f"mean of {num_studies}: best {best:.4f}, pruned {pruned_best:.4f} in {part:.2f} of it")


if __name__ == "__main__":
    forks.start()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder)}/mlflow.db"
        numbers = [int(word) for word in sys.argv[1:]]
        main(*numbers, *(3, 50)[len(numbers) :])

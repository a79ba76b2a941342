"""What pruning saves: the same studies with and without it, and what half the epochs reach.

python -m benchmarks.pruning [STUDIES [TRIALS]]
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from tuning import forks
from tuning.config import StudyConfig
from tuning.study import tune


def study(seed: int, num_trials: int, pruner: Literal["none", "median"]) -> list[FrozenTrial]:
    """Carry out a study and return its trials."""
    config = StudyConfig(
        experiment="moe",
        study_name=f"{pruner}-{seed}",
        seed=seed,
        trials=num_trials,
        pruner=pruner,
        finalists=0,
        threads=1,
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


def main(num_studies: int, num_trials: int) -> None:
    """Print, for each seed, the best value of all epochs, and of half as many with pruning."""
    results = []
    for seed in range(num_studies):
        plain, pruned = (study(seed, num_trials, pruner) for pruner in ("none", "median"))
        half = epochs(plain) // 2
        results.append((best(plain), best(within(plain, half)), best(within(pruned, half))))
        print(
            f"seed {seed}: best {results[-1][0]:.4f} in {epochs(plain)} epochs, "
            f"{results[-1][1]:.4f} in half of them, "
            f"{results[-1][2]:.4f} in half of them with pruning "
            f"({len(within(pruned, half))} trials; all {num_trials} take {epochs(pruned)} epochs)",
            flush=True,
        )
    whole, half_plain, half_pruned = (
        f"{statistics.fmean(column):.4f} ± {statistics.stdev(column):.4f}"
        for column in zip(*results, strict=True)
    )
    print(f"mean of {num_studies}: {whole}; in half: {half_plain}; pruned, in half: {half_pruned}")


if __name__ == "__main__":
    forks.start()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder)}/mlflow.db"
        numbers = [int(word) for word in sys.argv[1:]]
        main(*numbers, *(3, 100)[len(numbers) :])

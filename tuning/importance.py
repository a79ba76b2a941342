"""Which parameters matter: their importance in a study, beside what chance alone gives."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuning.figures import quiet

MIN_TRIALS = 20
"""Complete trials that have a parameter, below which its importance is not estimated.

Where one of 8 parameters explains half of the variance, it comes first in 37 % of studies of 10
random trials, 47 % of 20, 57 % of 30 and 88 % of 100 (60 studies each; by chance: 12 %)."""
TOP_TRIALS = 5
"""Least number of trials that count as the best ones: as Optuna recommends for PED-ANOVA."""
NUM_PERMUTATIONS = 19


class Importance(NamedTuple):
    """How much of reaching the best trials each parameter explains (PED-ANOVA)."""

    shares: Mapping[str, float]
    """By parameter, the most important first; their sum is 1. Empty where nothing can be told."""
    chance: float
    """The largest share in 19 studies whose values were dealt out to the trials at random.

    In 1 of 20 studies in which no parameter matters, one lies above it."""
    too_few: Mapping[str, int]
    """Parameters left out, with the number of complete trials that have them."""


def importance(study: optuna.Study) -> Importance:
    """Return the importance of every parameter that enough complete trials have.

    It is that of Watanabe et al. 2023, "PED-ANOVA", for reaching the best tenth of the trials, or
    the best five where these are more.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    counts = Counter(name for trial in complete for name in trial.params)
    names = [name for name, count in counts.items() if count >= MIN_TRIALS]
    too_few = {name: count for name, count in counts.items() if count < MIN_TRIALS}
    if not names:
        return Importance({}, 0.0, too_few)
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    values = sign * np.array([trial.value for trial in complete], dtype=float)
    best = max(0.1, TOP_TRIALS / len(complete))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best)

    def evaluate(values: np.ndarray) -> dict[str, float]:
        by_number = {trial.number: value for trial, value in zip(complete, values, strict=True)}
        with quiet():
            return evaluator.evaluate(study, names, target=lambda trial: by_number[trial.number])

    found = evaluate(values)
    total = sum(found.values())
    if not total:  # all are equally good
        return Importance({}, 0.0, too_few)
    generator = np.random.default_rng(0)
    permuted = (evaluate(generator.permutation(values)) for _ in range(NUM_PERMUTATIONS))
    chance = max(max(each.values()) for each in permuted) / total
    ordered = sorted(found, key=lambda name: found[name], reverse=True)
    return Importance({name: found[name] / total for name in ordered}, chance, too_few)

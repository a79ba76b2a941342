"""What of its space a study has tried: no configuration is trained twice, and a space may end.

A trial repeats another where the sampler, or the rounding of real numbers, gives the same
configuration. Seed and data are the same, too, so that the value would be the same again.
"""

import random
from collections.abc import Iterable

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.errors import UserError
from harness.training.config import TrainingConfig
from tuning.retries import requeued
from tuning.space import Space, Values

REPEATS = "repeats"
"""Attribute of a trial that was not run: the number of the trial that it would repeat."""


class Tried:
    """The configurations that a study has tried."""

    def __init__(self, study: optuna.Study, space: Space):
        self.study = study
        self.space = space
        self._finished: dict[int, TrainingConfig | None] = {}

    def configurations(self) -> dict[TrainingConfig, int]:
        """Return each configuration that was tried, or is being tried, with its trial's number."""
        tried: dict[TrainingConfig, int] = {}
        for trial in counted(self.study.get_trials(deepcopy=False)):
            config = self._finished.get(trial.number) or self._valid(trial.params)
            if trial.state.is_finished():
                self._finished[trial.number] = config
            if config is not None:
                tried.setdefault(config, trial.number)
        return tried

    def untried_point(self, seed: int = 0) -> Values | None:
        """Return a random point whose configuration was not tried, or None where there is none."""
        tried = self.configurations()
        for point in self.space.points(random.Random(seed + len(tried))):
            config = self._valid(point)
            if config is not None and config not in tried:
                return point
        return None

    def _valid(self, values: Values) -> TrainingConfig | None:
        try:
            return self.space.configuration(values)
        except UserError:  # values that contradict each other
            return None


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count: neither waiting, nor queued again, nor repeats of another."""
    found = list(trials)
    left_out = requeued(found) | {trial.number for trial in found if REPEATS in trial.user_attrs}
    return [t for t in found if t.state != TrialState.WAITING and t.number not in left_out]

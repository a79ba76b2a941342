"""Runs of the small experiment: the only one, its metrics, one that was interrupted."""

import dataclasses
from typing import Any

import pytest
import torch
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from torch import nn

from harness.experiment import Splits
from harness.run_experiment import run_experiment
from harness.training.metrics import StepOutput
from tests.harness.small import FitALine, Line, SmallConfig, squared_error


def only_run(name: str = "small") -> MlflowRun:
    found = MlflowClient().get_experiment_by_name(name)
    (run,) = MlflowClient().search_runs([found.experiment_id])
    return run


def history(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in MlflowClient().get_metric_history(run_id, name)]


class LeavesOut(FitALine):
    """Fit a line of another slope, of which two points were left out."""

    slope = 2.0

    def load_data(self, config: SmallConfig) -> Splits[Line]:
        data, skipped = super().load_data(config), [("row 3", "not a number"), ("row 9", "empty")]
        validation = Line(data.train.x, self.slope * data.train.targets)
        counts = {"train": {"a": 10}, "validation": {"a": 10}}
        return dataclasses.replace(data, skipped=skipped, validation=validation, counts=counts)


class Interrupted(FitALine):
    """Is interrupted in the middle of the fourth epoch, with some seeds only if that is said."""

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds
        self.trained: list[int] = []
        self.calls = 0

    def optimizer(self, config: SmallConfig, model: nn.Module) -> torch.optim.Optimizer:
        self.trained.append(config.seed)
        self.calls = 0
        return super().optimizer(config, model)

    def loss(self, config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        self.calls += model.training
        if self.calls == 3 * 3 + 2 and (not self.seeds or self.seeds == tuple(self.trained)):
            raise KeyboardInterrupt
        return squared_error(model, batch)


def interrupted_run(config: SmallConfig) -> str:
    """Return the id of a run that was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        run_experiment(Interrupted(), config)
    return str(only_run().info.run_id)

"""An experiment small enough to see through, for tests of the harness."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from harness.config import STRICT
from harness.experiment import Evaluation, Experiment, ModelExport, NamedFigure, Splits, Trained
from harness.training.config import TrainingConfig
from harness.training.device import Hardware
from harness.training.history import History
from harness.training.loop import Callback, fit
from harness.training.metrics import StepOutput


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SmallConfig(TrainingConfig):
    """Fit a line."""

    family: ClassVar[str] = "small"
    entry_point: ClassVar[str] = "small"
    tiny: ClassVar[Mapping[str, Any]] = {}

    num_epochs: PositiveInt = 5
    batch_size: PositiveInt = 4
    learning_rate: PositiveFloat = 0.1


class Line(NamedTuple):
    """Points of a line, (N, 1) and (N,)."""

    x: Tensor
    targets: Tensor


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
    """Return the mean squared error of a batch."""
    x, y = batch
    loss = (model(x).squeeze(-1) - y).square().mean()
    return StepOutput(loss, {"loss": loss, "accuracy": -loss}, len(y))


def line(count: int = 10) -> Line:
    """Return points of a line, with noise that every seed repeats."""
    x = torch.linspace(-1, 1, count).unsqueeze(1)
    return Line(x, 3 * x.squeeze(1) + 0.1 * torch.sin(99 * x.squeeze(1)))


class FitALine(Experiment[SmallConfig]):
    """Fit a line as an experiment of the suite does."""

    config_class = SmallConfig

    def load_data(self, config: SmallConfig) -> Splits[Line]:
        return Splits(name="line", train=line(), validation=line(), load_test=line)

    def build_model(self, config: SmallConfig, data: Any) -> nn.Module:
        return nn.Linear(1, 1)

    def loss(self, config: SmallConfig, model: nn.Module, batch: Any) -> StepOutput:
        return squared_error(model, batch)

    def optimizer(self, config: SmallConfig, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=config.learning_rate)

    def evaluate(self, config: SmallConfig, trained: Trained, test: Line) -> Evaluation:
        loss = squared_error(trained.model, test).loss.item()
        return Evaluation(metrics={"test/loss": loss}, headline=f"A loss of {loss:.3f}.")

    def figures(
        self, config: SmallConfig, trained: Trained, evaluation: Evaluation
    ) -> Iterator[NamedFigure]:
        yield from ()

    def export(self, config: SmallConfig, trained: Trained) -> ModelExport:
        return ModelExport(module=trained.model, example_input=np.zeros((2, 1), dtype=np.float32))


def train_line(
    config: SmallConfig,
    callbacks: Sequence[Callback] = (),
    model: nn.Module | None = None,
    **changes: Any,
) -> History:
    """Fit a line; `changes` take the place of what `FitALine` has under their names."""
    experiment = FitALine()
    for name, change in changes.items():
        setattr(experiment, name, change)
    data = experiment.load_data(config)
    return fit(
        experiment, config, model or nn.Linear(1, 1), data, Hardware.choose(config), callbacks
    )


EXPERIMENT = FitALine()

"""An experiment small enough to see through, for tests of the harness."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from experiments.harness.batches import TensorBatches
from experiments.harness.config import STRICT, Count, Positive, TrainingConfig
from experiments.harness.device import Hardware
from experiments.harness.experiment import Experiment, Learnt
from experiments.harness.loop import Callback, History, fit
from experiments.harness.metrics import Outcome
from experiments.harness.tracking import Run


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SmallConfig(TrainingConfig):
    """Fit a line."""

    family: ClassVar[str] = "small"
    entry_point: ClassVar[str] = "small"
    tiny: ClassVar[Mapping[str, Any]] = {}

    num_epochs: Count = 5
    batch_size: Count = 4
    learning_rate: Positive = 0.1


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Outcome:
    """Return the mean squared error of a batch."""
    x, y = batch
    loss = (model(x).squeeze(-1) - y).square().mean()
    return Outcome(loss, {"loss": loss, "accuracy": -loss}, len(y))


def line(count: int = 10) -> tuple[Tensor, Tensor]:
    """Return points of a line, with noise that every seed repeats."""
    x = torch.linspace(-1, 1, count).unsqueeze(1)
    return x, 3 * x.squeeze(1) + 0.1 * torch.sin(99 * x.squeeze(1))


def train_line(
    config: SmallConfig,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> History:
    """Fit a line with the loop's defaults unless `options` say otherwise."""
    model = options.pop("model", None) or nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    settings = {
        "train": TensorBatches(*line(), batch_size=config.batch_size, shuffle=True),
        "validation": TensorBatches(*line(), batch_size=6),
        "loss_function": squared_error,
        "optimizer": optimizer,
        "hardware": Hardware.choose(config),
        "callbacks": callbacks,
        "run": run,
        **options,
    }
    return fit(model, config, **settings)


def learn(
    config: SmallConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> Learnt:
    """Fit a line as an experiment of the suite does."""
    model = nn.Linear(1, 1)
    history = train_line(config, run, callbacks, model=model, hardware=hardware)
    return Learnt(model=model, history=history, example=np.zeros((2, 1), dtype=np.float32))


def judge(config: SmallConfig, hardware: Hardware, learnt: Learnt, run: Run) -> dict[str, float]:
    """Pretend to judge what was learnt."""
    metrics = {"test/loss": learnt.history.best["val/loss"]}
    run.log_metrics(metrics)
    return metrics


EXPERIMENT = Experiment(SmallConfig, learn, judge)

"""Many initialisations trained side by side, of which the best by validation is kept.

Gradient descent on a mixture ends in poor local optima from some initialisations. A model built
with `stack=(R,)` is R models whose parameters have a leading axis R: one computation trains them
all, and every metric of the loss is (R, ...).
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datasets.toy_datasets import Points
from experiments.moe.config import MoEConfig
from harness.experiment import Experiment, Splits
from harness.training.batches import Batches, TensorBatches
from harness.training.history import History
from harness.training.metrics import fraction, scalars
from harness.training.optimizers import build_optimizer
from models.stacked import select_from_stack
from models.zero_one_loss import smoothed_zero_one_loss

MIN_STEPS = 10
"""Optimiser steps of an epoch on a table: a small one is passed over several times."""


@dataclasses.dataclass(frozen=True)
class RepeatedBatches:
    """Several passes over the same samples, each in an order of its own."""

    batches: TensorBatches
    passes: int

    def __len__(self) -> int:
        return self.passes * len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for _ in range(self.passes):
            yield from self.batches


def best_restart(history: History) -> int:
    """Return the restart with the lowest objective on the validation split at the best epoch."""
    return int(history.raw[history.best_epoch - 1]["val/objective"].argmin())


SHARPNESS = (1.0, 2.0, 4.0)
"""Of the smoothed zero-one loss: each for a third of its epochs, one after the other."""


@dataclasses.dataclass(frozen=True)
class ZeroOneBatches:
    """Batches of an epoch that lowers the zero-one loss: points, labels, and its sharpness."""

    batches: Batches
    sharpness: float

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        for points, labels in self.batches:
            yield points, labels, self.sharpness


def objective(config: MoEConfig, loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return what the last epochs lower, (*S,): the zero-one loss at its sharpest, or the loss."""
    if config.zero_one_epochs == 0:
        return loss
    return smoothed_zero_one_loss(logits, labels, SHARPNESS[-1])


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the fraction of points that are classified correctly, (*S,).

    Logits are (*S, B) with labels (B,) float, or (*S, C, B) with labels int64.
    """
    if labels.is_floating_point():
        return fraction((logits > 0) == (labels > 0.5))
    return fraction(logits.argmax(-2) == labels)


class StackedExperiment(Experiment[MoEConfig]):
    """Points, classified by the best of many restarts of one recipe."""

    config_class: ClassVar[type[Any]] = MoEConfig
    monitor = "val/objective"

    @abstractmethod
    def build_stack(self, config: MoEConfig, data: Any, stack: tuple[int, ...]) -> nn.Module:
        """Return one model, with `stack=()`, or a stack of them."""

    def build_model(self, config: MoEConfig, data: Any) -> nn.Module:
        """Return a stack of R models that share no weight."""
        return self.build_stack(config, data, (config.restarts,))

    def training_batches(self, config: MoEConfig, data: Any, epoch: int) -> Batches:
        """Return the batches of an epoch; those of a table are `MIN_STEPS` at least.

        In the last epochs, those of the zero-one loss, each has its sharpness, too.
        """
        batches = TensorBatches(*data.train, batch_size=config.batch_size, shuffle=True)
        passes = 1 if config.is_generated else math.ceil(MIN_STEPS / len(batches))
        repeated = RepeatedBatches(batches, passes)
        done = epoch - 1 - (config.num_epochs - config.zero_one_epochs)
        if done < 0:
            return repeated
        sharpness = SHARPNESS[len(SHARPNESS) * done // config.zero_one_epochs]
        return ZeroOneBatches(repeated, sharpness)

    def validation_batches(self, config: MoEConfig, data: Splits[Points]) -> TensorBatches:
        """Return the validation points, many at a time."""
        return TensorBatches(*data.validation, batch_size=5_000)

    def optimizer(self, config: MoEConfig, model: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW."""
        return build_optimizer("adamw", model, config)

    def clip_gradients(self, model: nn.Module, max_norm: float) -> None:
        """Clip the gradient of each restart by its own norm, as if it were trained alone."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        squares = torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients])
        factor = (max_norm / squares.sum(0).sqrt().clamp(min=1e-12)).clamp(max=1)  # (R,)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))

    def summarise(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Reduce metrics (R, ...) to those of the best restart of this epoch."""
        restart = int(metrics["val/objective"].argmin())
        return scalars({name: value[restart] for name, value in metrics.items()})

    def select_model(self, config: MoEConfig, data: Any, model: nn.Module, history: History) -> Any:
        """Return the best restart."""
        weights = select_from_stack(model.state_dict(), best_restart(history))
        return self.restore_model(config, data, weights)

    def restore_model(self, config: Any, data: Any, weights: Mapping[str, Tensor]) -> Any:
        """Return a single model with these weights."""
        model = self.build_stack(config, data, ())
        model.load_state_dict(weights)
        return model.eval()

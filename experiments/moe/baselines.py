"""What a mixture is compared with: a line, and an MLP, trained with the same recipe."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from experiments.moe.config import MoEConfig
from experiments.moe.data import PointSplits
from experiments.moe.restarts import StackedExperiment, accuracy, objective
from harness.experiment import Trained
from harness.training.metrics import StepOutput
from harness.training.train import train
from harness.wording import plural
from models.moe_losses import cross_entropy
from models.stacked import MLP
from models.zero_one_loss import smoothed_zero_one_loss


class Baseline(StackedExperiment):
    """An MLP; without hidden units, logistic regression."""

    def __init__(self, hidden_units: int):
        self.hidden_units = hidden_units

    def title(self, config: MoEConfig) -> str:
        """Return what the progress bar says."""
        units = self.hidden_units
        return f"MLP, {plural(units, 'hidden unit')}" if units else "logistic regression"

    def build_stack(
        self, config: MoEConfig, data: PointSplits, stack: tuple[int, ...]
    ) -> nn.Module:
        """Return an MLP or a stack; logistic regression has one optimum, and needs no restarts."""
        copies = stack if self.hidden_units else stack and (1,)
        return MLP(len(data.features), self.hidden_units, data.num_logits, copies)

    def loss(self, config: MoEConfig, model: Any, batch: tuple[Any, ...]) -> StepOutput:
        """Return cross-entropy and accuracy, (R,) each."""
        points, labels, *sharpness = batch
        logits = class_logits(model(points))  # (R, B), or (R, C, B)
        loss = cross_entropy(logits, labels)
        metrics = {"loss": loss, "accuracy": accuracy(logits, labels), "objective": loss}
        if self.hidden_units:  # logistic regression is that of the likelihood
            metrics["objective"] = objective(config, loss, logits, labels)
            loss = smoothed_zero_one_loss(logits, labels, *sharpness) if sharpness else loss
        return StepOutput(loss.sum(), metrics, len(labels))

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError  # `train_baseline` has the mixture's data, and draws nothing

    load_data = evaluate = figures = _unused


def train_baseline(hidden_units: int, config: MoEConfig, trained: Trained) -> float:
    """Train a baseline on the data of a mixture, and return its accuracy on the test split."""
    model = train(Baseline(hidden_units), config, data=trained.data).model
    points, labels = trained.data.test
    with torch.inference_mode():
        return accuracy(class_logits(model(points)), labels).item()


def class_logits(outputs: Tensor) -> Tensor:
    """Return the outputs of an MLP as a mixture's logits: of two classes without their axis."""
    return outputs.squeeze(-2) if outputs.shape[-2] == 1 else outputs


def same_size(num_parameters: int, data: PointSplits) -> int:
    """Return the hidden units of an MLP with so many weights, or a few more."""
    per_unit = len(data.features) + 1 + data.num_logits
    return math.ceil((num_parameters - data.num_logits) / per_unit)

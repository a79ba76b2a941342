"""What a mixture is compared with: a line, and an MLP, trained with the same recipe."""

from typing import Any

import torch
from torch import Tensor, nn

from experiments.moe.config import MoEConfig
from experiments.moe.restarts import StackedExperiment, accuracy
from harness.experiment import Trained
from harness.training.metrics import StepOutput
from harness.training.train import train
from models.moe import MLP, binary_cross_entropy


class Baseline(StackedExperiment):
    """An MLP; without hidden units, logistic regression."""

    def __init__(self, hidden_units: int):
        self.hidden_units = hidden_units

    def title(self, config: MoEConfig) -> str:
        """Return what the progress bar says."""
        units = self.hidden_units
        return f"MLP, {units} hidden units" if units else "logistic regression"

    def build_stack(self, config: MoEConfig, stack: tuple[int, ...]) -> nn.Module:
        """Return an MLP or a stack; logistic regression has one optimum, and needs no restarts."""
        return MLP(2, self.hidden_units, 1, stack if self.hidden_units else stack and (1,))

    def loss(self, config: MoEConfig, model: Any, batch: tuple[Tensor, Tensor]) -> StepOutput:
        """Return cross-entropy and accuracy, (R,) each."""
        points, labels = batch
        logits = model(points).squeeze(-2)  # (R, B)
        loss = binary_cross_entropy(logits, labels)
        metrics = {"loss": loss, "accuracy": accuracy(logits, labels)}
        return StepOutput(loss.sum(), metrics, len(labels))

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError  # `train_baseline` has the mixture's data, and draws nothing

    load_data = evaluate = figures = _unused


def train_baseline(hidden_units: int, config: MoEConfig, trained: Trained) -> float:
    """Train a baseline on the data of a mixture, and return its accuracy on the test split."""
    model = train(Baseline(hidden_units), config, data=trained.data).model
    points, labels = trained.data.test
    with torch.inference_mode():
        return accuracy(model(points).squeeze(-2), labels).item()

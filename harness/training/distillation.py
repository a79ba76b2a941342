"""Distillation: a network learns from the probabilities of another one, its teacher.

    G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015

Letters: B samples, K classes.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.training.metrics import StepOutput

Loss = Callable[[Any, Any, Any], StepOutput]
"""`Experiment.loss`: from configuration, model and batch."""


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) in nats, scalar, of logits (B, K) divided by T.

    Without T^2, its gradient would shrink with 1 / T^2 beside that of the labels (section 2.1).
    """
    ours, theirs = ((logits / temperature).log_softmax(-1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


class Recorded:
    """A model that remembers what it was asked, and what it answered."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.inputs: tuple[Tensor, ...] = ()
        self.logits = torch.empty(0)

    def __call__(self, *inputs: Tensor) -> Tensor:  # noqa: D102
        self.inputs, self.logits = inputs, self.model(*inputs)
        return self.logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def distilled(loss: Loss, teacher: nn.Module | None) -> Loss:
    """Return a loss that is in part the distance to a teacher's answers; without one, the loss.

    With the weight w of the configuration it is (1 - w) loss + w T^2 KL(teacher || student). The
    teacher is asked what the student was, the same augmented views, and is in evaluation mode. The
    metrics stay those of the labels.
    """
    if teacher is None:
        return loss

    def with_teacher(config: Any, model: Any, batch: Any) -> StepOutput:
        student = Recorded(model)
        output = loss(config, student, batch)
        with torch.no_grad():
            targets = teacher(*student.inputs)
        soft = soft_cross_entropy(student.logits, targets, config.distillation_temperature)
        weight = config.distillation_weight
        return output._replace(loss=(1 - weight) * output.loss + weight * soft)

    return with_teacher

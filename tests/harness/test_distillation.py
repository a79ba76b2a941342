"""Distillation: the loss by hand, and what the teacher is asked."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.training.distillation import distilled, soft_cross_entropy
from harness.training.metrics import StepOutput


def test_the_distance_to_the_teacher_is_that_of_a_hand() -> None:
    """At T = 2, logits (2 log 3, 0) are probabilities 3/4 and 1/4."""
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.zeros(1, 2)
    by_hand = 4 * (3 / 4 * math.log(3 / 4 / (1 / 2)) + 1 / 4 * math.log(1 / 4 / (1 / 2)))
    assert soft_cross_entropy(student, teacher, 2.0).item() == pytest.approx(by_hand)
    assert soft_cross_entropy(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_a_hot_temperature_compares_the_logits_themselves() -> None:
    """Of centred logits it is half the squared distance over K, in the limit (section 2.1)."""
    student, teacher = (torch.randn(5, 3, dtype=torch.float64) for _ in range(2))
    student, teacher = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    limit = (student - teacher).square().sum(1).mean() / (2 * 3)
    assert soft_cross_entropy(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


class Doubled(nn.Module):
    """A teacher that notes whether it trains, and what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.asked.append(x)
        return self.weight * x


def cross_entropy(config: Any, model: Any, batch: tuple[Tensor, Tensor]) -> StepOutput:
    inputs, labels = batch
    loss = F.cross_entropy(model(inputs + 1), labels)
    return StepOutput(loss, {"loss": loss}, len(labels))


def test_the_loss_is_a_mean_of_both_parts_and_the_teacher_sees_the_same_view() -> None:
    config = SimpleNamespace(distillation_weight=0.25, distillation_temperature=3.0)
    student, teacher = nn.Linear(2, 2), Doubled().eval()
    inputs, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    output = distilled(cross_entropy, teacher)(config, student, (inputs, labels))
    logits, targets = student(inputs + 1), 2 * (inputs + 1)
    hard = F.cross_entropy(logits, labels)
    ours, theirs = (logits / 3).softmax(1), (targets / 3).softmax(1)
    soft = 9 * (theirs * (theirs / ours).log()).sum(1).mean()
    torch.testing.assert_close(output.loss, 0.75 * hard + 0.25 * soft)
    torch.testing.assert_close(output.metrics["loss"], hard)
    torch.testing.assert_close(teacher.asked[0], inputs + 1)
    output.loss.backward()
    assert teacher.weight.grad is None
    assert student.weight.grad is not None


def test_without_a_teacher_nothing_is_changed() -> None:
    assert distilled(cross_entropy, None) is cross_entropy

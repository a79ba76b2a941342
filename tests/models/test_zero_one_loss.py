"""The smoothed zero-one loss against its formula and against the errors that it counts."""

import math

import pytest
import torch

from models.zero_one_loss import smoothed_zero_one_loss


def test_two_classes_as_written_out() -> None:
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]]), torch.tensor([1.0, 1, 0])
    expected = [
        sum(1 / (1 + math.exp(2 * sign * z)) for sign, z in zip((1, 1, -1), row, strict=True)) / 3
        for row in logits.tolist()
    ]
    assert smoothed_zero_one_loss(logits, labels, 2.0).tolist() == pytest.approx(expected)


def test_of_more_classes_the_margin_is_over_the_strongest_other() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 4.0, 5.0]]).T  # (C, B)
    labels = torch.tensor([0, 1])
    expected = (1 / (1 + math.exp(1)) + 1 / (1 + math.exp(-1))) / 2
    assert smoothed_zero_one_loss(logits, labels, 1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_sharpened_it_is_the_share_of_errors(num_classes: int) -> None:
    torch.manual_seed(0)
    if num_classes == 2:
        logits, labels = torch.randn(3, 500), torch.randint(2, (500,)).float()
        errors = ((logits > 0) != (labels > 0.5)).float().mean(-1)
    else:
        logits, labels = torch.randn(3, 4, 500), torch.randint(4, (500,))
        errors = (logits.argmax(-2) != labels).float().mean(-1)
    torch.testing.assert_close(
        smoothed_zero_one_loss(logits, labels, 1e6), errors, rtol=0, atol=1e-3
    )

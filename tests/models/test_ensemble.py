"""Ensembles: the mean of probabilities, whatever the members' logits look like."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.ensemble import Ensemble


class Fixed(nn.Module):
    """Answers with the same logits, whatever it is asked."""

    def __init__(self, logits: list[list[float]] | list[float]):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.logits


def test_the_mean_of_probabilities_is_that_of_a_hand() -> None:
    """Members that say 3/4 and 1/2 say 5/8 together, and their logits are not averaged."""
    first, second = Fixed([[np.log(3), 0.0]]), Fixed([[5.0, 5.0]])
    logits = Ensemble([first, second])(torch.zeros(1, 1))
    assert logits.softmax(-1).tolist() == [pytest.approx([5 / 8, 3 / 8])]
    assert logits.exp().tolist() == [pytest.approx([5 / 8, 3 / 8])]


def test_a_logit_of_the_second_of_two_classes_stays_one() -> None:
    logits = Ensemble([Fixed([np.log(3), -200.0]), Fixed([0.0, -200.0]), Fixed([0.0, 200.0])])()
    assert logits.sigmoid().tolist() == pytest.approx([(3 / 4 + 1 / 2 + 1 / 2) / 3, 1 / 3])


def test_several_inputs_reach_every_member() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.stack([x + y, x - y], dim=1)

    x, y = torch.randn(2, 4)
    alone = Sum()(x, y).log_softmax(-1)
    torch.testing.assert_close(Ensemble([Sum(), Sum()])(x, y), alone)

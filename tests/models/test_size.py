"""Networks of a given number of parameters."""

import pytest
import torch
from torch import nn

from models.size import matching_width, num_parameters


def build(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2))


@pytest.mark.parametrize("multiple_of", [1, 4])
@pytest.mark.parametrize("count", [1, 60, 1_000, 1_234, 50_000])
def test_the_width_is_the_nearest_of_all(count: int, multiple_of: int) -> None:
    widths = range(multiple_of, 401, multiple_of)
    expected = min(widths, key=lambda width: abs(num_parameters(build(width)) - count))
    state = torch.get_rng_state()
    assert matching_width(build, count, multiple_of) == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_no_memory_is_needed_for_networks_that_are_not_built() -> None:
    width = matching_width(build, 10**15)
    assert num_parameters(build(10)) == 4 * 10 + 11 * 10 + 2 * 11
    assert width**2 + 7 * width + 2 == pytest.approx(10**15, rel=1e-6)

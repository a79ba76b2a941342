"""Who decays, who learns, and by how much."""

import pytest
import torch
from torch import nn

from experiments.harness.optimizers import OptimizerName, build_optimizer
from tests.harness.small import SmallConfig


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(("name", "velocity"), [("adamw", 1.0), ("sgd", 1.9)])
def test_only_kernels_and_matrices_decay(name: OptimizerName, velocity: float) -> None:
    """Where the loss has no gradient, only what decays shrinks; in SGD it gathers momentum."""
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = SmallConfig(learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(name, model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in model.named_parameters():
        shrink = 1 - 0.1 * 0.5 * velocity if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), shrink * before[key])


def test_frozen_parameters_are_left_to_nobody() -> None:
    model = network()
    model[0].requires_grad_(False)
    optimizer = build_optimizer("adamw", model, SmallConfig())
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}


def test_sgd_moves_as_nesterov_says() -> None:
    """Sutskever et al. 2013 in torch's form: the step is gradient plus 0.9 of the new velocity."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = build_optimizer("sgd", model, SmallConfig(learning_rate=0.1))
    weight, velocity = 1.0, 0.0
    for _ in range(3):
        model.weight.grad = torch.full((1, 1), 2.0)
        optimizer.step()
        velocity = 0.9 * velocity + 2.0
        weight -= 0.1 * (2.0 + 0.9 * velocity)
    assert model.weight.item() == pytest.approx(weight, rel=1e-5)

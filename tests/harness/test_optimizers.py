"""Who decays, who learns, and by how much."""

import copy

import pytest
import torch
from torch import nn

from harness.training.config import OptimizerName
from harness.training.muon import orthogonal
from harness.training.optimizers import build_optimizer
from tests.harness.small import SmallConfig


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(("name", "velocity"), [("adamw", 1.0), ("sgd", 1.9), ("muon", 1.0)])
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


@pytest.mark.parametrize("shape", [(6, 6), (4, 60), (60, 4), (1, 5)])
def test_all_singular_values_come_close_to_one_and_the_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    matrix *= torch.logspace(0, -1, shape[1], dtype=torch.float64)
    wide, result = orthogonal([matrix.T, matrix])  # some of one size, and transposed
    torch.testing.assert_close(wide, result.T)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.T @ result @ right.T
    assert values.diagonal().min() > 0.66
    assert values.diagonal().max() < 1.21
    torch.testing.assert_close(values, values.diagonal().diag(), atol=1e-9, rtol=0)


def test_muon_moves_kernels_along_all_directions_and_vectors_as_adamw_does() -> None:
    """Two steps, the kernels' worked out by a singular value decomposition."""
    muon, adamw = network(), network()
    config = SmallConfig(learning_rate=0.1, weight_decay=0.5)
    optimizers = [build_optimizer("muon", muon, config), build_optimizer("adamw", adamw, config)]
    weight = next(muon.parameters())
    kernel, momentum = weight.detach().clone(), torch.zeros(4, 27)
    for step in range(2):
        torch.manual_seed(step)
        for one, other in zip(muon.parameters(), adamw.parameters(), strict=True):
            one.grad, other.grad = (torch.randn_like(one),) * 2
        assert weight.grad is not None
        gradient = weight.grad.flatten(1).clone()
        momentum = 0.95 * momentum + 0.05 * gradient
        left, _, right = torch.linalg.svd(0.05 * gradient + 0.95 * momentum, full_matrices=False)
        for optimizer in optimizers:
            optimizer.step()
        moved = (kernel * (1 - 0.1 * 0.5) - weight.detach()) / (0.1 * 0.2 * 27**0.5)
        values = left.T @ moved.flatten(1) @ right.T
        assert values.diagonal().min() > 0.66
        assert values.diagonal().max() < 1.21
        torch.testing.assert_close(values, values.diagonal().diag(), atol=1e-4, rtol=0)
        kernel = weight.detach().clone()
    for one, other in zip(muon.parameters(), adamw.parameters(), strict=True):
        if one.dim() == 1:
            torch.testing.assert_close(one, other)


def test_muon_goes_on_from_a_checkpoint() -> None:
    """What was saved after one step makes the second step the same."""
    models = [network(), network()]
    first, second = (build_optimizer("muon", model, SmallConfig()) for model in models)

    def step(optimizer: torch.optim.Optimizer, model: nn.Module, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()

    step(first, models[0], 1)
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    step(first, models[0], 2)
    step(second, models[1], 2)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)

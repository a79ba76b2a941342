"""What the convolutional network can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from datasets.choices import ClassWeights
from experiments.data.config import PhotographsConfig
from harness.config import STRICT, Configuration, Depth, Fraction, OnlyIf, Rate, only_if
from harness.training.config import (
    DistillationConfig,
    DropoutConfig,
    OptimizerConfig,
    OptimizerName,
    TrainingConfig,
)
from models.choices import IMAGE_SIZES, Backbone

FROM_SCRATCH = only_if(architecture=("plain", "residual", "separable"))
PRETRAINED = only_if(architecture="pretrained")
TRAINS_CONVOLUTIONS = OnlyIf(
    "architecture=plain, residual or separable, or frozen=False",
    lambda config: not config.is_frozen,
)
NonZeroFraction = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NetworkConfig(Configuration):
    """Which network, and its size."""

    group: ClassVar[str] = "model"

    architecture: Literal["plain", "residual", "separable", "pretrained"] = "residual"
    """Kind of network."""
    width: Annotated[PositiveInt, FROM_SCRATCH] = 32
    """Channels of the first stage; later stages have multiples of it (not for pretrained)."""
    depth: Annotated[Depth, FROM_SCRATCH] = 1
    """Convolutions or blocks per stage (not for pretrained)."""
    num_stages: Annotated[int, Ge(2), Le(6), FROM_SCRATCH] = 4
    """Stages, each at half the resolution of the one before (not for pretrained)."""
    backbone: Annotated[Backbone, PRETRAINED] = "efficientnet_lite0"
    """Which network pretrained on ImageNet (only for pretrained)."""
    frozen: Annotated[bool, PRETRAINED] = True
    """Train the classifier alone, on features that are computed once (only for pretrained)."""

    @property
    def is_frozen(self) -> bool:
        """Whether no convolution is trained."""
        return self.architecture == "pretrained" and self.frozen

    @property
    def min_image_size(self) -> int:
        """Pixels that an image needs so that something is left of it in the last stage."""
        if self.architecture == "pretrained":
            return 32
        # The stem halves the resolution, too, and the separable stages pool over several pixels.
        further = {"plain": 0, "residual": 1, "separable": 2}[self.architecture]
        return int(2 ** (self.num_stages + further))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FlipConfig(Configuration):
    """Mirror images, which a frozen backbone computes features of, too."""

    group: ClassVar[str] = "augmentation"

    flip_probability: Fraction = 0.5
    """Probability of a horizontal flip."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentationConfig(FlipConfig):
    """How training photographs are changed at random; the changed ones are called views."""

    group: ClassVar[str] = "augmentation"
    condition: ClassVar[OnlyIf] = TRAINS_CONVOLUTIONS

    initial_resolution: NonZeroFraction = 0.43
    """Side of the views that training starts with, as a fraction of image_size."""
    final_resolution: NonZeroFraction = 0.86
    """Side of the views that training ends with, as a fraction of image_size."""
    crop_min_area: NonZeroFraction = 0.15
    """Smallest fraction of a photograph's area that a random crop keeps (1: no cropping)."""
    crop_max_aspect_ratio: Annotated[float, Ge(1)] = 1.33
    """Largest ratio of a crop's width to its height, or of its height to its width (1: square)."""
    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 20.0
    """Largest rotation in either direction."""
    color_jitter: Fraction = 0.45
    """Largest relative change of brightness, contrast and saturation."""
    blur_sigma: NonNegativeFloat = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    erasing_probability: Fraction = 0.0
    """Probability of erasing a random rectangle of a view."""
    mixup_alpha: NonNegativeFloat = 0.0
    """Mix pairs of views and labels, with weights from Beta(alpha, alpha) (0: no mixup)."""
    cutmix_alpha: NonNegativeFloat = 0.0
    """Replace a rectangle of a view by another view's, its area from the same (0: no CutMix)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CNNConfig(
    PhotographsConfig,
    DropoutConfig,
    NetworkConfig,
    AugmentationConfig,
    OptimizerConfig,
    DistillationConfig,
    TrainingConfig,
):
    """Train a convolutional network to classify photographs: cats and dogs, or one's own."""

    family: ClassVar[str] = "cnn"
    entry_point: ClassVar[str] = "cnn"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = (
        "--data synthetic",
        "--data flowers.zip --class-weights balanced",
        "--architecture pretrained",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "data": "synthetic",
        "image_size": 32,
        "width": 4,
        "num_epochs": 1,
        "batch_size": 100,
    }
    small: ClassVar[Mapping[str, Any]] = {"data": "synthetic", "image_size": 64, "num_epochs": 24}

    num_epochs: PositiveInt = 75
    batch_size: Annotated[int, Ge(2)] = 32
    learning_rate: PositiveFloat = 5.5e-3
    weight_decay: NonNegativeFloat = 0.14
    lr_warmup_fraction: Fraction | Literal["auto"] = 0.1
    ema_decay: Rate = 0.995
    optimizer: OptimizerName = "muon"
    """Optimiser; SGD has a Nesterov momentum of 0.9; Muon got further with the settings here."""
    label_smoothing: Rate = 0.05
    """Fraction of each training label that is spread over all classes."""
    teacher: Annotated[str, TRAINS_CONVOLUTIONS] = ""
    class_weights: ClassWeights = "none"
    """Weights of the classes in the loss; balanced: inversely proportional to their frequency."""
    flip_test_time_augmentation: bool = True
    """Also evaluate the mean of the probabilities for a photograph and its mirror image."""

    @property
    def pixels(self) -> int:
        """Width and height, in pixels, that each photograph is resized to."""
        if self.architecture == "pretrained" and self.image_size == "auto":
            return IMAGE_SIZES[self.backbone]
        return super().pixels

    def gains_from_bf16(self) -> bool:
        """Return whether bf16 is faster on a CPU: not to fine-tune a backbone."""
        return self.architecture != "pretrained" or self.frozen

    @model_validator(mode="after")
    def _views_grow(self) -> "CNNConfig":
        if self.initial_resolution > self.final_resolution:
            raise ValueError(
                f"initial_resolution={self.initial_resolution}: exceeds "
                f"final_resolution={self.final_resolution}"
            )
        return self

    @model_validator(mode="after")
    def _image_size_suffices(self) -> "CNNConfig":
        if self.pixels < self.min_image_size:
            raise ValueError(
                f"image_size={self.pixels}: too small for a {self.architecture} network "
                f"(allowed: {self.min_image_size} or more)"
            )
        return self

"""What the mixture of experts can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from datasets.choices import DatasetName
from harness.config import STRICT, Configuration, GeneratedDataConfig, OnlyIf, TrainingConfig
from models.choices import Mixing

SPARSE = OnlyIf(
    "a top_k from 1 to num_experts - 1", lambda config: 0 < config.top_k < config.num_experts
)

SEVERAL = OnlyIf("num_experts=2 or more", lambda config: config.num_experts > 1)
LOGITS = OnlyIf("mixing=logits", lambda config: config.mixing == "logits")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PlaneDataConfig(GeneratedDataConfig):
    """Which points are classified."""

    data: DatasetName = "ring"
    """Data set of points in the plane, whose classes are known regions."""
    num_train: PositiveInt = 20_000
    num_validation: PositiveInt = 5_000
    num_test: PositiveInt = 100_000


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MixtureConfig(Configuration):
    """Experts, gate and routing."""

    group: ClassVar[str] = "model"

    num_experts: PositiveInt = 2
    """Number of linear experts, K."""
    mixing: Annotated[Mixing, SEVERAL] = "probabilities"
    """What the gate averages: the experts' probabilities, or their logits before the sigmoid."""
    gate_hidden: Annotated[NonNegativeInt, SEVERAL] = 0
    """Units of the gate's hidden layer (0: a linear gate)."""
    gate_temperature: PositiveFloat = 30.0
    """Temperature of the gate's softmax and slope of the experts when training starts."""
    top_k: Annotated[NonNegativeInt, SEVERAL] = 0
    """Experts that each point is routed to (0: all of them)."""
    routing_noise: Annotated[NonNegativeFloat, SPARSE] = 0.0
    """Standard deviation of the noise on the gate's logits in training (needs top_k)."""
    bias_update_rate: Annotated[NonNegativeFloat, SPARSE] = 0.1
    """Step of the loss-free load balancing, without which most experts stay idle (needs top_k)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEConfig(PlaneDataConfig, MixtureConfig, TrainingConfig):
    """Train a mixture of linear experts on points in the plane."""

    family: ClassVar[str] = "moe"
    entry_point: ClassVar[str] = "moe"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = ("", "--num-experts 3 --mixing logits")
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "num_train": 200,
        "num_validation": 100,
        "num_test": 100,
        "num_experts": 2,
        "restarts": 2,
    }

    num_epochs: PositiveInt = 20
    batch_size: PositiveInt = 500
    learning_rate: PositiveFloat = 0.1
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; a dozen weights gain nothing from bf16 and lose accuracy."""
    loss: Annotated[Literal["cross_entropy", "competitive"], LOGITS] = "cross_entropy"
    """Cross-entropy of the mixture, or Jacobs' likelihood, which is that of mixed probabilities."""
    balance_loss_weight: Annotated[NonNegativeFloat, SEVERAL] = 0.0
    """Weight of the Switch balance loss."""
    z_loss_weight: Annotated[NonNegativeFloat, SEVERAL] = 0.0
    """Weight of the z-loss on the gate's logits."""
    restarts: PositiveInt = 16
    """Initialisations trained at once; the best by validation loss is kept."""
    animation: bool = True
    """Log an animation of the decision surface during training."""

    @model_validator(mode="after")
    def _top_k_experts_exist(self) -> "MoEConfig":
        if self.top_k > self.num_experts:
            raise ValueError(
                f"top_k={self.top_k}: exceeds num_experts={self.num_experts}; at most that many"
            )
        return self

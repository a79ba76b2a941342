"""What the mixture of experts can be told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from datasets.choices import DatasetName, SplitName, TableName
from harness.config import STRICT, Configuration, Fraction, OnlyIf, Rate
from harness.training.config import GeneratedDataConfig, ScheduleName, TrainingConfig
from harness.wording import nearest
from models.choices import BalanceLoss, GateName, Mixing, Routing

SPARSE = OnlyIf(
    "a top_k from 1 to num_experts - 1", lambda config: 0 < config.top_k < config.num_experts
)
TOP_K = OnlyIf(
    f"routing=top_k and {SPARSE.description}",
    lambda config: SPARSE.holds(config) and config.routing == "top_k",
)

GENERATED = OnlyIf(
    f"data={', '.join(get_args(DatasetName))}", lambda config: config.data in get_args(DatasetName)
)
TABLE = OnlyIf(
    f"data={', '.join(get_args(TableName))} or PATH, a CSV file",
    lambda config: config.data not in get_args(DatasetName),
)
FILE = OnlyIf(
    "data=PATH, a CSV file",
    lambda config: config.data not in (*get_args(DatasetName), *get_args(TableName)),
)
SEVERAL = OnlyIf("num_experts=2 or more", lambda config: config.num_experts > 1)
GRADIENT = OnlyIf("training=gradient or em_then_gradient", lambda config: config.training != "em")
GRADIENT_ALONE = OnlyIf("training=gradient", lambda config: config.training == "gradient")
EM_START = OnlyIf("training=em_then_gradient", lambda config: config.training == "em_then_gradient")
SOFTMAX = OnlyIf("gate=softmax", lambda config: config.gate == "softmax")
NOISY_TOP_K = OnlyIf(
    "routing=noisy_top_k and a balance_loss_weight above 0",
    lambda config: config.routing == "noisy_top_k" and config.balance_loss_weight > 0,
)
LOGITS = OnlyIf("mixing=logits", lambda config: config.mixing == "logits")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PointsConfig(GeneratedDataConfig):
    """Which points are classified."""

    data: str = "ring"
    """Points in the plane: ring, moons, circles, spirals or checkerboard, whose classes are known
    regions. A real table: iris, wine, breast_cancer, digits, or the path of a CSV file."""
    label_column: Annotated[str, FILE] = ""
    """Column of a CSV file with the labels: its name, or its number from 1 (empty: the last)."""
    split: Annotated[SplitName, TABLE] = "stratified"
    """Rows of a table at random, each class in proportion; or in their order, the last for the
    test (60, 20 and 20 %). The digits are ordered by writer: those of the test are new ones."""
    num_train: Annotated[PositiveInt, GENERATED] = 20_000
    num_validation: Annotated[PositiveInt, GENERATED] = 5_000
    num_test: Annotated[PositiveInt, GENERATED] = 100_000

    @field_validator("data")
    @classmethod
    def _is_a_name_or_a_file(cls, data: str) -> str:
        names = (*get_args(DatasetName), *get_args(TableName))
        if data not in names and not Path(data).suffix:
            hint = nearest(data, names)
            raise ValueError(f"allowed are {', '.join(names)}, and the path of a CSV file{hint}")
        return data

    @property
    def is_generated(self) -> bool:
        """Whether points are generated, in the plane."""
        return self.data in get_args(DatasetName)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MixtureConfig(Configuration):
    """Experts, gate and routing."""

    group: ClassVar[str] = "model"

    num_experts: PositiveInt = 2
    """Number of experts, K."""
    expert_hidden: Annotated[NonNegativeInt, GRADIENT_ALONE] = 0
    """Units of each expert's hidden layer (0: linear experts)."""
    mixing: Annotated[Mixing, SEVERAL, GRADIENT_ALONE] = "probabilities"
    """What the gate averages: the experts' probabilities, or their logits before the sigmoid."""
    gate: Annotated[GateName, SEVERAL] = "softmax"
    """A softmax over all experts; or a binary tree of gates, whose leaves are the experts (Jordan &
    Jacobs 1994): a hierarchical mixture. num_experts is then a power of two."""
    gate_hidden: Annotated[NonNegativeInt, SEVERAL, GRADIENT_ALONE] = 0
    """Units of the gate's hidden layer (0: a linear gate)."""
    gate_temperature: PositiveFloat | Literal["auto"] = "auto"
    """Temperature of the gate's softmax and slope of the experts when training starts (auto: for
    points in the plane 5, and 30 with mixing=logits or top_k; for tables 1)."""
    top_k: Annotated[NonNegativeInt, SEVERAL, GRADIENT_ALONE] = 0
    """Experts that each point is routed to (0: all of them)."""
    routing: Annotated[Routing, SPARSE] = "top_k"
    """Each point takes the experts of its largest logits, with noise of a learned strength
    (noisy_top_k) or without; or each expert its points (expert_choice: top_k on average)."""
    routing_noise: Annotated[NonNegativeFloat, TOP_K] = 0.0
    """Standard deviation of the noise on the gate's logits in training (needs top_k)."""
    bias_update_rate: Annotated[NonNegativeFloat, TOP_K] = 0.1
    """Step of the loss-free load balancing, without which most experts stay idle (needs top_k)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEConfig(PointsConfig, MixtureConfig, TrainingConfig):
    """Train a mixture of experts on points in the plane, or on rows of a table."""

    family: ClassVar[str] = "moe"
    entry_point: ClassVar[str] = "moe"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = (
        "",
        "--data flowers.csv --label-column species --num-experts 3",
        "--num-experts 3 --mixing logits",
        "--training em --num-epochs 30",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "num_train": 200,
        "num_validation": 100,
        "num_test": 100,
        "num_experts": 2,
        "restarts": 2,
    }

    training: Literal["gradient", "em", "em_then_gradient"] = "gradient"
    """Gradient descent; expectation maximisation (Jordan & Jacobs 1994), an epoch of which is one
    iteration; or the one from where the other ends."""
    em_iterations: Annotated[PositiveInt, EM_START] = 30
    """em_then_gradient: iterations of expectation maximisation before gradient descent."""
    num_epochs: PositiveInt = 20
    """Passes over the training split; in an epoch of a small table, as many as make ten steps."""
    zero_one_fraction: Annotated[Fraction | Literal["auto"], GRADIENT] = "auto"
    """Fraction of the epochs, the last ones, that lower a smoothed zero-one loss, so the errors
    themselves, in place of `loss` (auto: 0.5 for points in the plane with loss=cross_entropy and
    without top_k, else 0)."""
    batch_size: Annotated[PositiveInt, GRADIENT] = 500
    learning_rate: Annotated[PositiveFloat, GRADIENT] = 0.1
    lr_schedule: Annotated[ScheduleName, GRADIENT] = "one_cycle"
    lr_warmup_fraction: Annotated[Fraction | Literal["auto"], GRADIENT] = "auto"
    weight_decay: Annotated[NonNegativeFloat, GRADIENT] = 0.0
    gradient_clip_norm: Annotated[NonNegativeFloat, GRADIENT] = 0.0
    ema_decay: Annotated[Rate, GRADIENT] = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; a dozen weights gain nothing from bf16 and lose accuracy."""
    loss: Annotated[Literal["cross_entropy", "competitive"], LOGITS] = "cross_entropy"
    """Cross-entropy of the mixture, or Jacobs' likelihood, which is that of mixed probabilities."""
    balance_loss_weight: Annotated[NonNegativeFloat, SEVERAL, GRADIENT] = 0.0
    """Weight of the balance loss."""
    balance_loss: Annotated[BalanceLoss, NOISY_TOP_K] = "switch"
    """The balance loss: that of Switch (Fedus et al. 2021), or the sum of the importance and the
    load loss of noisy top-k (Shazeer et al. 2017)."""
    z_loss_weight: Annotated[NonNegativeFloat, SEVERAL, SOFTMAX, GRADIENT] = 0.0
    """Weight of the z-loss on the gate's logits."""
    restarts: PositiveInt = 16
    """Initialisations trained at once; the best is kept, by what the last epochs lower on the
    validation split."""
    animation: Annotated[bool, GENERATED] = True
    """Log an animation of the decision surface during training."""

    def useful_threads(self) -> int | None:
        """Return one thread: the experts of all restarts together are a small matrix."""
        return 1

    @property
    def temperature(self) -> float:
        """The gate's temperature, chosen by the kind of data if it is not given."""
        if self.gate_temperature != "auto":
            return self.gate_temperature
        if not self.is_generated:
            return 1.0
        return 30.0 if self.mixing == "logits" or self.top_k else 5.0

    @property
    def zero_one_epochs(self) -> int:
        """The last epochs, which lower the zero-one loss."""
        fraction = self.zero_one_fraction
        if fraction == "auto":
            suits = self.is_generated and self.loss == "cross_entropy" and not self.top_k
            fraction = 0.5 if suits else 0.0
        return round(fraction * self.num_epochs) if self.training != "em" else 0

    @model_validator(mode="after")
    def _top_k_experts_exist(self) -> "MoEConfig":
        if self.top_k > self.num_experts:
            raise ValueError(
                f"top_k={self.top_k}: exceeds num_experts={self.num_experts}; at most that many"
            )
        if self.routing == "noisy_top_k" and self.top_k == 1:
            raise ValueError(
                "top_k=1: with routing=noisy_top_k the one weight is 1, and the gate cannot learn; "
                "at least 2"
            )
        if self.is_generated and self.num_experts > self.num_train:
            raise ValueError(
                f"num_experts={self.num_experts}: exceeds num_train={self.num_train}; "
                "at most as many experts as points"
            )
        return self

    @model_validator(mode="after")
    def _a_binary_tree_has_so_many_leaves(self) -> "MoEConfig":
        if self.gate == "hierarchical" and self.num_experts.bit_count() != 1:
            raise ValueError(
                f"num_experts={self.num_experts}: with gate=hierarchical, the leaves of a binary "
                "tree; 2, 4, 8 or another power of two"
            )
        return self

    @model_validator(mode="after")
    def _em_has_a_linear_gate(self) -> "MoEConfig":
        if self.training != "gradient" and self.gate_hidden:
            raise ValueError(
                f"training={self.training}: needs a linear gate, and gate_hidden={self.gate_hidden}"
            )
        return self

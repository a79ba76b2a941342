"""What the comparison over numbers of experts can be told: the same, with other defaults."""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiments.moe.config import MoEConfig
from harness.config import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MoEExtendedConfig(MoEConfig):
    """Train a larger mixture of experts, and compare numbers of experts."""

    entry_point: ClassVar[str] = "moe_extended"
    compares: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = ("", "--num-experts 4 --data spirals")

    num_experts: PositiveInt = 8
    gate: Literal["softmax"] = "softmax"  # of any number of experts
    gate_hidden: PositiveInt = 16
    training: Literal["gradient"] = "gradient"  # the gate has a hidden layer
    balance_loss_weight: NonNegativeFloat = 0.01

"""What the comparison of encoders can be told."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from experiments.seq_classification.config import SequenceConfig
from harness.config import STRICT, Fraction
from harness.training.config import ComparisonConfig
from models.choices import PoolingName


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EncodersConfig(SequenceConfig, ComparisonConfig):
    """Train a network to classify sequences, and compare all encoders over seeds."""

    entry_point: ClassVar[str] = "seq_encoders"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = ("", "--level moderate --num-marks 3")
    tiny: ClassVar[Mapping[str, Any]] = {
        **{name: value for name, value in SequenceConfig.tiny.items() if name != "width"},
        "match_parameters": 600,
        "seeds_of_each": 2,
    }

    num_epochs: PositiveInt = 16
    batch_size: PositiveInt = 20
    lr_warmup_fraction: Fraction | Literal["auto"] = "auto"
    match_parameters: NonNegativeInt = 5_000
    pooling: PoolingName = "max"

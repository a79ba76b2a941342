"""What the comparison of encoders can be told."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeInt, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from experiments.seq_classification.config import SequenceConfig
from harness.config import STRICT, require_seeds
from models.choices import PoolingName


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EncodersConfig(SequenceConfig):
    """Train a network to classify sequences, and compare all encoders over seeds."""

    entry_point: ClassVar[str] = "seq_encoders"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = ("", "--level moderate --num-marks 3")
    tiny: ClassVar[Mapping[str, Any]] = {
        **{name: value for name, value in SequenceConfig.tiny.items() if name != "width"},
        "match_parameters": 500,
        "seeds_of_each": 2,
    }

    match_parameters: NonNegativeInt = 5_000
    pooling: PoolingName = "max"
    seeds_of_each: PositiveInt = 3
    """Networks trained with each encoder, with seeds from `seed` upwards."""

    @model_validator(mode="after")
    def _seeds_of_each_are_seeds(self) -> "EncodersConfig":
        require_seeds(self.seed, "seeds_of_each", self.seeds_of_each)
        return self

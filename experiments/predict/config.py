"""What `predict` can be told before it knows the model."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.config import STRICT
from harness.inference.request import PredictRequest


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictConfig(PredictRequest):
    """Predict with a trained model; `predict MODEL --help` lists the parameters of its kind."""

    entry_point: ClassVar[str] = "predict"
    examples: ClassVar[tuple[str, ...]] = (
        "models:/cnn@champion photo.jpg holiday/ --explain",
        "models:/moe@champion 0.5,-1.2 points.csv --json",
        'runs:/RUN_ID/model "in the beginning " --num-characters 500',
    )
    tiny: ClassVar[Mapping[str, Any]] = {"model": "models:/moe@champion", "inputs": ("0,0",)}

"""What every model can be asked; light, so that `predict --help` does not wait for torch."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictRequest(Configuration):
    """Predict with a trained model; the other parameters depend on its architecture."""

    positional: ClassVar[tuple[str, ...]] = ("model", "inputs")

    model: str
    """The model: models:/NAME@ALIAS, runs:/RUN_ID/model, or a folder."""
    inputs: tuple[str, ...]
    """Inputs: photographs, points, texts, sequences, or files of them."""
    json: bool = False
    """Print the predictions as JSON."""
    csv: bool = False
    """Print the predictions as comma-separated values."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.predict"

    def as_params(self) -> dict[str, Any]:
        """Return the options of a served model."""
        return {}

    @model_validator(mode="after")
    def _one_format(self) -> "PredictRequest":
        if self.json and self.csv:
            raise ValueError("json=True, csv=True: only one of them")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassifyRequest(PredictRequest):
    """Classify with a trained model."""

    coverage: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which a set of classes contains the actual one (0: no such sets)."""

    def as_params(self) -> dict[str, Any]:  # noqa: D102
        return {"coverage": self.coverage}

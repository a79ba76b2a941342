"""The mixture of experts as other programs ask it: columns of numbers in, a class out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from harness.serving.served_model import (
    CLASSIFIER_PARAMS,
    InvalidInputError,
    Row,
    ServedModel,
    classified,
)
from models.moe import MixtureOfExperts

GREATEST = torch.finfo(torch.float32).max
Point = list[float]


class ServedMixture(ServedModel[Point]):
    """Features in; class, probability of each class and weight of each expert out.

    Its metadata has `features`, the names of the columns, `classes`, and `network`, the arguments
    of `MixtureOfExperts`. An ensemble, which has `members`, has no experts in common to weigh.
    """

    params = CLASSIFIER_PARAMS

    def __init__(self, module: torch.nn.Module, metadata: Mapping[str, Any]):
        super().__init__(module, metadata)
        self.mixture = None
        if "members" in metadata:
            return
        # The exported network returns logits alone; this one, the weights of its experts too.
        self.mixture = MixtureOfExperts(**metadata["network"])
        self.mixture.load_state_dict(self.weights)
        self.mixture.eval()
        buffers = module.state_dict()
        self.mean, self.std = buffers["model.mean"], buffers["model.std"]  # (D,)

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the prediction of every row, whose columns may be in any order."""
        # Where rows of CSV have a field more than the header, pandas takes the first for an index.
        if pd.api.types.is_float_dtype(data.index):
            raise InvalidInputError("rows have more fields than the header has names")
        return super().predict(data, params)

    def read(self, row: Row) -> Point:
        """Return the features of a point."""
        point = [row[name] for name in self.metadata["features"]]
        for name, value in zip(self.metadata["features"], point, strict=True):
            if not (math.isfinite(value) and abs(value) <= GREATEST):
                raise InvalidInputError(f"{name}={value}: no finite number of single precision")
        return point

    def answer(self, samples: Sequence[Point], params: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the prediction of each point."""
        points = torch.tensor(samples, dtype=torch.float64)  # (B, D)
        logits = self.outputs(points)
        if logits.dim() == 1:  # of two classes
            logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
        rows = classified(self.metadata, logits, params)
        if self.mixture is None:
            yield from rows
            return
        standardised = (points.float() - self.mean) / self.std
        weights = self.mixture.mix(standardised).weights.T  # (B, K)
        for row, gate in zip(rows, weights.tolist(), strict=True):
            yield row | {"expert_weights": {f"expert_{k}": w for k, w in enumerate(gate, start=1)}}

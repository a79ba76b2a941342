"""Points in, classes out, and the weight of each expert.

An input is a point, such as `0.5,-1.2`, or a CSV file with one in each line.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import experiments
from experiments.moe.config import MoEConfig
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import abridged, attempt, parse_lines
from harness.inference.inference import (
    Inference,
    PredictRequest,
    Row,
    config_of,
    predict_in_batches,
)
from harness.tracking.models import LoadedModel

BATCH_SIZE = 10_000  # points that are classified together
Point = tuple[float, float]


def export(config: MoEConfig, trained: Trained) -> ModelExport:
    """Return the mixture: points (B, 2) to logits of class 1, (B,)."""
    example_input = np.array([[-3, 0], [3, 0]], dtype=np.float32)
    greatest = float(np.finfo(np.float32).max)
    return ModelExport(
        module=trained.model, example_input=example_input, input_range=(-greatest, greatest)
    )


def predict(request: PredictRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class, probability and the experts' shares for each point."""
    experiment = experiments.find(model.metadata["entry_point"])
    mixture = experiment.restore_model(config_of(model, experiment), None, model.weights)

    @torch.inference_mode()
    def classify(samples: Sequence[Point]) -> Iterator[Row]:
        points = torch.tensor(samples, dtype=torch.float64)  # (B, 2)
        probabilities = model(points).sigmoid().tolist()  # of class 1
        shares = mixture.mix(points.float()).weights.T.tolist()
        for probability, gate in zip(probabilities, shares, strict=True):
            label = int(probability > 0.5)
            yield {
                "class": label,
                "probability": probability if label else 1 - probability,
                **{f"expert_{number}": share for number, share in enumerate(gate, start=1)},
            }

    points = (pair for text in request.inputs for pair in points_of(text.strip()))
    return predict_in_batches(points, classify, BATCH_SIZE)


def points_of(text: str) -> Iterator[tuple[Row, Point | UserError]]:
    """Yield the points of an input, each with its name, or why there are none."""
    if Path(text).suffix == ".csv":
        yield from parse_lines(text, parse_point, skip_names=True)
    else:
        yield attempt(text, parse_point, text.split(","))


def parse_point(fields: list[str]) -> tuple[Row, Point]:
    """Return name and coordinates of a point; a UserError if the fields are none."""
    name = ",".join(fields)
    try:
        x, y = map(float, fields)
    except ValueError:
        raise UserError(f"{abridged(name)} is no point; give two numbers: 0.5,-1.2") from None
    return {"input": name}, (x, y)


INFERENCE = Inference(PredictRequest, predict)

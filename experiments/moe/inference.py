"""Points in, classes out, and the weight of each expert.

An input is a point, such as `0.5,-1.2`, or a CSV file with one in each line.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.moe.config import MoEConfig
from experiments.moe.lesson import EXPERIMENT
from experiments.moe.serving import ServedMixture
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import abridged, attempt, parse_lines
from harness.inference.inference import Inference, PredictRequest, Row, predict_rows
from harness.tracking.models import LoadedModel
from models.standardised import StandardisedInput


def export(config: MoEConfig, trained: Trained) -> ModelExport:
    """Return the mixture: features (B, D) to logits of class 1, (B,), or of C classes, (B, C)."""
    data = trained.data
    example_input = (data.validation.points[:2] * data.std + data.mean).numpy()
    greatest = float(np.finfo(np.float32).max)
    return ModelExport(
        module=StandardisedInput(trained.model, data.mean, data.std),
        weights_prefix="model.",
        example_input=example_input,
        input_range=(-greatest, greatest),
        metadata={
            "features": data.features,
            "classes": data.classes,
            "network": EXPERIMENT.network_arguments(config, data),
        },
        served_class=ServedMixture,
        raw_example=[dict(zip(data.features, row, strict=True)) for row in example_input.tolist()],
    )


def predict(request: PredictRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class, probability and the experts' weights for each point."""
    points = (pair for text in request.inputs for pair in points_of(text.strip()))
    for row in predict_rows(points, model.served):
        if "error" not in row:
            del row["probabilities"]
            row |= row.pop("expert_weights")
        yield row


def points_of(text: str) -> Iterator[tuple[Row, Row | UserError]]:
    """Yield the points of an input, each with its name, or why there are none."""
    if Path(text).suffix == ".csv":
        yield from parse_lines(text, parse_point, skip_names=True)
    else:
        yield attempt(text, parse_point, text.split(","))


def parse_point(fields: list[str]) -> tuple[Row, Row]:
    """Return name and coordinates of a point; a UserError if the fields are none."""
    name = ",".join(fields)
    try:
        x, y = map(float, fields)
    except ValueError:
        raise UserError(f"{abridged(name)} is no point; give two numbers: 0.5,-1.2") from None
    return {"input": name}, {"x": x, "y": y}


INFERENCE = Inference(PredictRequest, predict)

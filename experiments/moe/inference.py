"""Points in, classes out, and the weight of each expert.

An input is a point, such as `0.5,-1.2`, or a CSV file with one in each line.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import experiments
from experiments.moe.config import MoEConfig
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import lines_of
from harness.inference.inference import Inference, PredictRequest, Row, config_of
from harness.tracking.models import LoadedModel


def export(config: MoEConfig, trained: Trained) -> ModelExport:
    """Return the mixture: points (B, 2) to logits of class 1, (B,)."""
    example_input = np.array([[-3, 0], [3, 0]], dtype=np.float32)
    return ModelExport(module=trained.model, example_input=example_input)


@torch.inference_mode()
def predict(request: PredictRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class, probability and the experts' shares for each point."""
    named = [pair for text in request.inputs for pair in points_of(text)]
    points = torch.tensor([point for _, point in named])  # (B, 2)
    experiment = experiments.find(model.metadata["entry_point"])
    mixture = experiment.restore_model(config_of(model, experiment), None, model.weights)
    shares = mixture.mix(points).weights.T.tolist()
    probabilities = model(points).sigmoid().tolist()  # of class 1
    for (name, _), probability, gate in zip(named, probabilities, shares, strict=True):
        label = int(probability > 0.5)
        yield {
            "input": name,
            "class": label,
            "probability": probability if label else 1 - probability,
            **{f"expert_{number}": share for number, share in enumerate(gate, start=1)},
        }


def points_of(text: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the points of an input, each with its name; a UserError where one is no point."""
    text = text.strip()
    is_file = Path(text).suffix == ".csv"
    for number, row in enumerate(csv.reader(lines_of(text) if is_file else [text]), start=1):
        where = f"inputs={text}: line {number}" if is_file else f"inputs={text}"
        name = ",".join(row)
        try:
            x, y = map(float, row)
        except ValueError:
            raise UserError(f"{where}: {name!r} is no point; give two numbers: 0.5,-1.2") from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UserError(f"{where}: the coordinates of a point are finite")
        yield name, (x, y)


INFERENCE = Inference(PredictRequest, predict)

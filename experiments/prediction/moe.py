"""Points in, classes out, and how much each expert had to say.

An input is a point, such as `0.5,-1.2`, or a CSV file with one in each line.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch

from experiments import moe
from experiments.harness.errors import UserError
from experiments.harness.prediction import Prediction, Question, Row
from experiments.harness.trained import Trained
from experiments.moe import MoEConfig
from experiments.prediction.files import lines_of
from models.moe import MixtureOfExperts


@torch.inference_mode()
def answer(question: Question, trained: Trained) -> Iterator[Row]:
    """Yield class, probability and the experts' shares for each point."""
    named = [pair for text in question.inputs for pair in points_of(text)]
    points = torch.tensor([point for _, point in named])  # (B, 2)
    network = moe.build(cast("MoEConfig", trained.config))
    mixture = cast("MixtureOfExperts", trained.into(network)).mix(points)
    probabilities = trained(points).sigmoid().tolist()  # of class 1
    for (name, _), probability, shares in zip(
        named, probabilities, mixture.gate.T.tolist(), strict=True
    ):
        said = int(probability > 0.5)
        yield {
            "input": name,
            "class": said,
            "probability": probability if said else 1 - probability,
            **{f"expert_{number}": share for number, share in enumerate(shares, start=1)},
        }


def points_of(text: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the points that an input names, each with what it is called.

    Raises:
        UserError: it is none, and no file of any.

    """
    if Path(text).suffix != ".csv":
        yield text.strip(), point(text.split(","), f"inputs={text.strip()}")
        return
    for number, row in enumerate(csv.reader(lines_of(text)), start=1):
        yield ",".join(row), point(row, f"inputs={text}: line {number}")


def point(row: list[str], where: str) -> tuple[float, float]:
    """Return a row of two numbers as a point.

    Raises:
        UserError: it is none; the message begins with `where`.

    """
    try:
        x, y = map(float, row)
    except ValueError:
        given = ",".join(row)
        raise UserError(
            f"{where}: {given!r} is no point; two numbers such as 0.5,-1.2 are"
        ) from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(f"{where}: a point's coordinates are finite")
    return x, y


PREDICTION = Prediction(Question, answer)

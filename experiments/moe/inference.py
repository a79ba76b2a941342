"""Points in, classes out, and the weight of each expert.

An input is a point, such as `0.5,-1.2`, or a CSV file with one in each line, whose columns have the
names of the features in a header, or their order.
"""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from experiments.moe.config import MoEConfig
from experiments.moe.lesson import EXPERIMENT
from experiments.moe.serving import ServedMixture
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import abridged, attempt, lines_of, parse_lines
from harness.inference.inference import ClassifyRequest, Inference, Row, predict_rows
from harness.tracking.models import LoadedModel
from harness.wording import plural
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
        max_numbers=max(100_000, ServedMixture.batch_size * len(data.features)),
        metadata={
            "features": data.features,
            "classes": data.classes,
            "network": EXPERIMENT.network_arguments(config, data),
        },
        served_class=ServedMixture,
        raw_example=[dict(zip(data.features, row, strict=True)) for row in example_input.tolist()],
    )


def predict(request: ClassifyRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class, probability and the experts' weights for each point."""
    features = model.metadata["features"]
    points = (pair for text in request.inputs for pair in points_of(text.strip(), features))
    for row in predict_rows(points, model.served, request.as_params()):
        if "error" not in row:
            del row["probabilities"]
            row |= row.pop("expert_weights", {})
        yield row


def points_of(text: str, features: Sequence[str]) -> Iterator[tuple[Row, Row | UserError]]:
    """Yield the points of an input, each with its name, or why there are none."""
    if Path(text).suffix.lower() != ".csv":
        yield attempt(text, partial(parse_point, features, range(len(features))), text.split(","))
        return
    try:
        columns, has_header = columns_of(text, features)
    except UserError as error:
        yield {"input": text}, error
        return
    points = parse_lines(text, partial(parse_point, features, columns))
    yield from islice(points, has_header, None)


def columns_of(text: str, features: Sequence[str]) -> tuple[Sequence[int], bool]:
    """Return where in a CSV file the features stand, and whether its first line is a header.

    A header names them, in any order and among others; without one they stand as in training.

    Raises:
        UserError: the file cannot be read, or the header lacks a feature, or has it twice.

    """
    try:
        names = [field.strip() for field in next(csv.reader(lines_of(text)))]
    except csv.Error as error:  # a very long field
        raise UserError(f"line 1: {error}") from None
    if any(map(is_number, names)) and not set(features) <= set(names):  # they may be numbers, too
        return range(len(features)), False
    for feature in features:
        if (count := names.count(feature)) != 1:
            found = f"{count} columns are called {feature}" if count else f"no column {feature}"
            raise UserError(f"line 1: {found}; needed are {abridged_list(features)}")
    return [names.index(feature) for feature in features], True


def parse_point(
    features: Sequence[str], columns: Sequence[int], fields: Sequence[str]
) -> tuple[Row, Row]:
    """Return name and features of a point from some columns; a UserError if the fields are none."""
    is_whole = len(fields) == len(features) or (
        not isinstance(columns, range) and len(fields) > max(columns)
    )
    values = [fields[column] for column in columns] if is_whole else fields
    name = ",".join(values)
    if not is_whole or not all(map(is_number, values)):
        needed = f"give {plural(len(features), 'number')}: {abridged_list(features)}"
        raise UserError(f"{abridged(name)} is no point; {needed}")
    return {"input": name}, dict(zip(features, map(float, values), strict=True))


def is_number(field: str) -> bool:
    """Return whether a text is a number, as `float` reads it."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def abridged_list(names: Sequence[str]) -> str:
    """Return names with commas between, of many the first ones."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


INFERENCE = Inference(ClassifyRequest, predict)

"""Sequences in, classes out.

An input is a sequence of symbols, such as `BacXbdcYaE`; a CSV file with one in each line, after its
class and a comma where the class is known; or, for models of real channels, a file of series as one
trains on (datasets/sequence_files.py), or a CSV file with one series, a step in each line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from datasets.errors import DataError
from datasets.folders import user_path
from datasets.sequence_files import read_one
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.serving import MAX_STEPS, ServedSequenceClassifier, padded
from experiments.seq_classification.tasks import SequenceData
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import attempt, lines_of, parse_lines
from harness.inference.inference import ClassifyRequest, Inference, Row, predict_rows
from harness.tracking.models import LoadedModel
from harness.wording import plural
from models.choices import TRANSFORMERS
from models.sequence_classifier import ExportableSequenceClassifier

SUFFIXES = (".csv", ".ts", ".tsv", ".txt")
"""Of inputs that are files."""


def export(config: SequenceConfig, trained: Trained) -> ModelExport:
    """Return the classifier: padded symbols (B, T) or channels (B, T, C) to outputs (B, K)."""
    data = trained.data
    inputs, lengths = data.validation.inputs, data.validation.lengths
    return ModelExport(
        module=ExportableSequenceClassifier(trained.model),
        example_input=mark_padding(data.validation)[:2].numpy(),
        dynamic_dims=(0, 1),
        max_numbers=MAX_STEPS * max(1, data.num_channels),
        weights_prefix="classifier.",
        metadata={
            "classes": data.classes,
            "symbols": data.symbols,
            "channels": data.num_channels,
            "channel_names": data.channel_names,
            "max_length": data.num_positions if config.encoder in TRANSFORMERS else 0,
        },
        served_class=ServedSequenceClassifier,
        raw_example=[
            raw_row(data, steps[:length])
            for steps, length in zip(inputs[:2], lengths[:2], strict=True)
        ],
    )


def raw_row(data: SequenceData, steps: Tensor) -> Row:
    """Return a sequence, (T,) or (T, C), as a row of the served model."""
    if not data.symbols:
        return {"series": steps.tolist()}
    symbols = [data.symbols[i] for i in steps]
    return {"sequence": (" " if max(map(len, data.symbols)) > 1 else "").join(symbols)}


def mark_padding(sequences: LabelledSequences) -> Tensor:
    """Return inputs as the exported model takes them: symbols padded with -1, channels with NaN."""
    return padded([x[:n] for x, n in zip(sequences.inputs, sequences.lengths, strict=True)])


def predict(request: ClassifyRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability for each sequence, or the predicted number."""
    rows = (pair for text in request.inputs for pair in sequences_of(text, model.metadata))
    for row in predict_rows(rows, model.served, request.as_params()):
        row.pop("probabilities", None)
        yield row


def sequences_of(text: str, metadata: Mapping[str, Any]) -> Iterator[tuple[Row, Row | UserError]]:
    """Yield the sequences of an input, or why there are none.

    Each comes after its name, `input`, and `actual` where the class is known.
    """
    is_file = Path(text).suffix.lower() in SUFFIXES
    if metadata["channels"]:
        if not is_file:
            files = ", ".join(SUFFIXES)
            yield {"input": text}, UserError(f"this model reads files of series ({files})")
        elif is_one_series(text):
            yield attempt(text, partial(one_series, channels=metadata["channels"]), text)
        else:
            yield from labelled_series(text, tuple(metadata.get("channel_names", ())))
    elif is_file:
        yield from parse_lines(text, symbols_of)
    else:
        yield attempt(text, symbols_of, [text])


def symbols_of(fields: Sequence[str]) -> tuple[Row, Row]:
    """Return the sequence of a line, after its class where that is known, or raise a UserError."""
    if len(fields) not in (1, 2):
        raise UserError(f"{len(fields)} fields; symbols, or a class and symbols, are needed")
    *actual, symbols = (field.strip() for field in fields)
    names = ("input", "actual")[: len(fields)]
    return dict(zip(names, (symbols, *actual), strict=True)), {"sequence": symbols}


def labelled_series(text: str, channels: tuple[str, ...]) -> Iterator[tuple[Row, Row | UserError]]:
    """Yield the series of a file as one trains on them; the model's channels have these names."""
    try:
        file = read_one(user_path(text), "auto", is_labelled=False)
        if not file.channels:
            needed = "a file of one series has numbers only, without a header"
            raise DataError(f"it has symbols, and this model reads series; {needed}")
        if file.channels != channels and sorted(file.channels) == sorted(channels):
            order = f"{', '.join(file.channels)}; this model's are {', '.join(channels)}"
            raise DataError(f"the channels are {order}")
    except DataError as error:
        yield {"input": text}, UserError(str(error))
        return
    for each in file.series:
        row = {"input": f"{text}: {each.name}"} | ({"actual": each.label} if each.label else {})
        yield row, {"series": np.asarray(each.steps).tolist()}
    for name, reason in file.skipped:
        yield {"input": f"{text}: {name}"}, UserError(reason)


def is_one_series(text: str) -> bool:
    """Return whether a CSV file begins with a number: one series, a step in each line."""
    try:
        return Path(text).suffix.lower() == ".csv" and is_number(lines_of(text)[0].split(",")[0])
    except UserError:
        return True  # which says why it cannot be read


def one_series(text: str, channels: int) -> tuple[Row, Row]:
    """Read one series from a CSV file, a step in each line, or raise a UserError."""
    steps = []
    for number, line in enumerate(lines_of(text), start=1):
        fields = line.split(",")
        if len(fields) != channels or not all(map(is_number, fields)):
            raise UserError(f"line {number}: needed: {plural(channels, 'finite number')}")
        steps.append([float(field) for field in fields])
    return {"input": text}, {"series": steps}


def is_number(field: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False


INFERENCE = Inference(ClassifyRequest, predict)

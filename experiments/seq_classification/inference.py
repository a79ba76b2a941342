"""Sequences in, classes out.

An input is a sequence of symbols, such as `BacXbdcYaE`; a CSV file with one in each line, after its
class and a comma where the class is known; or, for models of real channels, a CSV file with one
sequence, one step in each line.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.config import SequenceConfig
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import lines_of
from harness.inference.inference import Inference, PredictRequest, Row
from harness.tracking.models import LoadedModel
from models.sequence_classifier import ExportableSequenceClassifier

BATCH_SIZE = 100


def export(config: SequenceConfig, trained: Trained) -> ModelExport:
    """Return the classifier: padded symbols (B, T) or channels (B, T, C) to outputs (B, K)."""
    data = trained.data
    return ModelExport(
        module=ExportableSequenceClassifier(trained.model),
        example_input=mark_padding(data.validation)[:2].numpy(),
        dynamic_dims=(0, 1),
        weights_prefix="classifier.",
        metadata={
            "classes": data.classes,
            "symbols": data.symbols,
            "channels": data.num_channels,
            "max_length": data.num_positions,
        },
    )


def mark_padding(sequences: LabelledSequences) -> Tensor:
    """Return inputs as the exported model takes them: symbols padded with -1, channels with NaN."""
    return padded([x[:n] for x, n in zip(sequences.inputs, sequences.lengths, strict=True)])


def padded(sequences: Sequence[Tensor]) -> Tensor:
    """Stack sequences (T,) or (T, C) of different lengths as the exported model takes them."""
    padding = math.nan if sequences[0].is_floating_point() else -1
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=padding)


def predict(request: PredictRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability for each sequence, or the predicted number."""
    named = [pair for text in request.inputs for pair in sequences_of(text, model)]
    classes = model.metadata["classes"]
    for start in range(0, len(named), BATCH_SIZE):
        rows, sequences = zip(*named[start : start + BATCH_SIZE], strict=True)
        for row, output in zip(rows, model(padded(sequences)), strict=True):  # output: (K,)
            if classes:
                probability, label = output.softmax(-1).max(-1)
                yield row | {"class": classes[label], "probability": probability.item()}
            else:
                yield row | {"prediction": output.item()}


def sequences_of(text: str, model: LoadedModel) -> Iterator[tuple[Row, Tensor]]:
    """Yield the sequences of an input, each after `input`, and `actual` where the class is known.

    Raises:
        UserError: it is none for this model, or a file with an invalid line.

    """
    if model.metadata["channels"]:
        yield {"input": text}, read_channels(text, model)
    elif Path(text).suffix != ".csv":
        yield {"input": text}, encode(text, model, f"inputs={text}")
    else:
        for number, row in enumerate(csv.reader(lines_of(text)), start=1):
            where = f"inputs={text}: line {number}"
            if len(row) not in (1, 2):
                raise UserError(
                    f"{where}: {len(row)} fields; symbols, or a class and symbols, are needed"
                )
            *actual, symbols = (field.strip() for field in row)
            names = ("input", "actual")[: len(row)]
            yield dict(zip(names, (symbols, *actual), strict=True)), encode(symbols, model, where)


def read_channels(text: str, model: LoadedModel) -> Tensor:
    """Read one sequence from a file, (T, C); a UserError if it has none."""
    count, steps = model.metadata["channels"], []
    if Path(text).suffix != ".csv":
        raise UserError(f"inputs={text}: this model reads CSV files, {count} numbers in a line")
    for number, row in enumerate(csv.reader(lines_of(text)), start=1):
        where = f"inputs={text}: line {number}"
        try:
            steps.append([float(field) for field in row])
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None
        if len(row) != count:
            raise UserError(f"{where}: {len(row)} numbers; {count} are needed")
    check_length(len(steps), model, f"inputs={text}")
    return torch.tensor(steps)


def encode(text: str, model: LoadedModel, where: str) -> Tensor:
    """Return symbols as integers (T,); a UserError, which begins with `where`, if they are none."""
    try:
        symbols = Vocabulary(model.metadata["symbols"]).encode(text)
    except DataError as error:
        raise UserError(f"{where}: {error}") from None
    check_length(len(symbols), model, where)
    return symbols


def check_length(steps: int, model: LoadedModel, where: str) -> None:
    """Raise a UserError if a sequence is empty, or longer than the positions of a transformer."""
    if not steps:
        raise UserError(f"{where}: an empty sequence; at least one step is needed")
    max_length = model.metadata["max_length"]
    if model.metadata["configuration"]["encoder"] == "transformer" and steps > max_length:
        raise UserError(f"{where}: {steps} steps; this transformer has positions for {max_length}")


INFERENCE = Inference(PredictRequest, predict)

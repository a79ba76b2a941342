"""Sequences in, classes out.

An input is a sequence of symbols, such as `BacXbdcYaE`; a CSV file with one in each line, after its
class and a comma where the class is known; or, for models of real channels, a CSV file with one
sequence, one step in each line.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.config import SequenceConfig
from experiments.seq_classification.lesson import EXPERIMENT
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import lines_of
from harness.inference.inference import Inference, PredictRequest, Row, config_of
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


class NamedSequence(NamedTuple):
    """A sequence to predict, and what it is called."""

    name: str
    steps: Tensor
    """Symbols (T,) int64, or channels (T, C) float32."""
    actual: str | None = None
    """Its class, where it is known."""


def predict(request: PredictRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability for each sequence, or the predicted number."""
    sequences = [sequence for text in request.inputs for sequence in sequences_of(text, model)]
    for start in range(0, len(sequences), BATCH_SIZE):
        batch = sequences[start : start + BATCH_SIZE]
        outputs = model(padded([sequence.steps for sequence in batch]))  # (B, K)
        for sequence, output in zip(batch, outputs, strict=True):
            row: Row = {"input": sequence.name}
            if sequence.actual is not None:
                row["actual"] = sequence.actual
            yield row | prediction(output, model.metadata["classes"])


def prediction(output: Tensor, classes: Sequence[str]) -> Row:
    """Return the columns of one output (K,)."""
    if not classes:
        return {"prediction": output.item()}
    probabilities = output.softmax(-1)
    label = int(probabilities.argmax())
    return {"class": classes[label], "probability": probabilities[label].item()}


def sequences_of(text: str, model: LoadedModel) -> Iterator[NamedSequence]:
    """Yield the sequences that an input names.

    Raises:
        UserError: it is none for this model, or a file with an invalid line.

    """
    is_file = Path(text).suffix == ".csv"
    count = model.metadata["channels"]
    if count and not is_file:
        raise UserError(f"inputs={text}: this model reads CSV files, {count} numbers in a line")
    if count:
        yield NamedSequence(text, read_channels(text, model))
    elif not is_file:
        yield NamedSequence(text, encode(text, model, f"inputs={text}"))
    else:
        for number, row in enumerate(csv.reader(lines_of(text)), start=1):
            where = f"inputs={text}: line {number}"
            if len(row) not in (1, 2):
                raise UserError(
                    f"{where}: {len(row)} fields; symbols, or a class and symbols, are needed"
                )
            *actual, symbols = (field.strip() for field in row)
            yield NamedSequence(symbols, encode(symbols, model, where), *actual)


def encode(text: str, model: LoadedModel, where: str) -> Tensor:
    """Return the symbols of a sequence as integers, (T,).

    Raises:
        UserError: a symbol was not in the training data, or the sequence is empty or too long; the
            message begins with `where`.

    """
    try:
        symbols = Vocabulary(model.metadata["symbols"]).encode(text)
    except DataError as error:
        raise UserError(f"{where}: {error}") from None
    check_length(len(symbols), model, where)
    return symbols


def read_channels(text: str, model: LoadedModel) -> Tensor:
    """Read one sequence from a file, (T, C).

    Raises:
        UserError: a line is no step.

    """
    count, steps = model.metadata["channels"], []
    for number, row in enumerate(csv.reader(lines_of(text)), start=1):
        try:
            steps.append([float(field) for field in row])
        except ValueError as error:
            raise UserError(f"inputs={text}: line {number}: {error}") from None
        if len(row) != count:
            raise UserError(f"inputs={text}: line {number}: {len(row)} numbers; {count} are needed")
    check_length(len(steps), model, f"inputs={text}")
    return torch.tensor(steps)


def check_length(steps: int, model: LoadedModel, where: str) -> None:
    """Check that the model can read a sequence of this length.

    Raises:
        UserError: it is empty, or longer than the positions of a transformer.

    """
    if not steps:
        raise UserError(f"{where}: an empty sequence; at least one step is needed")
    config = cast("SequenceConfig", config_of(model, EXPERIMENT))
    max_length = model.metadata["max_length"]
    if config.encoder == "transformer" and steps > max_length:
        raise UserError(f"{where}: {steps} steps; this transformer has positions for {max_length}")


INFERENCE = Inference(PredictRequest, predict)

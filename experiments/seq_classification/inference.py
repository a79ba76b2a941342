"""Sequences in, classes out.

An input is a sequence of symbols, such as `BacXbdcYaE`; a CSV file with one in each line, after its
class and a comma where the class is known; or, for models of real channels, a CSV file with one
sequence, one step in each line.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError
from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification.config import SequenceConfig
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.files import attempt, lines_of, parse_lines
from harness.inference.inference import Inference, PredictRequest, Row, predict_in_batches
from harness.tracking.models import LoadedModel
from models.sequence_classifier import ExportableSequenceClassifier

BATCH_SIZE = 100  # sequences that are classified together
MAX_STEPS = 100_000  # of all sequences of a request


def export(config: SequenceConfig, trained: Trained) -> ModelExport:
    """Return the classifier: padded symbols (B, T) or channels (B, T, C) to outputs (B, K)."""
    data = trained.data
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
    classes = model.metadata["classes"]

    def answer(sequences: Sequence[Tensor]) -> Iterator[Row]:
        for output in model(padded(sequences)):  # (K,)
            if classes:
                probability, label = output.softmax(-1).max(-1)
                yield {"class": classes[label], "probability": probability.item()}
            else:
                yield {"prediction": output.item()}

    sequences = (pair for text in request.inputs for pair in sequences_of(text, model))
    return predict_in_batches(sequences, answer, BATCH_SIZE)


def sequences_of(text: str, model: LoadedModel) -> Iterator[tuple[Row, Tensor | UserError]]:
    """Yield the sequences of an input, or why there are none.

    Each comes after its name, `input`, and `actual` where the class is known.
    """
    if model.metadata["channels"]:
        yield attempt(text, partial(read_channels, model=model), text)
        return
    parse = partial(parse_symbols, model=model)
    if Path(text).suffix == ".csv":
        yield from parse_lines(text, parse)
    else:
        yield attempt(text, parse, [text])


def parse_symbols(fields: Sequence[str], model: LoadedModel) -> tuple[Row, Tensor]:
    """Return the sequence of a line, after its class where that is known, or raise a UserError."""
    if len(fields) not in (1, 2):
        raise UserError(f"{len(fields)} fields; symbols, or a class and symbols, are needed")
    *actual, symbols = (field.strip() for field in fields)
    names = ("input", "actual")[: len(fields)]
    return dict(zip(names, (symbols, *actual), strict=True)), encode(symbols, model)


def read_channels(text: str, model: LoadedModel) -> tuple[Row, Tensor]:
    """Read one sequence from a file, (T, C), or raise a UserError."""
    count = model.metadata["channels"]
    if Path(text).suffix != ".csv":
        raise UserError(f"this model reads CSV files, {count} numbers in a line")
    steps = []
    for number, line in enumerate(lines_of(text), start=1):
        try:
            step = [float(field) for field in line.split(",")]
        except ValueError as error:
            raise UserError(f"line {number}: {error}") from None
        if len(step) != count or not all(map(math.isfinite, step)):
            raise UserError(f"line {number}: {count} finite numbers are needed")
        steps.append(step)
    check_length(len(steps), model)
    return {"input": text}, torch.tensor(steps)


def encode(text: str, model: LoadedModel) -> Tensor:
    """Return symbols as integers (T,); a UserError if they are none."""
    try:
        symbols = Vocabulary(model.metadata["symbols"]).encode(text)
    except DataError as error:
        raise UserError(str(error)) from None
    check_length(len(symbols), model)
    return symbols


def check_length(steps: int, model: LoadedModel) -> None:
    """Raise a UserError if a sequence is empty, or longer than the positions of a transformer."""
    if not steps:
        raise UserError("an empty sequence; at least one step is needed")
    max_length = model.metadata["max_length"]
    if model.metadata["configuration"]["encoder"] == "transformer" and steps > max_length:
        raise UserError(f"{steps} steps; this transformer has positions for {max_length}")


INFERENCE = Inference(PredictRequest, predict)

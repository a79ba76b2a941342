"""Sequences in, classes out.

An input is a sequence of symbols, such as `BacXbdcYaE`; a CSV file with one in each line, after its
class and a comma where it is known; or, of models that read channels, a CSV file with one sequence,
a step in each line.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError
from experiments.harness.errors import UserError
from experiments.harness.prediction import Prediction, Question, Row
from experiments.harness.trained import Trained
from experiments.prediction.files import lines_of
from experiments.seq_classification import SequenceConfig

AT_ONCE = 100
"""Sequences that are read together."""


class Asked(NamedTuple):
    """A sequence, and what it is called."""

    name: str
    steps: Tensor
    """Symbols (T,) int64, or channels (T, C) float32."""
    actual: str | None = None
    """Its class, where that is known."""


def answer(question: Question, trained: Trained) -> Iterator[Row]:
    """Yield class and probability of each sequence, or the number it stands for."""
    asked = [sequence for text in question.inputs for sequence in sequences_of(text, trained)]
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        answers = trained(padded([sequence.steps for sequence in some]))
        for sequence, row in zip(some, answers, strict=True):
            named: Row = {"input": sequence.name}
            if sequence.actual is not None:
                named["actual"] = sequence.actual
            yield named | in_words(row, trained)


def in_words(answers: Tensor, trained: Trained) -> Row:
    """Return what one sequence was answered, (K,), by the names of columns."""
    classes = trained.metadata["classes"]
    if not classes:
        return {"answer": answers.item()}
    probabilities = answers.softmax(-1)
    label = int(probabilities.argmax())
    return {"class": classes[label], "probability": probabilities[label].item()}


def padded(sequences: list[Tensor]) -> Tensor:
    """Put sequences side by side, as the model takes them: padded with -1, channels with NaN."""
    padding = float("nan") if sequences[0].is_floating_point() else -1
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=padding)


def sequences_of(text: str, trained: Trained) -> Iterator[Asked]:
    """Yield the sequences that an input names.

    Raises:
        UserError: it is none for this model, or a file with a bad line.

    """
    is_file = Path(text).suffix == ".csv"
    if trained.metadata["channels"]:
        if not is_file:
            count = trained.metadata["channels"]
            raise UserError(f"inputs={text}: this model reads CSV files, {count} numbers in a line")
        yield Asked(text, channels_of(text, trained))
        return
    if not is_file:
        yield Asked(text, encode(text, trained, f"inputs={text}"))
        return
    for number, row in enumerate(csv.reader(lines_of(text)), start=1):
        where = f"inputs={text}: line {number}"
        if len(row) not in (1, 2):
            raise UserError(
                f"{where}: {len(row)} fields; symbols, or a class and symbols, are wanted"
            )
        *actual, symbols = (field.strip() for field in row)
        yield Asked(symbols, encode(symbols, trained, where), *actual)


def encode(text: str, trained: Trained, where: str) -> Tensor:
    """Return a sequence's symbols as integers, (T,).

    Raises:
        UserError: it has a symbol that training has not shown, or is empty or too long; the
            message begins with `where`.

    """
    try:
        symbols = Vocabulary(trained.metadata["symbols"]).encode(text)
    except DataError as error:
        raise UserError(f"{where}: {error}") from None
    check_length(len(symbols), trained, where)
    return symbols


def channels_of(text: str, trained: Trained) -> Tensor:
    """Read one sequence from a file, (T, C).

    Raises:
        UserError: a line is no step.

    """
    count, steps = trained.metadata["channels"], []
    for number, row in enumerate(csv.reader(lines_of(text)), start=1):
        try:
            steps.append([float(field) for field in row])
        except ValueError as error:
            raise UserError(f"inputs={text}: line {number}: {error}") from None
        if len(row) != count:
            raise UserError(f"inputs={text}: line {number}: {len(row)} numbers; {count} are wanted")
    check_length(len(steps), trained, f"inputs={text}")
    return torch.tensor(steps)


def check_length(steps: int, trained: Trained, where: str) -> None:
    """Make sure that a sequence has a length that the model can read.

    Raises:
        UserError: it has none, or more than a transformer has positions for.

    """
    config = cast("SequenceConfig", trained.config)
    longest = trained.metadata["max_length"]
    if not steps:
        raise UserError(f"{where}: an empty sequence; at least one step is needed")
    if config.encoder == "transformer" and steps > longest:
        raise UserError(f"{where}: {steps} steps; this transformer has positions for {longest}")


PREDICTION = Prediction(Question, answer)

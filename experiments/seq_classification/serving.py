"""A sequence classifier as other programs ask it: symbols or series in, a class out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from mlflow.types.schema import AnyType, Array
from torch import Tensor

from datasets.gaps import fill_gaps
from harness.serving.served_model import (
    CLASSIFIER_PARAMS,
    InvalidInputError,
    Row,
    ServedModel,
    classified,
)
from harness.wording import plural

GREATEST = float(np.finfo(np.float32).max)
MAX_STEPS = 100_000  # of all sequences of a request, padding included


class ServedSequenceClassifier(ServedModel[Tensor]):
    """A column `sequence` of symbols, or `series` of numbers, in; classes out, or a number.

    Its metadata has `classes` (none: regression), `symbols` (none: channels), `channels`, their
    number, `channel_names`, where the data had some, and `max_length`, which is 0 where a sequence
    may have any length. A sample is (T,) int64, or (T, C) float32.
    """

    # With a type for numbers, MLflow would refuse integers, and a list in which a step is a number.
    input_types: ClassVar[Mapping[str, Any]] = {"series": Array(AnyType())}
    params = CLASSIFIER_PARAMS
    batch_size = 100
    max_rows = 10_000

    def read(self, row: Row) -> Tensor:
        """Return a sequence as the network takes it."""
        steps = self.read_series(row) if self.metadata["channels"] else self.read_symbols(row)
        longest = self.metadata["max_length"] or MAX_STEPS
        if not 1 <= len(steps) <= longest:
            raise InvalidInputError(f"{len(steps):,} steps; a sequence has 1 to {longest:,}")
        return steps

    def read_symbols(self, row: Row) -> Tensor:
        """Return symbols, one character each, or words with blanks between them."""
        text, symbols = row["sequence"], self.metadata["symbols"]
        if not isinstance(text, str):
            raise InvalidInputError(f"sequence={text!r}: a text of symbols is needed")
        index = {symbol: number for number, symbol in enumerate(symbols)}
        are_words = " " in text or max(map(len, symbols)) > 1
        numbers = []
        for place, symbol in enumerate(text.split() if are_words else text, start=1):
            if symbol not in index:
                known = ", ".join(map(repr, symbols[:30]))
                raise InvalidInputError(f"sequence: step {place} is {symbol!r}; allowed: {known}")
            numbers.append(index[symbol])
        return torch.tensor(numbers, dtype=torch.int64)

    def read_series(self, row: Row) -> Tensor:
        """Return a series: a list of steps, each a list with a number for each channel.

        Of one channel, a step may be the number itself.
        """
        series, channels = row["series"], self.metadata["channels"]
        if not isinstance(series, (list, tuple, np.ndarray)):
            raise InvalidInputError(f"series={series!r}: a list of steps is needed")
        values = []
        for place, step in enumerate(series, start=1):
            numbers = list(step) if isinstance(step, (list, tuple, np.ndarray)) else [step]
            if len(numbers) != channels:
                has = f"step {place} has {plural(len(numbers), 'number')}"
                raise InvalidInputError(f"series: {has}; needed: one for each channel, {channels}")
            values.append([self.number(value, place) for value in numbers])
        if not values:
            raise InvalidInputError("series: no step")
        try:
            return torch.from_numpy(fill_gaps(np.array(values)).astype(np.float32))
        except ValueError as error:
            raise InvalidInputError(f"series: {error}") from None

    def number(self, value: Any, step: int) -> float:
        """Return a number; NaN for a gap."""
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise InvalidInputError(f"series: step {step} has {value!r}, which is no number")
        try:
            number = float(value)
        except OverflowError:  # an integer of more than 308 digits
            number = math.inf
        if abs(number) > GREATEST:
            raise InvalidInputError(f"series: step {step} has {number}, which is not finite")
        return number

    def answer(self, samples: Sequence[Tensor], params: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the prediction of each sequence."""
        if len(samples) > 1 and len(samples) * max(map(len, samples)) > MAX_STEPS:
            for sample in samples:  # one by one, without padding
                yield from self.answer([sample], params)
            return
        outputs, classes = self.outputs(padded(samples)), self.metadata["classes"]
        if classes:
            yield from classified(self.metadata, outputs, params)
        elif params["coverage"]:
            raise InvalidInputError(f"coverage={params['coverage']}: the predictions are numbers")
        else:
            yield from ({"value": value} for (value,) in outputs.tolist())


def padded(sequences: Sequence[Tensor]) -> Tensor:
    """Stack sequences (T,) or (T, C) of different lengths as the exported network takes them."""
    padding = math.nan if sequences[0].is_floating_point() else -1
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=padding)

"""A model that takes what people have, and returns what they can read.

This file, and each one that extends it, is copied into the models that are logged. They therefore
import torch, numpy, pandas, Pillow, MLflow and the standard library, and nothing else.
"""

import contextlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import mlflow.pytorch
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from torch import Tensor, nn

Row = dict[str, Any]
"""Values by the names of their columns."""
S = TypeVar("S")
REFUSAL = "invalid input: "
"""What the message of an exported network that refuses its input begins with."""


class InvalidInputError(MlflowException):  # type: ignore[misc]
    """An input that the model cannot answer; over HTTP, status 400 and the message."""

    def __init__(self, message: str):
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)


class ServedModel(ABC, Generic[S]):
    """A table of raw inputs in, a table of predictions out; S is a sample as the network takes it.

    Args:
        module: the exported network.
        metadata: what was stored with it, such as names of classes.

    """

    params: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options of a request, with their defaults."""
    max_rows: ClassVar[int] = 50_000
    """Rows that one request may have: with `batch_size`, the bound of its time and memory."""
    batch_size: ClassVar[int] = 1_000
    """Samples that are predicted together."""
    reads_in_threads: ClassVar[bool] = False
    """Whether reading a row mostly is work without the interpreter, as decoding an image is."""
    input_types: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """MLflow's types of columns for which that of the example would be too narrow."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Packages that it needs, as they are called where they are installed from."""

    def __init__(self, module: nn.Module, metadata: Mapping[str, Any]):
        self.module, self.metadata = module, metadata

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights, by their names in the network that was trained."""
        prefix = self.metadata["weights_prefix"]
        weights = self.module.state_dict()
        return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}

    @abstractmethod
    def read(self, row: Row) -> S:
        """Return the sample that a row of inputs describes; InvalidInputError if it is none."""

    @abstractmethod
    def answer(self, samples: Sequence[S], params: Mapping[str, Any]) -> Iterable[Row]:
        """Yield the prediction of each sample; InvalidInputError if one cannot be predicted."""

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return what the exported network makes of a batch; InvalidInputError if it refuses it."""
        try:
            return self.module(inputs)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if not str(error).startswith(REFUSAL):
                raise
            raise InvalidInputError(str(error).removeprefix(REFUSAL)) from None

    @torch.inference_mode()
    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the prediction of every row, or raise an InvalidInputError that names the first.

        This is the method that MLflow calls, also for requests over HTTP.
        """
        if not 1 <= len(data) <= self.max_rows:
            raise InvalidInputError(f"{len(data):,} rows; a request has 1 to {self.max_rows:,}")
        options = {**self.params, **(params or {})}
        rows = data.to_dict("records")
        if self.reads_in_threads and len(rows) > 1:
            with ThreadPoolExecutor() as pool:
                samples = list(pool.map(self._read, rows, itertools.count(1)))
        else:
            samples = list(map(self._read, rows, itertools.count(1)))
        return pd.DataFrame(list(self._answer_in_batches(samples, options)))

    def _read(self, row: Row, number: int) -> S:
        with _row(number):
            return self.read(row)

    def _answer_in_batches(self, samples: Sequence[S], options: Mapping[str, Any]) -> Iterator[Row]:
        for start in range(0, len(samples), self.batch_size):
            batch = samples[start : start + self.batch_size]
            try:
                yield from list(self.answer(batch, options))
            except InvalidInputError:  # which of them it is
                for number, sample in enumerate(batch, start=start + 1):
                    with _row(number):
                        yield from list(self.answer([sample], options))

    def get_raw_model(self) -> "ServedModel[S]":
        """Return the model itself, for `mlflow.pyfunc.PyFuncModel.get_raw_model`."""
        return self


CLASSIFIER_PARAMS = MappingProxyType({"coverage": 0.0})
"""Options of a classifier's request. With a coverage, a prediction comes with the set of classes
that contains the actual one with that probability; 0 is without."""


def classified(
    metadata: Mapping[str, Any], logits: Tensor, params: Mapping[str, Any] = CLASSIFIER_PARAMS
) -> Iterator[Row]:
    """Yield class, its probability and the probability of each class, from logits (B, K).

    Probabilities are calibrated, and sets formed, by what the metadata say under `calibration`.
    """
    coverage, calibration = params["coverage"], metadata.get("calibration")
    if not 0 <= coverage < 1:
        raise InvalidInputError(f"coverage={coverage}: from 0, without sets, to below 1")
    if coverage and calibration is None:
        raise InvalidInputError(f"coverage={coverage}: this model has no prediction sets")
    temperature = calibration["temperature"] if calibration else 1.0
    for probabilities in (logits.double() / temperature).softmax(1).tolist():
        by_class = dict(zip(metadata["classes"], probabilities, strict=True))
        best = max(by_class, key=by_class.__getitem__)
        row: Row = {"class": best, "probability": by_class[best]}
        if coverage and calibration:
            least = 1 - threshold(calibration["scores"], coverage)
            row["prediction_set"] = [
                name for name, value in by_class.items() if value >= least or name == best
            ]
        yield row | {"probabilities": by_class}


def threshold(scores: Sequence[float], coverage: float) -> float:
    """Return the highest score that a class in a prediction set may have, of ascending scores.

    With n scores it is that of rank (n + 1) coverage, rounded up; beyond the last one, any.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return scores[rank - 1] if rank <= len(scores) else 1.0


@contextlib.contextmanager
def _row(number: int) -> Iterator[None]:
    """Put the number of a row in front of the error that says why it cannot be answered."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"row {number}: {error.message}") from None


def load(served_class: type[ServedModel[Any]], folder: str) -> ServedModel[Any]:
    """Return a model from the folder of its exported network."""
    metadata = Model.load(folder).metadata or {}
    return served_class(mlflow.pytorch.load_model(folder), metadata)

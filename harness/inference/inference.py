"""What inference is for an architecture: the request it takes, and how its models answer one."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import pandas as pd
from mlflow.exceptions import MlflowException

from harness.errors import UserError
from harness.experiment import AnyExperiment
from harness.inference.request import ClassifyRequest as ClassifyRequest
from harness.inference.request import PredictRequest as PredictRequest
from harness.serving.served_model import ServedModel
from harness.tracking.models import LoadedModel
from harness.training.config import TrainingConfig

Row = dict[str, Any]
"""A prediction, by the names of its columns. The first is `input`; `error` stands for failure."""
R = TypeVar("R", bound=PredictRequest)
S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Inference(Generic[R]):
    """How the models of one architecture predict."""

    request_class: type[R]
    """The request, with the options of this architecture."""
    predict: Callable[[R, LoadedModel], Iterator[Row]]
    """Yields a row for each input, in order, also for one that cannot be used."""
    generate: Callable[[R, LoadedModel, str], Iterator[str]] | None = None
    """Yields prompt and continuation piece by piece, for models that generate text; a UserError if
    the prompt cannot be used."""


def config_of(model: LoadedModel, experiment: AnyExperiment) -> TrainingConfig:
    """Return the configuration that a logged model was trained with."""
    config: TrainingConfig = experiment.config_class(**model.metadata["configuration"])
    return config


def predict_each(inputs: Iterable[str], predict: Callable[[str], Row]) -> Iterator[Row]:
    """Yield each input with its prediction, or with the `UserError` that `predict` raises."""
    for text in inputs:
        try:
            yield {"input": text} | predict(text)
        except UserError as error:
            yield {"input": text, "error": str(error)}


def predict_rows(
    inputs: Iterable[tuple[Row, Row | UserError]],
    model: ServedModel[Any],
    params: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Row]:
    """Yield what a served model predicts, as `predict_in_batches` does.

    Args:
        inputs: what is known of each, and the row of raw inputs that it was read as.
        model: which predicts as it does for requests over HTTP.
        params: options of the request.

    """

    def predict(rows: Sequence[Row]) -> list[Row]:
        with refusals():
            predictions = model.predict(pd.DataFrame(list(rows)), params)
            return list(map(dict, predictions.to_dict("records")))

    return predict_in_batches(inputs, predict, model.batch_size)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Let a `UserError` say what a served model refuses; which row it is, the caller knows."""
    try:
        yield
    except MlflowException as error:  # of the code that was logged with the model
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(re.sub(r"^row \d+: ", "", error.message)) from None


def predict_in_batches(
    inputs: Iterable[tuple[Row, S | UserError]],
    predict: Callable[[Sequence[S]], Iterable[Row]],
    batch_size: int,
) -> Iterator[Row]:
    """Yield what is known of each input, with its prediction or the reason why there is none.

    Args:
        inputs: what is known of each, such as its name, and the sample that it was read as, or why
            it could not be read.
        predict: returns the predictions of samples; a UserError if the model refuses any of them.
        batch_size: how many inputs are predicted together.

    """
    remaining = iter(inputs)
    while batch := list(islice(remaining, batch_size)):
        samples = [sample for _, sample in batch if not isinstance(sample, UserError)]
        predictions = iter(_predict_each(samples, predict))
        for row, sample in batch:
            failed = isinstance(sample, UserError)
            yield row | ({"error": str(sample)} if failed else next(predictions))


def _predict_each(
    samples: Sequence[S], predict: Callable[[Sequence[S]], Iterable[Row]]
) -> list[Row]:
    """Return the predictions of samples, one by one if they cannot be predicted together."""
    if not samples:
        return []
    try:
        return list(predict(samples))
    except UserError as error:
        if len(samples) == 1:
            return [{"error": str(error)}]
        return [row for sample in samples for row in _predict_each([sample], predict)]

"""What inference is for an architecture: the request it takes, and how its models answer one."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from harness.config import TrainingConfig
from harness.experiment import AnyExperiment
from harness.inference.request import PredictRequest as PredictRequest
from harness.tracking.models import LoadedModel

Row = dict[str, Any]
"""A prediction, by the names of its columns. The first is `input`; `error` stands for failure."""
R = TypeVar("R", bound=PredictRequest)


@dataclasses.dataclass(frozen=True)
class Inference(Generic[R]):
    """How the models of one architecture predict."""

    request_class: type[R]
    """The request, with the options of this architecture."""
    predict: Callable[[R, LoadedModel], Iterator[Row]]
    """Yields a row for each input, in order; a UserError if the inputs cannot be used."""
    generate: Callable[[R, LoadedModel], Iterator[str] | None] = lambda request, model: None
    """Yields a text piece by piece, for models that generate text."""


def config_of(model: LoadedModel, experiment: AnyExperiment) -> TrainingConfig:
    """Return the configuration that a logged model was trained with."""
    config: TrainingConfig = experiment.config_class(**model.metadata["configuration"])
    return config

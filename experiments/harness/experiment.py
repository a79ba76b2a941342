"""What an experiment is to the machinery that runs it: a configuration and two functions."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch import nn

from experiments.harness.config import C, TrainingConfig
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.loop import Callback, History
from experiments.harness.tracking import Run

Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What training leaves behind; an experiment adds to it what its pictures need."""

    model: nn.Module
    """The best by validation, on the CPU, in evaluation mode."""
    history: History
    example: np.ndarray
    """Two samples of input, which give the logged model its signature."""
    varying: tuple[int, ...] = (0,)
    """Dimensions of input and output that may have any size: batch, and number of steps."""
    meaning: Mapping[str, Any] = field(default_factory=dict)
    """What inputs and outputs stand for: names of classes, size of pictures. Such as JSON holds."""


L = TypeVar("L", bound=Learnt)
C_contra = TypeVar("C_contra", bound=TrainingConfig, contravariant=True)
L_co = TypeVar("L_co", bound=Learnt, covariant=True)


class Learn(Protocol[C_contra, L_co]):
    """Trains as the configuration says and keeps the best by validation; reads no test split."""

    def __call__(  # noqa: D102
        self,
        config: C_contra,
        hardware: Hardware,
        run: Run | None = None,
        callbacks: Sequence[Callback] = (),
        /,
    ) -> L_co: ...


def need_nothing(config: TrainingConfig) -> None:
    """Prepare nothing: for experiments that make their samples themselves."""


@dataclass(frozen=True)
class Experiment(Generic[C, L]):
    """One architecture, as commands, tests and the tuner know it."""

    config_class: type[C]
    learn: Learn[C, L]
    judge: Callable[[C, Hardware, L, Run], Metrics]
    """Reads the test split, once; logs metrics, pictures and description; returns the metrics."""
    prepare: Callable[[C], object] = need_nothing
    """Fetches what `learn` will need, or raises a UserError, before any run is opened."""

    @property
    def name(self) -> str:
        """The entry point."""
        return self.config_class.entry_point


def learn_with_seeds(learn: Learn[C, L], config: C, hardware: Hardware, count: int) -> Iterator[L]:
    """Train `count` times, with seeds from the configuration's upwards; nothing is logged."""
    for seed in range(config.seed, config.seed + count):
        seed_everything(seed)
        yield learn(config.replace(seed=seed), hardware)


def find(entry_point: str) -> Experiment[Any, Any]:
    """Return the experiment of an entry point.

    Raises:
        UserError: there is none.

    """
    try:
        module = importlib.import_module(f"experiments.{entry_point}")
        experiment: Experiment[Any, Any] = module.EXPERIMENT
    except (ModuleNotFoundError, AttributeError):
        raise UserError(f"entry_point={entry_point}: no experiment of that name") from None
    return experiment

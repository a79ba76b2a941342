"""Search spaces: which parameters of an experiment are worth tuning, and over which values.

A space only says what there is to search; the package `tuning` searches it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from harness.training.config import ScheduleName

Condition = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included: integers where both of them are."""

    low: float
    high: float
    log: bool = False
    """Whether the logarithm is searched evenly."""
    step: float | None = None
    when: Condition = field(default_factory=dict)
    """Searched only where these others have one of these values, and where it has an effect."""
    start: float | None = None
    """Value of the first trial, which has the defaults, where the default is no number."""

    @property
    def is_integer(self) -> bool:
        """Whether only integers are searched."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]
    when: Condition = field(default_factory=dict)


Parameter = Range | Choice


def choice(*values: Any, when: Condition = MappingProxyType({})) -> Choice:
    """Search among `values`."""
    return Choice(values, when)


def learning_rate_decay(num_epochs: int | None = None) -> dict[str, Parameter]:
    """Return the kinds of decay, and the parameters of each for training of so many epochs.

    Without a number of epochs, only kinds that stretch with the training, however long it is.
    """
    in_epochs = ("step", "plateau")
    kinds = [kind for kind in get_args(ScheduleName) if num_epochs or kind not in in_epochs]
    decay: dict[str, Parameter] = {
        "lr_schedule": choice(*kinds),
        "lr_warmup_fraction": Range(0.0, 0.5, start=0.3),  # auto, of the default one_cycle
    }
    if num_epochs:
        decay["lr_decay_epochs"] = Range(1, max(num_epochs // 2, 2))
        decay["lr_decay_factor"] = Range(0.1, 0.8)
    decay["lr_final_fraction"] = Range(0.001, 0.3, log=True)
    return decay


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and by which metric of the best epoch trials are compared."""

    parameters: Mapping[str, Parameter]
    """In the order in which they are chosen: a condition looks back only."""
    metric: str = "val/accuracy"
    maximise: bool = True
    low_fidelity: Mapping[str, Any] = field(default_factory=dict)
    """Values that make trials cheap and so many; the finals have the defaults instead."""

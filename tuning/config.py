"""What a study can be told."""

import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    model_validator,
)
from pydantic.dataclasses import dataclass

import experiments
from harness.config import STRICT, OnlyIf, Settings, only_if
from harness.errors import UserError
from harness.execution.config import ExecutionConfig
from harness.metric_direction import Direction
from harness.tracking.config import require_seeds
from harness.wording import nearest

ModelName = Annotated[str, StringConstraints(pattern=r"^(\w[\w .-]*)?$")]
ONE_OBJECTIVE = OnlyIf("a single objective", lambda config: not config.objectives)
FINALS = OnlyIf("finalists=1 or more", lambda config: config.finalists > 0)


def separated(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return several names, whether commas or blanks stand between them."""
    return tuple(" ".join(names).replace(",", " ").split())


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchConfig(ExecutionConfig):
    """What is searched, and where the trials are kept."""

    group: ClassVar[str] = "study"
    positional: ClassVar[tuple[str, ...]] = ("experiment",)

    experiment: str
    """The experiment to tune, such as moe."""
    set: Settings = ()
    """Parameters to fix, as name=value."""
    space: str = ""
    """YAML file that narrows or replaces the search space."""
    seed: Annotated[int, Ge(0), Le(2**31)] = 0
    """Seed of the sampler and of every trial."""
    storage: str = "optuna.journal"
    """Where the trials are kept: a file for processes on one machine, or postgresql://..."""

    @property
    def needs_forkserver(self) -> bool:
        """Whether workers are forked on this machine: trials always have processes of their own."""
        return self.backend == "local"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StudyConfig(SearchConfig):
    """Search an experiment's hyperparameters, and register the best model."""

    entry_point: ClassVar[str] = "tune"
    examples: ClassVar[tuple[str, ...]] = (
        "moe --trials 50 --workers 2",
        "moe --trials 100 --resume",
        "moe --set num_experts=3 mixing=logits --space space.yaml",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "experiment": "moe",
        "trials": 2,
        "finalists": 0,
        "set": ("num_epochs=2", "num_train=200", "num_validation=100", "restarts=2"),
    }

    trials: PositiveInt = 50
    """Trials that the study is to have in all, those before a resume included."""
    timeout_seconds: NonNegativeFloat = 0.0
    """End the search after so many seconds (0: no limit); trials that run then are queued again."""
    sampler: Literal["tpe", "gp", "cmaes", "random", "grid"] = "tpe"
    """Tree-structured Parzen estimator, Gaussian process, CMA-ES, random or grid search."""
    grid_points: Annotated[int, Ge(2), only_if(sampler="grid")] = 4
    """grid: values of each range of numbers, its ends among them."""
    pruner: Annotated[Literal["median", "asha", "hyperband", "none"], ONE_OBJECTIVE] = "median"
    """How trials that do badly are ended early."""
    study_name: str = ""
    """Name of the study (empty: the experiment and the time; with resume: its latest)."""
    resume: bool = False
    """Resume a study that exists."""
    objectives: Annotated[tuple[str, ...], AfterValidator(separated)] = ()
    """Two or more, instead of a metric: val/..., num_parameters, train_seconds."""
    metric: Annotated[str, ONE_OBJECTIVE] = ""
    """Metric of the best epoch to optimise, such as val/loss (empty: as the space says)."""
    direction: Annotated[Direction, ONE_OBJECTIVE] = "auto"
    """Whether more of the metric is better; auto: as the space or the name of the metric says."""
    finalists: NonNegativeInt = 3
    """Best configurations to train again with new seeds (0: no finals, nothing is registered)."""
    final_seeds: Annotated[PositiveInt, FINALS] = 3
    """New seeds for each of them, from seed + 1 upwards."""

    registered_model_name: Annotated[ModelName, FINALS] = ""
    """Registered model that the winner becomes a version of (empty: that of the architecture)."""

    @model_validator(mode="after")
    def _objectives_are_several(self) -> "StudyConfig":
        if len(self.objectives) == 1:
            (name,) = self.objectives
            raise ValueError(f"objectives={name}: have to be two or more; metric={name} is for one")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives={','.join(self.objectives)}: one of them stands twice")
        if self.objectives and self.sampler == "cmaes":
            allowed = "allowed are tpe, gp, random, grid"
            raise ValueError(f"sampler=cmaes: has a single objective; with several, {allowed}")
        return self

    @model_validator(mode="after")
    def _final_seeds_are_seeds(self) -> "StudyConfig":
        require_seeds(self.seed + 1, "final_seeds", self.final_seeds)
        return self

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning"


def tunable() -> list[str]:
    """Return the names of the experiments that declare a search space in their `space.py`."""
    names = experiments.names()
    return [name for name in names if importlib.util.find_spec(f"experiments.{name}.space")]


def require_space(name: str) -> None:
    """Raise a UserError if there is no experiment of that name, or it declares no search space."""
    if name not in (known := tunable()):
        hint = nearest(name, known)
        allowed = ", ".join(known)
        raise UserError(
            f"experiment={name}: has no search space (space.py); allowed are {allowed}{hint}"
        )

"""What a study can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from experiments.harness.config import (
    STRICT,
    Configuration,
    Count,
    CountOrNone,
    NotNegative,
    Words,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StudyConfig(Configuration):
    """Search an experiment's hyperparameters, and register the best model."""

    entry_point: ClassVar[str] = "tune"
    tiny: ClassVar[Mapping[str, Any]] = {
        "experiment": "moe",
        "trials": 2,
        "finalists": 0,
        "set": ("num_epochs=2", "num_train=200", "num_validation=100", "restarts=2"),
    }
    positional: ClassVar[tuple[str, ...]] = ("experiment",)

    experiment: str
    """The experiment to tune, such as moe."""
    trials: Count = 50
    """Trials that the study is to have in all, those before a resume included."""
    timeout_seconds: NotNegative = 0.0
    """Start no trial after so many seconds (0: no limit); those that run then are finished."""
    workers: Count = 1
    """Processes that train at the same time; they share the cores, and the GPUs."""
    threads: CountOrNone = 0
    """Threads of all workers together (0: one for each core, at most OMP_NUM_THREADS for each)."""
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    """How configurations are chosen: tree-structured Parzen estimator, Gaussian process, chance."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """How trials that do badly are ended early."""
    storage: str = "optuna.journal"
    """Where the trials are kept: a file for processes on one machine, or postgresql://..."""
    study_name: str = ""
    """Name of the study (empty: the experiment and the time; with resume: its latest)."""
    resume: bool = False
    """Go on with a study that exists."""
    metric: str = ""
    """What to judge by, of the kept epoch, such as val/loss (empty: as the space says)."""
    direction: Literal["auto", "maximize", "minimize"] = "auto"
    """Whether more of the metric is better; auto: less is for losses and errors."""
    seed: Annotated[int, Ge(0), Le(2**31)] = 0
    """Seed of the sampler and of every trial."""
    set: Words = ()
    """Parameters to fix, as name=value."""
    space: str = ""
    """YAML file that narrows or replaces the search space."""
    finalists: CountOrNone = 3
    """Best configurations to train again with new seeds (0: no finals, nothing is registered)."""
    final_seeds: Count = 3
    """New seeds for each of them, from seed + 1 upwards."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning"

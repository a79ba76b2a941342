"""What a comparison of tuned values can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from harness.config import STRICT, OnlyIf, Words
from harness.metric_direction import Direction
from harness.tracking.config import require_seeds
from tuning.config import SearchConfig

NAMED = OnlyIf("study_name", lambda config: bool(config.study_name))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TunedComparisonConfig(SearchConfig):
    """Tune each value of a parameter with as many trials, and compare them over new seeds."""

    entry_point: ClassVar[str] = "compare_tuned"
    group: ClassVar[str] = "comparison"
    positional: ClassVar[tuple[str, ...]] = ("experiment", "parameter")
    examples: ClassVar[tuple[str, ...]] = (
        "seq_classification encoder --trials 10 --set match_parameters=5000",
        "rnn cell --values gru lstm --trials 20 --final-seeds 8",
        "moe mixing",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "experiment": "moe",
        "parameter": "mixing",
        "trials": 1,
        "final_seeds": 2,
        "set": ("num_epochs=2", "num_train=200", "num_validation=100", "restarts=2"),
    }

    parameter: str
    """The one whose values are compared, such as encoder."""
    values: Words = ()
    """Two or more values of it (none: all that it can have)."""
    trials: PositiveInt = 20
    """Trials of each value."""
    final_seeds: PositiveInt | Literal["auto"] = "auto"
    """New seeds for the best configuration of each, from seed + 1 upwards (auto: as many as the
    paired tests of so many values need, and 10 or more)."""
    metric: str = "test/accuracy"
    """What the values are compared by over the new seeds: test/... or best/val_..."""
    direction: Direction = "auto"
    """Whether more of the metric is better; auto: as its name says."""
    study_name: str = ""
    """What the names of the studies begin with (empty: experiment, parameter and time)."""
    resume: Annotated[bool, NAMED] = False
    """Resume the studies of these names that exist; what has finished is not repeated."""

    @model_validator(mode="after")
    def _values_are_several(self) -> "TunedComparisonConfig":
        given = f"values={' '.join(self.values)}"
        if len(self.values) == 1:
            raise ValueError(f"{given}: have to be two or more")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"{given}: one of them stands twice")
        return self

    @model_validator(mode="after")
    def _final_seeds_are_seeds(self) -> "TunedComparisonConfig":
        if self.final_seeds != "auto":
            require_seeds(self.seed + 1, "final_seeds", self.final_seeds)
        return self

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "tuning.compare"

"""What `compare` can be told."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration, Settings, Words
from harness.metric_direction import Direction, maximises


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CompareConfig(Configuration):
    """Compare tracked runs by groups."""

    entry_point: ClassVar[str] = "compare"
    examples: ClassVar[tuple[str, ...]] = (
        "--experiment rnn --group-by cell",
        "--tags architecture=seq_classification --group-by encoder",
        "--runs RUN_ID RUN_ID RUN_ID --group-by num_experts",
    )
    tiny: ClassVar[Mapping[str, Any]] = {"experiment": "moe"}

    experiment: str = ""
    """MLflow experiment of the runs (empty: any)."""
    study: str = ""
    """Name of their study (empty: any, or none)."""
    tags: Settings = ()
    """Tags that they have, as name=value."""
    runs: Words = ()
    """Their ids (none: all that the other parameters select)."""
    group_by: str = "architecture"
    """What they are grouped by: a parameter that all of them have, or a tag."""
    metric: str = "best/val_accuracy"
    """What they are ranked by; runs without a finite value of it are left out."""
    direction: Direction = "auto"
    """Whether more of the metric is better; auto: as its name says."""

    @property
    def sign(self) -> int:
        """1 if more of the metric is better, else -1."""
        return 1 if maximises(self.metric, self.direction) else -1

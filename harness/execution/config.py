"""Where several trainings run, and how many at the same time."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration, OnlyIf, only_if

SEVERAL = OnlyIf("seeds=2 or more", lambda config: config.has_several_trainings)
"""The condition of parameters about trainings that run at the same time."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExecutionConfig(Configuration):
    """Where several trainings run at the same time, and how many."""

    group: ClassVar[str] = "execution"
    is_shared: ClassVar[bool] = True

    workers: Annotated[PositiveInt | Literal["auto"], SEVERAL] = "auto"
    """Trainings at the same time (auto: as many as have cores, or a GPU, of their own)."""
    backend: Annotated[Literal["local", "ray"], SEVERAL] = "local"
    """Processes of this machine, or workers of an existing Ray cluster."""
    address: Annotated[str, SEVERAL, only_if(backend="ray")] = "auto"
    """ray: host:port of the cluster (auto: that of this machine, or of RAY_ADDRESS)."""
    runs_per_gpu: Annotated[int, Ge(1), Le(64), SEVERAL] = 1
    """Trainings that share a GPU."""

    @property
    def has_several_trainings(self) -> bool:
        """Whether there is more than one training to be carried out."""
        return True

    @property
    def needs_forkserver(self) -> bool:
        """Whether workers may be forked on this machine."""
        return self.has_several_trainings and self.backend == "local" and self.workers != 1

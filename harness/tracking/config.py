"""Which runs there are, and how they are kept."""

from typing import ClassVar, Self

from pydantic import NonNegativeFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from harness.config import MAX_SEED, STRICT, Configuration, Seed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrackingConfig(Configuration):
    """Which runs there are, and how they are kept."""

    group: ClassVar[str] = "tracking"
    is_shared: ClassVar[bool] = True

    seed: Seed = 0
    """Seed of data, initialisation and order of batches."""
    seeds: PositiveInt = 1
    """Repeat with this many seeds, from `seed` upwards, as child runs of one parent."""
    checkpoint_seconds: NonNegativeFloat = 10.0
    """Least time between two checkpoints, in seconds; one is written at the end of an epoch."""
    resume: str = ""
    """Id of an interrupted run to resume, in the same run and with its configuration; of another
    parameter, a value that is not the default has to be that of the run."""

    @model_validator(mode="after")
    def _seeds_are_seeds(self) -> Self:
        require_seeds(self.seed, "seeds", self.seeds)
        return self


def require_seeds(first: int, name: str, count: int) -> None:
    """Raise a ValueError that names parameter `name` if seeds from `first` on become too large."""
    if first + count - 1 > MAX_SEED:
        raise ValueError(f"{name}={count}: seeds from {first} upwards exceed {MAX_SEED}")

"""What `main` can be told."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Seed, Words
from harness.execution.config import ExecutionConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MainConfig(ExecutionConfig):
    """Train every architecture with small settings, and compare them."""

    entry_point: ClassVar[str] = "main"
    group: ClassVar[str] = "options"
    examples: ClassVar[tuple[str, ...]] = ("", "--only moe rnn --num-epochs 3")
    tiny: ClassVar[Mapping[str, Any]] = {"only": ("moe", "rnn"), "num_epochs": 1}

    only: Words = ()
    """Architectures (none named: all)."""
    num_epochs: NonNegativeInt = 0
    """Passes over the training split (0: as each architecture's small settings say)."""
    seed: Seed = 0
    """Seed of data, initialisation and order of batches."""

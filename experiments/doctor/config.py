"""What the doctor can be told."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DoctorConfig(Configuration):
    """Find what killed processes have left behind in the tracking store and on the disk."""

    examples: ClassVar[tuple[str, ...]] = ("", "--fix")

    fix: bool = False
    """Close the runs that were found, and delete the rest, rather than only list it."""

    @classmethod
    def module(cls) -> str:  # noqa: D102  # it works on one machine: no entry point of MLproject
        return "experiments.doctor"

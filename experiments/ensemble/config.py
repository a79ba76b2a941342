"""What the making of an ensemble can be told."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration, Words


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EnsembleConfig(Configuration):
    """Make one model of trained classifiers: the mean of their probabilities."""

    positional: ClassVar[tuple[str, ...]] = ("runs",)
    examples: ClassVar[tuple[str, ...]] = ("RUN_ID", "RUN_ID RUN_ID RUN_ID")

    runs: Words
    """Id of a run with several seeds; or ids of several runs."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.ensemble"

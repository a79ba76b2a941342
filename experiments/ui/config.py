"""What the command that starts the MLflow UI can be told."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UiConfig(Configuration):
    """Print links to the runs of each MLflow experiment, and start the MLflow UI."""

    examples: ClassVar[tuple[str, ...]] = ("", "--port 5001")

    port: Annotated[int, Ge(1), Le(65535)] = 5000
    """Port of this machine that the UI listens to."""

    @classmethod
    def module(cls) -> str:  # noqa: D102  # it runs until it is stopped: no entry point of MLproject
        return "experiments.ui"

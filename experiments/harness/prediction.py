"""What asking a trained model is to the machinery: what can be asked, and how it answers."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from experiments.harness.config import STRICT, Configuration
from experiments.harness.trained import Trained

Row = dict[str, Any]
"""An answer, by the names of its columns. The first is `input`; with `error` there is no answer."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Question(Configuration):
    """Ask a trained model; what else can be asked depends on its architecture."""

    entry_point: ClassVar[str] = ""
    positional: ClassVar[tuple[str, ...]] = ("model", "inputs")

    model: str
    """The model: models:/NAME@ALIAS, runs:/RUN_ID/model, or a folder."""
    inputs: tuple[str, ...]
    """What it is to answer: photographs, points, texts, sequences, or files of them."""
    json: bool = False
    """Print the answers as JSON."""
    csv: bool = False
    """Print the answers as comma-separated values."""

    @classmethod
    def module(cls) -> str:  # noqa: D102
        return "experiments.predict"

    @model_validator(mode="after")
    def _one_format(self) -> "Question":
        if self.json and self.csv:
            raise ValueError("json=True, csv=True: only one of them")
        return self


Q = TypeVar("Q", bound=Question)


def write_nothing(question: Question, trained: Trained) -> None:
    """Write no text: for models that answer with tables alone."""


@dataclasses.dataclass(frozen=True)
class Prediction(Generic[Q]):
    """How the models of one architecture answer."""

    question_class: type[Q]
    """The question, with the options that mean something to this architecture."""
    answer: Callable[[Q, Trained], Iterator[Row]]
    """Yields a row for each input, in order; a UserError if the inputs are none for it."""
    write: Callable[[Q, Trained], Iterator[str] | None] = write_nothing
    """Yields a text piece by piece as it comes about, for those that write rather than answer."""

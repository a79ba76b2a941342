"""What served models of texts have in common: which texts they take, and how many of them."""

from collections.abc import Mapping
from typing import Any, TypeVar

import pandas as pd
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.errors import DataError
from harness.serving.served_model import InvalidInputError, Row, ServedModel
from harness.wording import plural

MAX_CHARACTERS = 100_000
S = TypeVar("S")


class ServedTexts(ServedModel[S]):
    """A model with a column `text`."""

    vocabulary: Vocabulary

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the prediction of every row; see `ServedModel`."""
        lengths = [len(text) if isinstance(text, str) else 0 for text in data["text"]]
        starts = range(0, len(lengths), self.batch_size)
        batches = [lengths[start : start + self.batch_size] for start in starts]
        count = sum(len(batch) * max(batch) for batch in batches)
        if count > MAX_CHARACTERS:
            found = f"{count:,} characters in {plural(len(data), 'row')}, padded to the longest"
            raise InvalidInputError(f"text: {found}; a request has at most {MAX_CHARACTERS:,}")
        return super().predict(data, params)

    def encode(self, row: Row) -> Tensor:
        """Return the text of a row as integers (T,); InvalidInputError if it cannot be read."""
        text = row["text"]
        if not isinstance(text, str):
            raise InvalidInputError(f"text={text}: no text")
        if not text:
            raise InvalidInputError("an empty text; at least one character is needed")
        try:
            return self.vocabulary.encode(text)
        except DataError as error:
            raise InvalidInputError(str(error)) from None

"""A network that has read a text, as other programs ask it: texts in, continuations out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

from datasets.characters import build_vocabulary
from experiments.rnn.texts import ServedTexts
from harness.serving.served_model import InvalidInputError, Row
from models.recurrent import RecurrentNetwork, continuation

MAX_GENERATED = 20_000
"""Characters that one request may ask for, in all of its rows."""
MAX_SEED = 2**32 - 1


class ServedContinuation(ServedTexts[Tensor]):
    """Texts in, what could follow them out; each row is continued as if it were the only one.

    Its metadata has `alphabet` and `symbols`, `network`, the arguments of `RecurrentNetwork`, and
    `dropped_character_share`.
    """

    params: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"num_characters": 300, "temperature": 0.8, "seed": 0}
    )
    batch_size = 1

    def __init__(self, module: nn.Module, metadata: Mapping[str, Any]):
        super().__init__(module, metadata)
        self.vocabulary = build_vocabulary(metadata["alphabet"], metadata["symbols"])
        # The exported network reads from the beginning; this one goes on from a state.
        self.network = RecurrentNetwork(**metadata["network"])
        self.network.load_state_dict(self.weights)
        self.network.eval()

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the continuation of every row; InvalidInputError if an option is out of range."""
        options = {**self.params, **(params or {})}
        count, temperature, seed = (options[name] for name in self.params)
        if not 1 <= count <= MAX_GENERATED / max(1, len(data)):
            allowed = f"1 to {MAX_GENERATED:,} divided by the number of rows"
            raise InvalidInputError(f"num_characters={count}: {allowed}")
        if not 0 <= temperature < math.inf:
            raise InvalidInputError(f"temperature={temperature}: a finite number, at least 0")
        if not 0 <= seed <= MAX_SEED:
            raise InvalidInputError(f"seed={seed}: 0 to {MAX_SEED}")
        return super().predict(data, options)

    def read(self, row: Row) -> Tensor:
        """Return the symbols of a text, (T,) int64."""
        try:
            return self.encode(row)
        except InvalidInputError as error:
            share = self.metadata["dropped_character_share"]
            if not (share and row["text"]):
                raise
            known = f"this model knows no others, and {100 * share:.1f} % of the text that it was"
            raise InvalidInputError(f"{error.message}; {known} trained on was dropped") from None

    def answer(self, samples: Sequence[Tensor], params: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the continuation of each text."""
        for prompt in samples:
            yield {"continuation": "".join(self.characters(prompt, **params))}

    def characters(
        self, prompt: Tensor, *, num_characters: int, temperature: float, seed: int
    ) -> Iterator[str]:
        """Yield the characters that continue a prompt (T,), one by one."""
        generator = torch.Generator().manual_seed(seed)
        samples = continuation(self.network, prompt, torch.tensor([temperature]), generator)
        symbols = (int(symbol) for symbol in samples)
        return islice(self.vocabulary.decode_each(symbols), num_characters)

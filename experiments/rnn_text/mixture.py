"""The network among many other predictors, mixed by a gate that learns while the text is read."""

import logging

import numpy as np
import torch
from torch import Tensor

from datasets.characters import Vocabulary
from datasets.corpus import Text
from models.compiled import HAS_NUMBA
from models.context_mixture import NUM_WINDOWS, ContextMixture

log = logging.getLogger(__name__)


class TextMixture:
    """Reads the training third, then the test third along with the network.

    The mixture learns from each bit after it was predicted, and the network, if it adapts, from
    each chunk of characters: nothing is known before its turn.
    """

    def __init__(self, train: Text, vocabulary: Vocabulary, test_length: int):
        in_words = [symbol.isalnum() for symbol in vocabulary.symbols]
        num_windows = min(NUM_WINDOWS, test_length)  # none is empty
        self.mixture = ContextMixture(in_words, len(train.symbols) + test_length, num_windows)
        self.mixture.read(train.symbols)
        self.test_length, self.parts, self.position = test_length, list[Tensor](), 0

    def read(self, symbols: Tensor, logits: Tensor | None = None) -> None:
        """Read the next part of the test third, (T,), which a network predicts by logits (T, S)."""
        network = None if logits is None else logits.softmax(-1)
        record = self.position, self.test_length
        self.parts.append(self.mixture.read(symbols, network, record))
        self.position += len(symbols)

    @property
    def bits(self) -> float:
        """The mean bits of the symbols of the test third."""
        return torch.cat(self.parts).mean().item()

    @property
    def trust(self) -> np.ndarray:
        """How much each predictor moves the logit in each part of the text, (W, P) shares."""
        sums = self.mixture.trust
        shares: np.ndarray = sums / np.maximum(sums.sum(1, keepdims=True), 1e-12)
        return shares


def is_possible() -> bool:
    """Return whether there is a compiler for the mixture, and say so where there is none."""
    if not HAS_NUMBA:
        log.warning("the mixture of predictors is left out: it needs numba, pip install '.[text]'")
    return HAS_NUMBA

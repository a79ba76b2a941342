"""What needs no network: n-gram models and a compressor of files, on the same characters."""

import lzma

from torch import Tensor

from datasets.characters import VOCABULARY_SIZE, Vocabulary
from models.ngram import bits_per_symbol, dynamic_bits_per_symbol, kneser_ney

NGRAM_ORDER = 5
NGRAM_UPDATE = 10_000
"""Characters after which a dynamic n-gram model is estimated anew."""


def bits_per_character(train: Tensor, test: Tensor) -> dict[str, float]:
    """Return the bits per character of each baseline on the test third, both thirds integers (N,).

    The n-gram model is estimated from the training third; the dynamic one also from what it has
    read of the test third. xz compresses the test third alone, and once behind the training third,
    whose bits are subtracted.
    """
    first, last = (Vocabulary().decode(part).encode() for part in (train, test))
    alone, both, before = (
        8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
        for text in (last, first + last, first)
    )
    ngrams = kneser_ney(train, NGRAM_ORDER, VOCABULARY_SIZE)
    dynamic = dynamic_bits_per_symbol(train, test, NGRAM_ORDER, VOCABULARY_SIZE, NGRAM_UPDATE)
    return {
        "ngram_bits_per_character": bits_per_symbol(ngrams, test).mean().item(),
        "dynamic_ngram_bits_per_character": dynamic.mean().item(),
        "xz_bits_per_character": alone / len(last),
        "xz_after_training_bits_per_character": (both - before) / len(last),
    }

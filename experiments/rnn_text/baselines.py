"""What needs no network: n-gram models and a compressor of files, on the same characters."""

import lzma

import torch
from torch import Tensor

from datasets.characters import VOCABULARY_SIZE, Vocabulary
from models.ngram import bits_per_symbol, kneser_ney

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
    return {
        "ngram_bits_per_character": bits_per_symbol(ngrams, test).mean().item(),
        "dynamic_ngram_bits_per_character": dynamic_ngram_bits(train, test).mean().item(),
        "xz_bits_per_character": alone / len(last),
        "xz_after_training_bits_per_character": (both - before) / len(last),
    }


def dynamic_ngram_bits(train: Tensor, test: Tensor) -> Tensor:
    """Return the bits of each test character, (N,), of a model that is updated with those read."""
    bits = []
    for start in range(0, len(test), NGRAM_UPDATE):
        end = start + NGRAM_UPDATE
        ngrams = kneser_ney(torch.cat([train, test[:start]]), NGRAM_ORDER, VOCABULARY_SIZE)
        bits.append(bits_per_symbol(ngrams, test[:end])[start:])
    return torch.cat(bits)

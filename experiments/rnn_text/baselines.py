"""What needs no network: n-gram models and a compressor of files, on the same text."""

import lzma

from datasets.corpus import Text
from models import ngram as ngrams

NGRAM_ORDER = 5
NGRAM_UPDATE, MAX_NGRAM_UPDATES = 10_000, 20
"""A dynamic n-gram model is estimated anew after so many characters, and at most so often."""


def bits_per_symbol(train: Text, test: Text, num_symbols: int) -> dict[str, float]:
    """Return the bits of each baseline for the test third, divided by its number of symbols.

    The n-gram model is estimated from the training third; the dynamic one also from what it has
    read of the test third. xz compresses the test third alone, and once behind the training third,
    whose bits are subtracted: what the symbols stand for, so that it names rare characters, too.
    """
    first, last = train.content, test.content
    alone, both, before = (
        8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
        for content in (last, first + last, first)
    )
    symbols = train.symbols, test.symbols
    update = max(NGRAM_UPDATE, -(-len(test.symbols) // MAX_NGRAM_UPDATES))
    ngram = ngrams.bits_per_symbol(*symbols, NGRAM_ORDER, num_symbols)
    dynamic = ngrams.dynamic_bits_per_symbol(*symbols, NGRAM_ORDER, num_symbols, update)
    return {
        "ngram_": ngram.mean().item() + test.naming_bits,
        "dynamic_ngram_": dynamic.mean().item() + test.naming_bits,
        "xz_": alone / len(test.symbols),
        "xz_after_training_": (both - before) / len(test.symbols),
    }

"""What needs no network: n-grams, a mixture of contexts, and compressors, on the same text."""

import bz2
import logging
import lzma
from collections.abc import Callable

from datasets.characters import Vocabulary
from datasets.corpus import Text
from experiments.rnn_text.mixture import TextMixture, is_possible
from models import ngram

NGRAM_ORDER = 16
"""Longer n-grams are better still on the validation third of Python's documentation, but slow."""
PPMD_ORDER, PPMD_MEMORY_BYTES = 64, 2**28
"""The longest contexts that PPMd has are the best ones on that validation third."""

log = logging.getLogger(__name__)


def bits_per_symbol(train: Text, test: Text, vocabulary: Vocabulary) -> dict[str, float]:
    """Return the bits of each baseline for the test third, divided by its number of symbols.

    The n-gram model is estimated from the training third; the dynamic one also from each symbol of
    the test third that it has predicted, and so is the mixture of contexts. A compressor is given
    what the symbols stand for, so that it names rare characters, too: the test third alone, and
    once behind the training third, whose bits are subtracted.
    """
    bits = {}
    for name, online in (("ngram_", False), ("dynamic_ngram_", True)):
        symbols = train.symbols, test.symbols, NGRAM_ORDER, len(vocabulary)
        mean = ngram.bits_per_symbol(*symbols, online=online).mean().item()
        bits[name] = mean + test.naming_bits
    if is_possible():
        mixture = TextMixture(train, vocabulary, len(test.symbols))
        mixture.read(test.symbols)
        bits["context_mixture_"] = mixture.bits + test.naming_bits
    for name, compress in compressors().items():
        first, last = train.content, test.content
        before, alone, both = (8 * len(compress(each)) for each in (first, last, first + last))
        bits[f"{name}_"] = alone / len(test.symbols)
        bits[f"{name}_after_training_"] = (both - before) / len(test.symbols)
    return bits


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """Return the compressors that are installed, by name."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "xz": lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
        "bz2": bz2.compress,
    }
    try:
        from pyppmd import Ppmd7Encoder
    except ImportError:
        log.warning("PPMd, a baseline, is left out: it needs pyppmd, pip install '.[text]'")
        return found

    def ppmd(content: bytes) -> bytes:
        encoder = Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY_BYTES)
        return b"".join((encoder.encode(content), encoder.flush()))

    return found | {"ppmd": ppmd}

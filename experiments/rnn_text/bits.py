"""Bits per character and per byte: what a text costs the network, and predictors without one."""

from collections.abc import Mapping

from datasets.corpus import Text
from experiments.rnn_text import baselines
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.streams import TextSplits

LABELS = {
    "ngram_": f"{baselines.NGRAM_ORDER}-gram",
    "dynamic_ngram_": f"{baselines.NGRAM_ORDER}-gram, dynamic",
    "xz_": "xz",
    "xz_after_training_": "xz after training third",
}
"""Names of the baselines in figures, by what the names of their metrics begin with."""


def unit_of(config: RNNTextConfig) -> str:
    """Return what a symbol stands for."""
    return "byte" if config.alphabet == "bytes" else "character"


def scope_of(config: RNNTextConfig) -> str:
    """Return what of the text is predicted, and given to compressors."""
    return "a to z and blanks" if config.alphabet == "letters" else "the whole text"


def metrics_of(bits: Mapping[str, float], config: RNNTextConfig, test: Text) -> dict[str, float]:
    """Return bits per symbol as metrics: per character, per byte, or both.

    Of the letters alone, both would be the same; of bytes, it is open whether they are characters.
    """
    counts = {unit_of(config): len(test.symbols)}
    if config.alphabet == "characters":
        counts["byte"] = len(test.content)
    return {
        f"test/{name}bits_per_{unit}": value * (len(test.symbols) / count)
        for unit, count in counts.items()
        for name, value in bits.items()
    }


def headline(
    config: RNNTextConfig, data: TextSplits, test: Text, metrics: Mapping[str, float]
) -> str:
    """Return in a few sentences what the network reached, and of what."""
    unit = unit_of(config)
    of = {
        name: f"{metrics[f'test/{name}bits_per_{unit}']:.3f}" for name in ("", "dynamic_", *LABELS)
    }
    per_byte = ""
    if config.alphabet == "characters":
        per_byte = f" ({metrics['test/bits_per_byte']:.3f} per byte)"
    what_counts = {
        "letters": f"Of the text's characters {100 * data.dropped_share:.1f} % were dropped; "
        "xz compressed what was left.",
        "characters": f"All characters count, for xz as well; there are {len(data.vocabulary):,} "
        f"symbols, and to name rare characters takes {test.naming_bits:.3f} bits of these.",
        "bytes": "All bytes count, for xz as well.",
    }
    return (
        f"{config.cell} with {config.num_layers} x {config.hidden_size} units: "
        f"{of['']} bits per {unit}{per_byte} on the test third, "
        f"{of['dynamic_']} with dynamic evaluation; "
        f"{baselines.NGRAM_ORDER}-gram {of['ngram_']} and {of['dynamic_ngram_']}, xz {of['xz_']}. "
        f"{what_counts[config.alphabet]}"
    )

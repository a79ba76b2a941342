"""Bits per character and per byte: what a text costs the network, and predictors without one."""

from collections.abc import Mapping

from datasets.corpus import Text
from experiments.rnn_text import baselines
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.streams import TextSplits
from harness.wording import plural

LABELS = {
    "ngram_": f"{baselines.NGRAM_ORDER}-gram",
    "dynamic_ngram_": f"{baselines.NGRAM_ORDER}-gram, dynamic",
    "xz_after_training_": "xz",
    "bz2_after_training_": "bz2",
    "ppmd_after_training_": "PPMd",
    "context_mixture_": "mixture of contexts",
}
"""Baselines that have read the training third, by what the names of their metrics begin with."""


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


def baselines_of(metrics: Mapping[str, float], unit: str) -> dict[str, float]:
    """Return the bits of the baselines that there are, by label."""
    names = {label: f"test/{name}bits_per_{unit}" for name, label in LABELS.items()}
    return {label: metrics[name] for label, name in names.items() if name in metrics}


def tested_of(metrics: Mapping[str, float], unit: str) -> dict[str, float]:
    """Return the bits of the network on the test third, by how it is evaluated."""
    labels = {"": "test", "dynamic_": "test, dynamic", "mixture_": "test, in a mixture"}
    names = {label: f"test/{name}bits_per_{unit}" for name, label in labels.items()}
    return {label: metrics[name] for label, name in names.items() if name in metrics}


def headline(
    config: RNNTextConfig, data: TextSplits, test: Text, metrics: Mapping[str, float]
) -> str:
    """Return in a few sentences what the network reached, and of what."""
    unit = unit_of(config)
    static, dynamic, *mixed = tested_of(metrics, unit).values()
    mixture = "".join(f", {bits:.3f} in a mixture with other predictors" for bits in mixed)
    others = ", ".join(f"{name} {bits:.3f}" for name, bits in baselines_of(metrics, unit).items())
    per_byte = ""
    if config.alphabet == "characters":
        per_byte = f" ({metrics['test/bits_per_byte']:.3f} per byte)"
    what_counts = {
        "letters": f"Of the text's characters {100 * data.dropped_share:.1f} % were dropped; "
        "compressors were given what was left.",
        "characters": "All characters count, for compressors as well; there are "
        f"{plural(len(data.vocabulary), 'symbol')}, and to name rare characters takes "
        f"{test.naming_bits:.3f} bits of these.",
        "bytes": "All bytes count, for compressors as well.",
    }
    return (
        f"{config.cell}, {plural(config.num_layers, 'layer')} of "
        f"{plural(config.hidden_size, 'unit')}: "
        f"{static:.3f} bits per {unit}{per_byte} on the test third, "
        f"{dynamic:.3f} with dynamic evaluation{mixture}. "
        f"Without a network, after the training third: {others}. "
        f"{what_counts[config.alphabet]}"
    )

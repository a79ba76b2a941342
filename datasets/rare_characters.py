"""What it costs to say which character is meant by the one symbol for all rare ones."""

import math
from collections import Counter

NUM_CHARACTERS = 0x110000 - 0x800
"""Of Unicode, without its surrogates."""


def bits_to_name(characters: str, counts: "Counter[str]", num_symbols: int) -> float:
    """Return the bits of characters that are not in the alphabet, each coded by itself.

    A character that occurred n times among the rare ones of the training text, N of D kinds, has
    the probability n / (N + D); the D / (N + D) that are left belong to all others of Unicode alike
    (Witten & Bell 1991, method C).

    Args:
        characters: those that are not in the alphabet, each as often as it occurs.
        counts: rare characters of the training text.
        num_symbols: characters in the alphabet, which are not rare.

    """
    known = counts.total() + len(counts)
    of_others = len(counts) / known if known else 1.0
    of_each_other = of_others / (NUM_CHARACTERS - num_symbols - len(counts))
    return -sum(
        number * math.log2(counts[character] / known if character in counts else of_each_other)
        for character, number in Counter(characters).items()
    )

"""The cost of naming rare characters."""

import math
from collections import Counter

import pytest

from datasets.rare_characters import NUM_CHARACTERS, bits_to_name


def probability(character: str, counts: "Counter[str]") -> float:
    return float(2 ** -bits_to_name(character, counts, num_symbols=26))


def test_the_probabilities_of_all_characters_sum_to_one() -> None:
    for counts in (Counter({"é": 3, "한": 1}), Counter[str]()):
        others = NUM_CHARACTERS - 26 - len(counts)
        total = sum(probability(each, counts) for each in counts)
        assert total + others * probability("ß", counts) == pytest.approx(1)


def test_what_was_frequent_costs_less() -> None:
    counts = Counter({"é": 3, "한": 1})
    assert probability("é", counts) == pytest.approx(3 / 6)
    assert probability("한", counts) == pytest.approx(1 / 6)
    bits = bits_to_name("ééß", counts, 26)
    assert bits == pytest.approx(2 + math.log2(3) + math.log2(NUM_CHARACTERS - 28))
    assert bits_to_name("", counts, 26) == 0

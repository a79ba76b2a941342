"""The n-gram model against counts that are made one by one."""

import itertools
import math
import random
from collections import Counter

import pytest
import torch

from models.ngram import (
    bits_per_symbol,
    discount,
    dynamic_bits_per_symbol,
    kneser_ney,
)

TEXT = torch.tensor([0, 1, 2, 0, 1, 0, 2, 2, 1, 0, 1, 2, 0, 0, 1, 1, 2, 0, 1, 2] * 3 + [2, 1, 1])


def by_hand(
    text: list[int], context: tuple[int, ...], symbol: int, *, highest: bool = True
) -> float:
    """Interpolated Kneser-Ney with three discounts, recursively (Chen & Goodman 1999)."""
    order = len(context) + 1
    if highest:
        grams = [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]
        counts = Counter(grams)
    else:
        longer = {tuple(text[i : i + order + 1]) for i in range(len(text) - order)}
        counts = Counter(gram[1:] for gram in longer)
    n = Counter(counts.values())
    taken = {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5}  # unless they can be estimated
    if all(n[c] for c in (1, 2, 3, 4)):
        part = n[1] / (n[1] + 2 * n[2])
        estimated = {c: c - (c + 1) * part * n[c + 1] / n[c] for c in (1, 2, 3)}
        if min(estimated.values()) > 0:
            taken |= estimated
    following = {s: counts[(*context, s)] for s in range(3)}
    total = sum(following.values())
    lower = by_hand(text, context[1:], symbol, highest=False) if context else 1 / 3
    if total == 0:
        return lower
    mass = sum(taken[min(c, 3)] for c in following.values()) / total
    return (following[symbol] - taken[min(following[symbol], 3)]) / total + mass * lower


@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_is_kneser_neys(order: int) -> None:
    for context in itertools.product(range(3), repeat=order - 1):
        found = following(TEXT, context, 3)
        expected = [by_hand(TEXT.tolist(), context, symbol) for symbol in range(3)]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)
        assert found.sum().item() == pytest.approx(1)
        assert (found > 0).all()


def following(train: torch.Tensor, context: tuple[int, ...], num_symbols: int) -> torch.Tensor:
    """Return the probability of each symbol after a context."""
    order = len(context) + 1
    texts = [torch.tensor([*context, symbol]) for symbol in range(num_symbols)]
    return torch.stack([kneser_ney(train, text, order, num_symbols)[-1] for text in texts])


def test_any_number_of_symbols_takes_no_more_memory() -> None:
    """A table of all 5-grams of these symbols would have 10 ** 25 numbers."""
    train, text = torch.randint(0, 100_000, (2, 1000), dtype=torch.int32)
    probabilities = kneser_ney(train, torch.cat([train[:50], text]), 5, 100_000)
    assert (probabilities > 0).all()
    assert probabilities[10:50].min() > 0.1, "what was counted is probable"
    assert probabilities[60:].max() < 0.01


@pytest.mark.parametrize(
    ("frequencies", "estimated"),
    [
        ((40, 20, 10, 5), (0.5, 1.25, 2.0)),
        ((40, 20, 10, 0), None),  # no count of four
        ((10, 5, 40, 5), None),  # nothing would be taken from a count of two
        ((0, 0, 0, 0), None),
    ],
)
def test_discounts_are_estimated_where_they_can_be(
    frequencies: tuple[int, ...], estimated: tuple[float, ...] | None
) -> None:
    counts = torch.arange(1, 5).repeat_interleave(torch.tensor(frequencies))
    expected = (0.0, *(estimated or (0.5, 1.0, 1.5)))
    assert discount(counts).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 5, 300])
def test_every_symbol_has_a_positive_probability_after_few_words(count: int, order: int) -> None:
    words = random.Random(0).choices(["mlflow", "pytorch", "gru", "lstm", "lstm"], k=count)
    text = torch.tensor([max(0, ord(letter) - 96) for letter in " ".join(words)])
    for context in (tuple(text[: order - 1].tolist()), (26,) * (order - 1)):
        probabilities = following(text, context, 27)
        assert probabilities.sum().item() == pytest.approx(1)
        assert (probabilities > 0).all()


def test_bits_are_those_of_each_symbol_after_those_before_it() -> None:
    text = [1, 2, 0, 1]
    padded = [0, 0, *text]
    bits = [
        -math.log2(by_hand(TEXT.tolist(), tuple(padded[i : i + 2]), padded[i + 2]))
        for i in range(4)
    ]
    assert bits_per_symbol(TEXT, torch.tensor(text), 3, 3).tolist() == pytest.approx(bits)


def test_dynamic_ngrams_are_counted_from_what_was_read_and_nothing_else() -> None:
    train, test = torch.randint(0, 27, (2, 100), dtype=torch.uint8)
    bits = dynamic_bits_per_symbol(train, test, order=2, num_symbols=27, update_every=40)
    expected = []
    for position in range(100):
        known = torch.cat([train, test[: position // 40 * 40]])
        before = int(test[position - 1]) if position else 0
        pair = torch.tensor([before, int(test[position])])
        expected.append(-kneser_ney(known, pair, 2, 27)[1].log2().item())
    assert bits.tolist() == pytest.approx(expected)

"""The n-gram model against counts that are made one by one."""

import itertools
import math
from collections import Counter

import pytest
import torch

from models.ngram import bits_per_symbol, count_ngrams, discount, kneser_ney

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
    part = max(n[1], 1) / (max(n[1], 1) + 2 * max(n[2], 1))
    taken = {0: 0.0}
    for c in (1, 2, 3):
        value = c - (c + 1) * part * max(n[c + 1], 1) / max(n[c], 1)
        taken[c] = min(max(value, 0.0), c)
    following = {s: counts[(*context, s)] for s in range(3)}
    total = sum(following.values())
    lower = by_hand(text, context[1:], symbol, highest=False) if context else 1 / 3
    if total == 0:
        return lower
    mass = sum(taken[min(c, 3)] for c in following.values()) / total
    return (following[symbol] - taken[min(following[symbol], 3)]) / total + mass * lower


@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_is_kneser_neys(order: int) -> None:
    probabilities = kneser_ney(TEXT, order, 3)
    assert probabilities.shape == (3,) * order
    for gram in itertools.product(range(3), repeat=order):
        expected = by_hand(TEXT.tolist(), gram[:-1], gram[-1])
        assert probabilities[gram].item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones((3,) * (order - 1)).double())
    assert (probabilities > 0).all()


def test_ngrams_are_counted() -> None:
    counts = count_ngrams(torch.tensor([0, 1, 0, 1, 2]), 2, 3)
    assert counts.tolist() == [[0, 2, 0], [1, 0, 1], [0, 0, 0]]


def test_a_discount_is_at_most_its_count() -> None:
    taken = discount(torch.tensor([1, 2, 2, 2, 3, 3, 3, 3, 3, 3]))
    assert taken[0] == 0
    assert ((taken >= 0) & (taken <= torch.arange(4))).all()


def test_a_uniform_model_takes_log2_of_the_number_of_symbols() -> None:
    uniform = torch.full((27, 27, 27), 1 / 27, dtype=torch.float64)
    text = torch.randint(0, 27, (100,), dtype=torch.uint8)
    assert bits_per_symbol(uniform, text).tolist() == pytest.approx([math.log2(27)] * 100)


def test_bits_are_those_of_each_symbol_after_those_before_it() -> None:
    probabilities = kneser_ney(TEXT, 3, 3)
    text = [1, 2, 0, 1]
    padded = [0, 0, *text]
    bits = [-math.log2(probabilities[tuple(padded[i : i + 3])].item()) for i in range(4)]
    assert bits_per_symbol(probabilities, torch.tensor(text)).tolist() == pytest.approx(bits)

"""The n-gram model against counts that are made one by one."""

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch

from models import ngram
from models.ngram import bits_per_symbol, estimate_discounts

TEXT = torch.tensor([0, 1, 2, 0, 1, 0, 2, 2, 1, 0, 1, 2, 0, 0, 1, 1, 2, 0, 1, 2] * 3 + [2, 1, 1])


def by_hand(text: list[int], context: tuple[int, ...], symbol: int, order: int) -> float:
    """Interpolated Kneser-Ney with three discounts, recursively (Chen & Goodman 1999)."""
    padded, n = [0] * (order - 1) + text, len(context) + 1
    grams = [tuple(padded[i : i + order]) for i in range(len(text))]
    if n == order:
        counts = Counter(grams)
    else:  # how many symbols were found before it
        counts = Counter(gram[1:] for gram in {gram[-n - 1 :] for gram in grams})
    frequencies = Counter(counts.values())
    taken = {0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5}  # unless they can be estimated
    if all(frequencies[c] for c in (1, 2, 3, 4)):
        part = frequencies[1] / (frequencies[1] + 2 * frequencies[2])
        estimated = {c: c - (c + 1) * part * frequencies[c + 1] / frequencies[c] for c in (1, 2, 3)}
        if min(estimated.values()) > 0:
            taken |= estimated
    following = {s: counts[(*context, s)] for s in range(3)}
    total = sum(following.values())
    lower = by_hand(text, context[1:], symbol, order) if context else 1 / 3
    if total == 0:
        return lower
    mass = sum(taken[min(c, 3)] for c in following.values()) / total
    return (following[symbol] - taken[min(following[symbol], 3)]) / total + mass * lower


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_is_kneser_neys(order: int, online: bool) -> None:
    """Of a text that is counted while it is read, too: each symbol after it was predicted."""
    text = [2, 2, 0, 1, 1, 1, 0, 2, 1, 0, 0, 0, 2, 1]
    bits = bits_per_symbol(TEXT, torch.tensor(text), order, 3, online=online)
    expected = []
    for position, symbol in enumerate(text):
        read = TEXT.tolist() + text[:position]
        counted = read if online else TEXT.tolist()
        context = tuple(read[len(read) - order + 1 :])
        following = [by_hand(counted, context, each, order) for each in range(3)]
        assert sum(following) == pytest.approx(1)
        expected.append(-math.log2(following[symbol]))
    assert bits.tolist() == pytest.approx(expected, abs=1e-9)


def test_any_number_of_symbols_takes_no_more_memory() -> None:
    """A table of all 5-grams of these symbols would have 10 ** 25 numbers."""
    train, text = torch.randint(0, 100_000, (2, 1000), dtype=torch.int32)
    bits = bits_per_symbol(train, torch.cat([train[:50], text]), 5, 100_000, online=False)
    assert bits.isfinite().all()
    assert bits[10:50].max() < 3, "what was counted is probable"
    assert bits[60:].min() > 7


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
    discounts = np.full(4, np.nan)
    estimate_discounts(np.array([0, *frequencies, 7]), discounts)
    assert discounts.tolist() == pytest.approx((0.0, *(estimated or (0.5, 1.0, 1.5))))


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("count", [2, 5, 300])
def test_probabilities_after_few_words_are_positive_and_sum_to_one(count: int, order: int) -> None:
    words = random.Random(0).choices(["mlflow", "pytorch", "gru", "lstm", "lstm"], k=count)
    text = torch.tensor([max(0, ord(letter) - 96) for letter in " ".join(words)])
    bits = torch.stack(
        [
            bits_per_symbol(text, torch.tensor([26, symbol]), order, 27, online=False)[1]
            for symbol in range(27)
        ]
    )
    assert bits.isfinite().all()
    assert (2**-bits).sum().item() == pytest.approx(1)


def test_without_numba_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = bits_per_symbol(TEXT, TEXT, 4, 3, online=True)
    for function in ("_read", "estimate_discounts"):
        plain = getattr(getattr(ngram, function), "py_func", getattr(ngram, function))
        monkeypatch.setattr(ngram, function, plain)
    assert bits_per_symbol(TEXT, TEXT, 4, 3, online=True).tolist() == pytest.approx(
        compiled.tolist()
    )

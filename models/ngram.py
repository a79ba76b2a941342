"""An n-gram model: the baseline of language models, estimated by counting.

Only what occurs is counted: time and memory grow with the length of the text, and not with the
number of possible n-grams.

Letters: N symbols of the text that is counted first, M of the text that is predicted, S symbols in
all, L the order.
"""

import numpy as np
import torch
from torch import Tensor

from models.compiled import compiled


def bits_per_symbol(
    train: Tensor, text: Tensor, order: int, num_symbols: int, *, online: bool
) -> Tensor:
    """Return -log2 p, in bits, of each symbol of a text that follows another, (M,) float64.

    The probability is that of interpolated Kneser-Ney smoothing with three discounts for each
    order (Chen & Goodman 1999, section 3).

    Args:
        train: (N,) integers from 0 to S - 1; before its beginning there is symbol 0.
        text: (M,) likewise.
        order: length of the n-grams, at least 1.
        num_symbols: S.
        online: whether a symbol of the text, once it was predicted, is counted as well.

    """
    sequence = torch.cat([train.new_zeros(order), train, text]).long()
    ids = number_ngrams(sequence, order, num_symbols).numpy()
    counted = len(train) if not online else len(train) + len(text)
    return -torch.from_numpy(kneser_ney(ids, len(train), counted, num_symbols)).log2()


def number_ngrams(sequence: Tensor, order: int, num_symbols: int) -> Tensor:
    """Give each kind of n-gram of a sequence (N,), taken for a circle, a number of its own.

    Returns:
        (L + 1, N) int64: row n has the numbers of the n-grams that end at each symbol.

    """
    rows, first = [torch.zeros_like(sequence)], 1
    for _ in range(order):
        pairs = rows[-1].roll(1) * num_symbols + sequence
        kinds, numbers = pairs.unique(return_inverse=True)
        rows.append(numbers + first)
        first += len(kinds)
    return torch.stack(rows)


def kneser_ney(ids: np.ndarray, known: int, counted: int, num_symbols: int) -> np.ndarray:
    """Return the probability of each symbol after the first `known` ones, (M,) float64.

    Args:
        ids: (L + 1, L + N + M) int64, see `number_ngrams`, of a text after L symbols of padding.
        known: N.
        counted: how many symbols of the text are counted, each after it was predicted.
        num_symbols: S.

    """
    order, length = ids.shape[0] - 1, ids.shape[1]
    kinds = int(ids.max()) + 1
    counts, totals = np.zeros((2, kinds), dtype=np.int64)  # of n-grams, and of what follows them
    followers = np.zeros((kinds, 4), dtype=np.int64)  # how many follow once, twice, more often
    frequencies = np.zeros((order + 1, 6), dtype=np.int64)  # of n-grams with a count of 0 to 5
    probabilities = np.ones(length - order - known)
    tables = counts, totals, followers, frequencies
    _read(ids, known, counted, num_symbols, *tables, np.zeros(4), probabilities)
    return probabilities


@compiled
def _read(
    ids: np.ndarray,
    known: int,
    counted: int,
    num_symbols: int,
    counts: np.ndarray,
    totals: np.ndarray,
    followers: np.ndarray,
    frequencies: np.ndarray,
    discounts: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Predict each symbol, then count it: the loop of `kneser_ney`.

    An n-gram shorter than the longest counts once for each symbol that was found before it, not as
    often as it occurs: when the n-gram longer by that symbol occurs for the first time. So all
    counts are kept up to date, symbol by symbol, by a few additions.
    """
    order, length = ids.shape[0] - 1, ids.shape[1]
    for position in range(order, length):
        if position >= order + known:
            probability = 1 / num_symbols
            for n in range(1, order + 1):
                context, count = ids[n - 1, position - 1], counts[ids[n, position]]
                if totals[context] == 0:
                    break  # and the longer contexts did not occur, either
                estimate_discounts(frequencies[n], discounts)
                mass = count - discounts[min(count, 3)]
                for times in range(1, 4):
                    mass += discounts[times] * followers[context, times] * probability
                probability = mass / totals[context]
            probabilities[position - order - known] = probability
        if position >= order + counted:
            continue
        for n in range(order, 0, -1):
            context, ngram = ids[n - 1, position - 1], ids[n, position]
            count = counts[ngram]
            counts[ngram] += 1
            totals[context] += 1
            followers[context, min(count, 3)] -= 1
            followers[context, min(count + 1, 3)] += 1
            frequencies[n, min(count, 5)] -= 1
            frequencies[n, min(count + 1, 5)] += 1
            if count > 0:
                break


@compiled
def estimate_discounts(frequencies: np.ndarray, discounts: np.ndarray) -> None:
    """Write what is subtracted from counts of 0, 1, 2, and 3 or more into `discounts` (4,).

    They follow from how many n-grams have a count of 1 to 4, `frequencies` (6,). Where these are
    too few, or a discount would leave nothing for unseen symbols, all are constants, as KenLM has
    them (Heafield et al. 2013); so every symbol has a positive probability.
    """
    discounts[0] = 0.0
    once, twice = frequencies[1], frequencies[2]
    for count in range(1, 4):
        this, next_ = frequencies[count], frequencies[count + 1]
        if this > 0 and next_ > 0:
            discounts[count] = count - (count + 1) * next_ / this * once / (once + 2 * twice)
        if this == 0 or next_ == 0 or discounts[count] <= 0:
            discounts[1], discounts[2], discounts[3] = 0.5, 1.0, 1.5
            break

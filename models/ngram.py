"""An n-gram model: the baseline of language models, estimated by counting.

Only what occurs is counted: time and memory grow with the length of the text, and not with the
number of possible n-grams.

Letters: N symbols of the text that is counted, M of the text that is predicted, S symbols in all.
"""

import torch
from torch import Tensor

FALLBACK_DISCOUNTS = 0.0, 0.5, 1.0, 1.5
"""Of counts of 0, 1, 2, and 3 or more, as KenLM has them (Heafield et al. 2013)."""


def kneser_ney(train: Tensor, text: Tensor, order: int, num_symbols: int) -> Tensor:
    """Return the probability of each symbol of a text after those before it, (M,) float64.

    It is estimated from another text by interpolated Kneser-Ney smoothing with three discounts for
    each order (Chen & Goodman 1999, section 3).

    Args:
        train: (N,) integers from 0 to S - 1, N at least `order`.
        text: (M,) likewise; before its beginning it is padded with symbol 0.
        order: length of the n-grams, at least 1.
        num_symbols: S.

    """
    padding = train.new_zeros(order - 1)
    sequence = torch.cat([train, padding, text]).long()
    ids, contexts = number_ngrams(sequence, order, num_symbols)
    probabilities = torch.full((len(text),), 1 / num_symbols, dtype=torch.float64)
    for length in range(1, order + 1):
        counted = ids[length][length - 1 : len(train)]
        if length < order:  # in how many contexts an n-gram occurs, rather than how often
            ends = torch.arange(length, len(train))
            last_end = ends.new_full((len(contexts[length + 1]),), -1)
            last_end[ids[length + 1][ends]] = ends
            counted = ids[length][last_end[last_end >= 0]]
        context = contexts[length]  # of each n-gram
        counts = counted.bincount(minlength=len(context))
        discounts = discount(counts)[counts.clamp(max=3)]
        total = context.bincount(counts.double())
        withheld = context.bincount(discounts)
        ngram = ids[length][len(train) + order - 1 :]  # that ends at each symbol of the text
        before = context[ngram]
        seen = (counts - discounts)[ngram] / total[before]
        interpolated = seen + withheld[before] / total[before] * probabilities
        probabilities = torch.where(total[before] > 0, interpolated, probabilities)
    return probabilities


def number_ngrams(
    sequence: Tensor, order: int, num_symbols: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Give each n-gram of a sequence (N,), which is taken for a circle, the number of its kind.

    Returns:
        For each length from 0 to `order`: the numbers (N,) of the n-grams that end at each symbol;
        and of each kind of n-gram the number of its context, that without the last symbol.

    """
    ids, contexts = [torch.zeros_like(sequence)], [torch.zeros(1, dtype=torch.long)]
    for _ in range(order):
        pairs = ids[-1].roll(1) * num_symbols + sequence
        ngrams, numbers = pairs.unique(return_inverse=True)
        ids.append(numbers)
        contexts.append(ngrams // num_symbols)
    return ids, contexts


def discount(counts: Tensor) -> Tensor:
    """Return what is subtracted from counts of 0, 1, 2, and 3 or more: (4,) float64.

    Where the text has too few counts to estimate a discount, or its estimate would leave nothing
    for unseen symbols, all are `FALLBACK_DISCOUNTS`; so every symbol has a positive probability.
    """
    frequencies = torch.bincount(counts.flatten().clamp(max=5), minlength=5)[1:5].double()
    once, twice, thrice, often = frequencies
    part = once / (once + 2 * twice)
    discounts = torch.stack(
        [
            torch.zeros_like(part),
            1 - 2 * part * twice / once,
            2 - 3 * part * thrice / twice,
            3 - 4 * part * often / thrice,
        ]
    )
    if (frequencies > 0).all() and (discounts[1:] > 0).all():
        return discounts
    return torch.tensor(FALLBACK_DISCOUNTS, dtype=torch.float64)


def bits_per_symbol(train: Tensor, text: Tensor, order: int, num_symbols: int) -> Tensor:
    """Return -log2 p, in bits, of each symbol of a text, (M,) float64; see `kneser_ney`."""
    return -kneser_ney(train, text, order, num_symbols).log2()


def dynamic_bits_per_symbol(
    train: Tensor, test: Tensor, order: int, num_symbols: int, update_every: int
) -> Tensor:
    """Return the bits of each symbol of `test`, (M,), of a model that learns while it reads.

    It is estimated from `train`, and after every `update_every` symbols anew from those, too.
    """
    bits = []
    for start in range(0, len(test), update_every):
        known, read = torch.cat([train, test[:start]]), test[: start + update_every]
        bits.append(bits_per_symbol(known, read, order, num_symbols)[start:])
    return torch.cat(bits)

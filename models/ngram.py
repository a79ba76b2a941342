"""An n-gram model: the baseline of language models, estimated by counting.

Letters: N characters, S symbols.
"""

import torch
from torch import Tensor

FALLBACK_DISCOUNTS = 0.0, 0.5, 1.0, 1.5
"""Of counts of 0, 1, 2, and 3 or more, as KenLM has them (Heafield et al. 2013)."""


def kneser_ney(symbols: Tensor, order: int, num_symbols: int) -> Tensor:
    """Estimate the probability of each symbol given those before it, from a text.

    Interpolated Kneser-Ney smoothing with three discounts for each order (Chen & Goodman 1999,
    section 3). The table holds every possible context of `order` - 1 symbols, S ** order numbers.

    Args:
        symbols: (N,) integers from 0 to S - 1, N at least `order`.
        order: length of the n-grams, at least 1.
        num_symbols: S.

    Returns:
        (S,) * order float64: the last dimension is the next symbol, over which they sum to 1.

    """
    probabilities = torch.full((num_symbols,), 1 / num_symbols, dtype=torch.float64)
    for length in range(1, order + 1):
        if length == order:
            counts = count_ngrams(symbols, length, num_symbols)
        else:  # in how many contexts a sequence occurs, rather than how often
            counts = (count_ngrams(symbols, length + 1, num_symbols) > 0).sum(0)
        discounts = discount(counts)[counts.clamp(max=3)]
        total = counts.sum(-1, keepdim=True)
        seen = (counts - discounts) / total
        probabilities = torch.where(
            total > 0, seen + discounts.sum(-1, keepdim=True) / total * probabilities, probabilities
        )
    return probabilities


def count_ngrams(symbols: Tensor, length: int, num_symbols: int) -> Tensor:
    """Count every sequence of `length` symbols, (S,) * length int64."""
    windows = symbols.long().unfold(0, length, 1)  # (N - length + 1, length)
    place_values = num_symbols ** torch.arange(length - 1, -1, -1)
    counts = torch.bincount((windows * place_values).sum(-1), minlength=num_symbols**length)
    return counts.view((num_symbols,) * length)


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


def bits_per_symbol(probabilities: Tensor, symbols: Tensor) -> Tensor:
    """Return -log2 p, in bits, of each symbol of a text (N,): (N,) float64.

    `probabilities` are as from `kneser_ney`; before its beginning the text is padded with symbol 0.
    """
    order = probabilities.dim()
    padded = torch.cat([symbols.new_zeros(order - 1), symbols]).long()
    windows = padded.unfold(0, order, 1)  # (N, order)
    return -probabilities[windows.unbind(-1)].log2()


def dynamic_bits_per_symbol(
    train: Tensor, test: Tensor, order: int, num_symbols: int, update_every: int
) -> Tensor:
    """Return the bits of each symbol of `test`, (N,), of a model that learns while it reads.

    It is estimated from `train`, and after every `update_every` symbols anew from those, too.
    """
    bits = []
    for start in range(0, len(test), update_every):
        end = start + update_every
        probabilities = kneser_ney(torch.cat([train, test[:start]]), order, num_symbols)
        bits.append(bits_per_symbol(probabilities, test[:end])[start:])
    return torch.cat(bits)

"""Logits from the last few symbols alone, which a network adds to its own.

Letters: B sequences, T steps, S symbols, O lengths of n-grams, R rows of each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import NGRAM_LENGTHS

NUM_WEIGHTS = 2**20
"""Of each length: R = `NUM_WEIGHTS` // S."""
BASE, PRIME = 1_000_003, 2**31 - 1
"""Of the hash, a polynomial: products stay below 2**63."""


class NGramLogits(nn.Module):
    """Direct connections from n-grams to logits (Mikolov et al. 2011, section 4).

    The last n symbols choose a row of S weights, for each of several n; the rows are added up. The
    number of a row is a hash, as most n-grams that are possible do not occur. N-grams that share a
    row by chance share its weights. In training each position uses those up to a length that is
    drawn anew, or none: the longest know the training text by heart, and would leave nothing to
    learn to the shorter ones and to the network.

    Args:
        num_symbols: S.
        longest: of the lengths that are used, 2 or more symbols.

    """

    def __init__(self, num_symbols: int, longest: int):
        super().__init__()
        self.lengths = [length for length in NGRAM_LENGTHS if length <= longest]
        self.num_symbols, self.num_rows = num_symbols, NUM_WEIGHTS // num_symbols
        # One vector, so that it has neither weight decay nor steps that are made orthogonal: most
        # rows have no gradient.
        self.bias = nn.Parameter(torch.zeros(len(self.lengths) * self.num_rows * num_symbols))

    def forward(self, symbols: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map symbols (B, T) int64, and those `before` them, to logits (B, T, S).

        Also returns what is `before` the next symbols, (B, N - 1) with N the longest length. None
        is before the first ones.
        """
        seen = self.seen(symbols, before)
        logits = self.look_up(seen)
        if self.training:
            longest = torch.randint(len(self.lengths) + 1, symbols.shape, device=symbols.device)
            allowed = torch.arange(len(self.lengths), device=symbols.device) < longest.unsqueeze(-1)
            logits = logits * allowed.unsqueeze(-1)
        return logits.sum(2), seen[:, symbols.shape[1] :]

    @property
    def weights(self) -> Tensor:
        """The rows of all lengths, (O R, S)."""
        return self.bias.view(-1, self.num_symbols)

    def seen(self, symbols: Tensor, before: Tensor | None) -> Tensor:
        """Return symbols (B, T) after those before them, (B, N - 1 + T); -1 where there is none."""
        if before is None:
            return F.pad(symbols, (self.lengths[-1] - 1, 0), value=-1)
        return torch.cat([before, symbols], dim=1)

    def look_up(self, seen: Tensor) -> Tensor:
        """Return what each length of n-grams adds after the last T symbols, (B, T, O, S)."""
        return F.embedding(self.rows(seen), self.weights)

    def rows(self, seen: Tensor) -> Tensor:
        """Return the rows (B, T, O) of the n-grams that end at each of the last T symbols."""
        span = self.lengths[-1] - 1
        hashed = torch.zeros_like(seen[:, span:])
        rows: list[Tensor] = []
        for lag in range(span + 1):
            symbols = seen[:, span - lag : seen.shape[1] - lag]
            hashed = (hashed * BASE + symbols + 1) % PRIME
            if lag + 1 in self.lengths:
                rows.append(hashed * BASE % PRIME % self.num_rows + len(rows) * self.num_rows)
        return torch.stack(rows, dim=-1)

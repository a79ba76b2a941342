"""minGRU, and the scan by which all of its steps are computed at once.

Letters: B sequences, T steps, I inputs, H hidden units, L layers.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as scan_over


class MinGRU(nn.Module):
    """GRU whose gate sees the input alone, so that all steps are computed at once.

    h[t] = (1 - z[t]) h[t-1] + z[t] g(c[t]), with z = sigmoid(W x + b), c = V x + d and
    g(c) = c + 0.5 where c >= 0, sigmoid(c) elsewhere (Feng et al. 2024, section 3.1, appendix B).

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: L.
        dropout_rate: part of what one layer hands the next that is hidden in training.

    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, dropout_rate: float = 0.0
    ):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.Linear(size, 2 * hidden_size) for size in sizes)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (L, B, H) before it to (B, T, H) and the state after it."""
        hidden, after = inputs, []
        for number, layer in enumerate(self.layers):
            if number > 0:
                hidden = self.dropout(hidden)
            # In the precision of the state, which autocast leaves alone.
            gate, candidate = layer(hidden).to(hidden.dtype).chunk(2, dim=-1)
            change = gate.sigmoid()
            before = candidate.new_zeros(candidate[:, 0].shape) if state is None else state[number]
            hidden = scan(1 - change, change * g(candidate), before)
            after.append(hidden[:, -1])
        return hidden, torch.stack(after)


def g(x: Tensor) -> Tensor:
    """Return x + 0.5 from zero on, and the logistic function below it: positive throughout."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


def scan(kept: Tensor, new: Tensor, before: Tensor) -> Tensor:
    """Return h[t] = kept[t] h[t-1] + new[t] for all t at once (Blelloch 1990, section 1.4).

    Two steps in a row are one step of the same kind: half as many of those give every second h,
    and each h in between follows from the one before it. So T steps take log2(T) rounds.

    Args:
        kept: (B, T, H).
        new: (B, T, H).
        before: h before the first step, (B, H).

    Returns:
        (B, T, H).

    """
    # torch.export cannot write down a number of rounds that depends on T.
    if torch.compiler.is_exporting():
        _, hidden = scan_over(_one_step, before, (kept, new), dim=1)
        return cast("Tensor", hidden)
    new = torch.cat(
        [torch.addcmul(new[:, :1], kept[:, :1], before.unsqueeze(1)), new[:, 1:]], dim=1
    )
    return _scan_from_zero(kept, new)


def _scan_from_zero(kept: Tensor, new: Tensor) -> Tensor:
    steps = new.shape[1]
    if steps == 1:
        return new
    pairs = slice(0, steps - steps % 2)
    (kept_first, kept_second), (new_first, new_second) = (
        (values[:, pairs][:, ::2], values[:, pairs][:, 1::2]) for values in (kept, new)
    )
    # h[1], h[3], ... by pairs of steps, and h[2], h[4], ... each from the one before it.
    odd = _scan_from_zero(
        kept_first * kept_second, torch.addcmul(new_second, kept_second, new_first)
    )
    following = new[:, 2::2]
    even = torch.addcmul(following, kept[:, 2::2], odd[:, : following.shape[1]])
    even = torch.cat([new[:, :1], even], dim=1)
    interleaved = torch.stack([even[:, : odd.shape[1]], odd], dim=2).flatten(1, 2)
    return torch.cat([interleaved, even[:, odd.shape[1] :]], dim=1)


def _one_step(hidden: Tensor, step: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    kept, new = step
    hidden = torch.addcmul(new, kept, hidden)
    return hidden, hidden.clone()

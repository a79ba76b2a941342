"""minGRU, and the parallel scan that computes all of its steps at once.

Letters: B sequences, T steps, I inputs, H hidden units, L layers.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as scan_over


class MinGRU(nn.Module):
    """GRU whose gate depends on the input alone, so that all steps are computed at once.

    h[t] = (1 - z[t]) h[t-1] + z[t] g(c[t]), with z = sigmoid(W x + b), c = V x + d and
    g(c) = c + 0.5 where c >= 0, sigmoid(c) elsewhere (Feng et al. 2024, section 3.1, appendix B).
    The parameters are those of `torch.nn.GRU`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.Linear(size, 2 * hidden_size) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (L, B, H) before it to (B, T, H) and the state after it."""
        hidden, after = inputs, []
        for number, layer in enumerate(self.layers):
            if number > 0:
                hidden = self.dropout(hidden)
            # In the precision of the state, which autocast does not change.
            gate, candidate = layer(hidden).to(hidden.dtype).chunk(2, dim=-1)
            update = gate.sigmoid()
            initial = candidate.new_zeros(candidate[:, 0].shape) if state is None else state[number]
            hidden = scan(1 - update, update * g(candidate), initial)
            after.append(hidden[:, -1])
        return hidden, torch.stack(after)


def g(x: Tensor) -> Tensor:
    """Return x + 0.5 where x >= 0 and the logistic function elsewhere, which is positive."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


def scan(decay: Tensor, new: Tensor, initial: Tensor) -> Tensor:
    """Return h[t] = decay[t] h[t-1] + new[t] for all t at once (Blelloch 1990, section 1.4).

    Two consecutive steps are one step of the same form: half as many of those give every second h,
    and each h in between follows from the one before it. So T steps take log2(T) rounds. All are
    (B, T, H); `initial` is h before the first step, (B, H).
    """
    # torch.export does not support a number of rounds that depends on T.
    if torch.compiler.is_exporting():
        _, hidden = scan_over(_one_step, initial, (decay, new), dim=1)
        return cast("Tensor", hidden)
    first = torch.addcmul(new[:, :1], decay[:, :1], initial.unsqueeze(1))
    return _scan_from_zero(decay, torch.cat([first, new[:, 1:]], dim=1))


def _scan_from_zero(decay: Tensor, new: Tensor) -> Tensor:
    steps = new.shape[1]
    if steps == 1:
        return new
    pairs = slice(0, steps - steps % 2)
    (decay_first, decay_second), (new_first, new_second) = (
        (values[:, pairs][:, ::2], values[:, pairs][:, 1::2]) for values in (decay, new)
    )
    # h[1], h[3], ... by pairs of steps, and h[2], h[4], ... each from the one before it.
    odd = _scan_from_zero(
        decay_first * decay_second, torch.addcmul(new_second, decay_second, new_first)
    )
    following = new[:, 2::2]
    even = torch.addcmul(following, decay[:, 2::2], odd[:, : following.shape[1]])
    even = torch.cat([new[:, :1], even], dim=1)
    interleaved = torch.stack([even[:, : odd.shape[1]], odd], dim=2).flatten(1, 2)
    return torch.cat([interleaved, even[:, odd.shape[1] :]], dim=1)


def _one_step(hidden: Tensor, step: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    decay, new = step
    hidden = torch.addcmul(new, decay, hidden)
    return hidden, hidden.clone()

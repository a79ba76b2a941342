"""minGRU and minLSTM: gated cells without recurrent weights (Feng et al. 2024).

Letters: B sequences, T steps, I inputs, H hidden units.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.scan import scan


class MinGRU(nn.Module):
    """GRU whose gate depends on the input alone, so that all steps are computed at once.

    h[t] = (1 - z[t]) h[t-1] + z[t] g(c[t]), with z = sigmoid(W x + b), c = V x + d (section 3.1).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size, self.state_shape = hidden_size, (hidden_size,)
        self.projection = nn.Linear(input_size, 2 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (B, H) before it to (B, T, H) and the state after it."""
        # In the precision of the state, which autocast does not change.
        gate, candidate = self.projection(inputs).to(state.dtype).chunk(2, dim=-1)
        update = gate.sigmoid()
        hidden = scan(1 - update, update * g(candidate), state)
        return hidden, hidden[:, -1]

    def remember(self, spans: Tensor) -> None:
        """Set the gates' biases for memories of `spans` (H,) steps; see `models.recurrent`."""
        gate_bias, _ = self.projection.bias.data.chunk(2)
        gate_bias.copy_(-spans.log())


class MinLSTM(nn.Module):
    """LSTM whose gates depend on the input alone, and share one unit between old and new.

    h[t] = (f[t] h[t-1] + i[t] g(c[t])) / (f[t] + i[t]), with f = sigmoid(U x + a),
    i = sigmoid(W x + b), c = V x + d (section 3.2).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size, self.state_shape = hidden_size, (hidden_size,)
        self.projection = nn.Linear(input_size, 3 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (B, H) before it to (B, T, H) and the state after it."""
        forget, new, candidate = self.projection(inputs).to(state.dtype).chunk(3, dim=-1)
        # f / (f + i), also where both underflow.
        kept = (F.logsigmoid(forget) - F.logsigmoid(new)).sigmoid()
        hidden = scan(kept, (1 - kept) * g(candidate), state)
        return hidden, hidden[:, -1]

    def remember(self, spans: Tensor) -> None:
        """Set the gates' biases for memories of `spans` (H,) steps; see `models.recurrent`."""
        forget_bias, new_bias, _ = self.projection.bias.data.chunk(3)
        forget_bias.copy_(spans.log())
        new_bias.copy_(-spans.log())


def g(x: Tensor) -> Tensor:
    """Return x + 0.5 where x >= 0 and the logistic function elsewhere, which is positive.

    So a state is positive, as in the paper's form in logarithms (appendix B).
    """
    return torch.where(x >= 0, x + 0.5, x.sigmoid())

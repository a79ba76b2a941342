"""S6, the selective state-space cell of Mamba (Gu & Dao 2023).

Letters: B sequences, T steps, I inputs, H hidden units, N states of each.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.scan import scan

NUM_STATES = 4
"""N, complex."""
STEP_SIZES = 1e-3, 1e-1
"""Smallest and largest step size at the start (section 3.6)."""
THRESHOLD = 0.01
"""What is subtracted from step sizes, which are 0 where they would be smaller."""
PIECE_LENGTH = 64
"""So many steps are in memory at a time; their states are computed once more for gradients."""


class S6(nn.Module):
    """Linear state spaces that the input controls: how fast time passes, what is written and read.

    Each hidden unit has N complex states, h'(s) = A h(s) + B x(s) in continuous time. A step takes
    d[t], during which the input is held (zero-order hold; section 2, eq. 4):

        h[t] = exp(d[t] A) h[t-1] + (exp(d[t] A) - 1) / A * B[t] x[t]
        y[t] = Re(C*[t] . h[t]) + D x[t]

    x, B and C are linear in the input, and d is softplus of a linear function (algorithm 2) less a
    threshold, and not below 0: where it is 0, nothing changes. The threshold, which Mamba does not
    have, lets d be exactly 0, so that a state is held for any number of steps. B and C are the same
    for all units; C* is conjugate to C. Each step decays, and rotates: A = -exp(a) + i w, at first
    -1/2 + i pi n (S4D-Lin, Gu et al. 2022). The output is a linear function of y silu(z), z linear
    in the input (Mamba's block, without its convolution). Where a layer has as many inputs as
    hidden units, its input is normalised, and added to its output.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.state_shape = (NUM_STATES, hidden_size, 2)  # real and imaginary part
        self.is_residual = input_size == hidden_size
        self.norm = nn.LayerNorm(input_size) if self.is_residual else nn.Identity()
        # x, z and the step size of each unit; real and imaginary parts of B and C
        self.sizes = [hidden_size] * 3 + [2 * NUM_STATES] * 2
        self.input_projection = nn.Linear(input_size, sum(self.sizes))
        self.output_projection = nn.Linear(hidden_size, hidden_size)
        # Of N states of H units; not matrices, so that weight decay leaves them alone.
        frequencies = (math.pi * torch.arange(NUM_STATES)).repeat_interleave(hidden_size)
        self.log_decay = nn.Parameter(torch.full((hidden_size * NUM_STATES,), math.log(0.5)))
        self.frequency = nn.Parameter(frequencies)
        self.skip = nn.Parameter(torch.ones(hidden_size))  # D
        smallest, largest = map(math.log, STEP_SIZES)
        self._set_step_sizes((smallest + (largest - smallest) * torch.rand(hidden_size)).exp())

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (B, N, H, 2) before it to (B, T, H) and that after it."""
        projected = self.input_projection(self.norm(inputs)).to(state.dtype)
        x, z, steps, write, read = projected.split(self.sizes, dim=-1)
        steps = F.relu(F.softplus(steps) - THRESHOLD)
        if torch.compiler.is_exporting():
            y, state = self._read(state, x, steps, write, read)
        else:
            splits = (values.split(PIECE_LENGTH, dim=1) for values in (x, steps, write, read))
            pieces = []
            for piece in zip(*splits, strict=True):
                y, state = self._read_sparingly(state, *piece)
                pieces.append(y)
            y = torch.cat(pieces, dim=1)
        outputs = self.output_projection(y * F.silu(z)).to(state.dtype)
        return inputs + outputs if self.is_residual else outputs, state

    def _read_sparingly(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Do what `_read` does, and keep no states for the gradients."""
        if not torch.is_grad_enabled():
            return self._read(*arguments)
        y, state = checkpoint(self._read, *arguments, use_reentrant=False, preserve_rng_state=False)
        return y, state

    def _read(
        self, state: Tensor, x: Tensor, steps: Tensor, write: Tensor, read: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return y (B, T, H), and the state after it (B, N, H, 2), from that before it."""
        a = torch.complex(-self.log_decay.exp(), self.frequency).unflatten(0, (NUM_STATES, -1))
        b, c = (  # contiguous: beside an odd number of units, they do not begin at an even place
            torch.view_as_complex(values.unflatten(-1, (-1, 2)).contiguous()).unsqueeze(-1)
            for values in (write, read)
        )  # (B, T, N, 1)
        step = steps.unsqueeze(2)  # (B, T, 1, H)
        size, angle = (step * a.real).exp(), step * a.imag  # (B, T, N, H)
        decay = torch.complex(size * angle.cos(), size * angle.sin())  # faster than torch.exp
        new = (decay - 1) * a.reciprocal() * (b * x.unsqueeze(2))
        hidden = scan(decay, new, torch.view_as_complex(state))
        y = (c.mH @ hidden).real.squeeze(2) + self.skip * x
        return y, torch.view_as_real(hidden[:, -1])

    def remember(self, spans: Tensor) -> None:
        """Set the step sizes for memories of `spans` (H,) steps."""
        decay = self.log_decay.data.exp().unflatten(0, (NUM_STATES, -1))[0]
        self._set_step_sizes((1 + 1 / spans).log() / decay)

    def _set_step_sizes(self, sizes: Tensor) -> None:
        """Set the biases that make the step sizes `sizes`, (H,), where the input is zero."""
        _, _, bias, _, _ = self.input_projection.bias.data.split(self.sizes)
        bias.copy_((sizes + THRESHOLD).expm1().log())

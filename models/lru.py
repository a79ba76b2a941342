"""The linear recurrent unit (Orvieto et al. 2023, "Resurrecting recurrent neural networks").

Letters: B sequences, T steps, I inputs, H hidden units.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.scan import scan

RING = 0.9, 0.999
"""Smallest and largest magnitude of the eigenvalues at the start."""


class LRU(nn.Module):
    """A linear recurrence of H complex numbers, each with an eigenvalue, then a nonlinearity.

    x[t] = e x[t-1] + c B u[t], y[t] = Re(C x[t]) + D u[t], with eigenvalues e = exp(-exp(n) +
    i exp(p)), which are below 1 in magnitude, and c, at first sqrt(1 - |e|^2), such that x is as
    large for every eigenvalue. The output is a gated linear unit of GELU(y). Where a layer has as
    many inputs as hidden units, its input is normalised, and added to its output (section 3, and
    the block of figure 1).
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        self.state_shape = (hidden_size, 2)  # real and imaginary part
        self.is_residual = input_size == hidden_size
        self.norm = nn.LayerNorm(input_size) if self.is_residual else nn.Identity()
        self.log_rate, self.log_phase, self.log_scale = (
            nn.Parameter(torch.empty(hidden_size)) for _ in range(3)
        )
        self.input_projection = nn.Linear(input_size, 2 * hidden_size, bias=False)  # B
        self.output_projection = nn.Linear(2 * hidden_size, hidden_size, bias=False)  # C
        self.skip = nn.Linear(input_size, hidden_size, bias=False)  # D
        self.glu = nn.Linear(hidden_size, 2 * hidden_size)
        # Uniform on a ring of the complex plane (lemma 3.2).
        smallest, largest = (radius**2 for radius in RING)
        squares = smallest + (largest - smallest) * torch.rand(hidden_size)
        self.log_phase.data.copy_((2 * math.pi * torch.rand(hidden_size)).log())
        self._set_magnitudes(squares.sqrt())

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (B, H, 2) before it to (B, T, H) and the state after it."""
        values = self.norm(inputs)
        eigenvalues = torch.complex(-self.log_rate.exp(), self.log_phase.exp()).exp()
        new = self.input_projection(values).to(state.dtype).unflatten(-1, (-1, 2))  # (B, T, H, 2)
        new = torch.view_as_complex(new * self.log_scale.exp().unsqueeze(-1))
        hidden = scan(eigenvalues.expand(new.shape), new, torch.view_as_complex(state))
        parts = torch.view_as_real(hidden)
        outputs = self.output_projection(parts.flatten(-2)) + self.skip(values)
        outputs = F.glu(self.glu(F.gelu(outputs))).to(state.dtype)
        return inputs + outputs if self.is_residual else outputs, parts[:, -1]

    def remember(self, spans: Tensor) -> None:
        """Set the magnitudes of the eigenvalues for memories of `spans` (H,) steps."""
        self._set_magnitudes(spans / (1 + spans))

    def _set_magnitudes(self, magnitudes: Tensor) -> None:
        self.log_rate.data.copy_((-magnitudes.log()).log())
        self.log_scale.data.copy_((1 - magnitudes**2).log() / 2)

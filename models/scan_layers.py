"""Layers of recurrent cells whose steps are all computed at once, by a scan.

Letters: B sequences, T steps, I inputs, H hidden units, L layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class ScanLayers(nn.Module):
    """Layers of one kind on top of each other, with the interface of `torch.nn.GRU`.

    Args:
        layer: builds a layer from its numbers of inputs and of hidden units. The layer maps
            (B, T, I) and a state (B, ...) to (B, T, H) and the state after it, has the
            `state_shape` of one sequence, and can be made to `remember` for some steps.
        input_size, hidden_size, num_layers: I, H, L.
        dropout: probability of dropout between layers.

    """

    def __init__(
        self,
        layer: Callable[[int, int], nn.Module],
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
    ):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(layer(size, hidden_size) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, T, I) and the state (L, B, ...) before it to (B, T, H) and that after it."""
        hidden, after = inputs, []
        layer: Any
        for number, layer in enumerate(self.layers):
            if number > 0:
                hidden = self.dropout(hidden)
            zeros = hidden.new_zeros(hidden.shape[0], *layer.state_shape)
            hidden, last = layer(hidden, zeros if state is None else state[number])
            after.append(last)
        return hidden, torch.stack(after)

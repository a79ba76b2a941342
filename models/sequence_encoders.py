"""Encoders of sequences: recurrent, convolutional (TCN, FCN) and attention (Transformer).

Each maps channels (B, T, C) and lengths (B,) int64 to features (B, T, F). What lies beyond the end
of a sequence does not affect the features before it.

Letters: B sequences, T steps, C channels, F features.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import CELLS, CellName, EncoderName, Initialisation
from models.pooling import padding_mask
from models.recurrent import apply_recurrence, build_recurrence

TCN_KERNEL_SIZE = 3
FCN_KERNEL_SIZE = 5  # the three convolutions of the paper have 8, 5 and 3


class EncoderOptions(NamedTuple):
    """What encoders are built from; each uses those that concern it."""

    num_channels: int
    """C."""
    width: int
    """F; of a transformer a multiple of 4, the number of heads."""
    num_layers: int
    """Convolutions of an FCN, otherwise layers or blocks."""
    dropout_rate: float
    """Probability of dropout: between recurrent layers, after each convolution of a TCN, on the
    outputs of a transformer's attention and MLP."""
    initialisation: Initialisation
    """Of recurrent weights, see `models.recurrent.initialise`."""
    horizon: int
    """Longest memory of the chrono initialisation, in steps."""
    max_length: int
    """Number of positions of a transformer, in steps."""


class RecurrentEncoder(nn.Module):
    """The hidden units of recurrent layers; `layers` maps (B, T, C) to (B, T, F) and a state."""

    def __init__(self, cell: CellName, options: EncoderOptions):
        super().__init__()
        self.layers = build_recurrence(
            cell,
            options.num_channels,
            options.width,
            options.num_layers,
            options.dropout_rate,
            options.initialisation,
            options.horizon,
        )

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, F)."""
        return apply_recurrence(self.layers, channels)


class TCN(nn.Module):
    """Temporal convolutional network: dilated, causal, residual (Bai et al. 2018, section 3).

    Layer l has two convolutions of a dilation of 2 ** l; the receptive field of L layers is
    2 ** (L + 2) - 3 steps.
    """

    def __init__(self, options: EncoderOptions):
        super().__init__()
        self.input_projection = nn.Linear(options.num_channels, options.width)
        self.blocks = nn.ModuleList(
            CausalBlock(options.width, 2**layer, options.dropout_rate)
            for layer in range(options.num_layers)
        )

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, F)."""
        features: Tensor = self.input_projection(channels).transpose(1, 2)  # (B, F, T)
        for block in self.blocks:
            features = block(features)
        return features.transpose(1, 2)


class CausalBlock(nn.Module):
    """y = relu(x + F(x)), F two causal convolutions.

    Layer norm is over the channels of each step: statistics over steps would depend on padding and
    on the future.
    """

    def __init__(self, width: int, dilation: int, dropout_rate: float):
        super().__init__()
        self.left_padding = (TCN_KERNEL_SIZE - 1) * dilation
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, TCN_KERNEL_SIZE, dilation=dilation) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, T) to the same shape."""
        y = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = convolution(F.pad(y, (self.left_padding, 0)))
            y = self.dropout(torch.relu(norm(y.transpose(1, 2)).transpose(1, 2)))
        return torch.relu(x + y)


class FCN(nn.Module):
    """Fully convolutional network, which is not causal (Wang, Yan & Oates 2017).

    Layer norm is over the channels of each step, as in the TCN. Padding is set to 0 before each
    convolution, like the steps before the beginning of a sequence.
    """

    def __init__(self, options: EncoderOptions):
        super().__init__()
        sizes = [options.num_channels] + [options.width] * options.num_layers
        self.convolutions = nn.ModuleList(
            nn.Conv1d(*in_and_out, FCN_KERNEL_SIZE, padding="same")
            for in_and_out in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in sizes[1:])

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F)."""
        padding = padding_mask(channels, lengths).unsqueeze(-1)  # (B, T, 1)
        features = channels
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            inputs = features.masked_fill(padding, 0).transpose(1, 2)  # (B, C or F, T)
            features = torch.relu(norm(convolution(inputs).transpose(1, 2)))
        return features


class Transformer(nn.Module):
    """Self-attention over all steps, with sinusoidal positions (Vaswani et al. 2017)."""

    positions: Tensor

    def __init__(self, options: EncoderOptions):
        super().__init__()
        width = options.width
        self.input_projection = nn.Linear(options.num_channels, width)
        self.register_buffer("positions", sinusoids(options.max_length, width), persistent=False)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, num_heads=4, dropout_rate=options.dropout_rate)
            for _ in range(options.num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F).

        Raises:
            ValueError: T exceeds the number of positions.

        """
        steps = channels.shape[1]
        if steps > len(self.positions):
            raise ValueError(f"sequences of {steps} steps: positions reach {len(self.positions)}")
        features = self.input_projection(channels) + self.positions[:steps]
        mask = ~padding_mask(channels, lengths)[:, None, None, :]  # (B, 1, 1, T)
        for block in self.blocks:
            features = block(features, mask)
        normalized: Tensor = self.norm(features)
        return normalized


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)) (Xiong et al. 2020, pre-norm)."""

    def __init__(self, width: int, num_heads: int, dropout_rate: float):
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.output_projection = nn.Linear(width, width)
        hidden = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, F) to the same shape; `mask` (B, 1, 1, T) is true for steps to attend to."""
        attention_norm, mlp_norm = self.norms
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, T, F / heads)
            for part in self.qkv(attention_norm(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.dropout(self.output_projection(attended.transpose(1, 2).flatten(2)))
        y: Tensor = x + self.dropout(self.mlp(mlp_norm(x)))
        return y


def sinusoids(count: int, width: int) -> Tensor:
    """Return positions 0 to `count` - 1 as sines and cosines of falling frequencies, (count, F)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count).unsqueeze(1) * frequencies  # (count, F / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


ENCODER_CONSTRUCTORS: dict[EncoderName, Callable[[EncoderOptions], nn.Module]] = {
    **{cell: partial(RecurrentEncoder, cell) for cell in CELLS},
    "tcn": TCN,
    "fcn": FCN,
    "transformer": Transformer,
}
"""What builds each encoder."""

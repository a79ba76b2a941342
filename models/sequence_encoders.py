"""Encoders of sequences: recurrent, convolutional (TCN, FCN, Inception), attention (Transformer).

Random convolutions (Hydra, MultiRocket) are in models/random_convolutions.py.

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
from models.random_convolutions import Hydra, MultiRocketHydra
from models.recurrent import apply_recurrence, build_recurrence

TCN_KERNEL_SIZE = 3
FCN_KERNEL_SIZE = 5  # the three convolutions of the paper have 8, 5 and 3
# Those of the paper, 40, 20 and 10, have no step in the middle.
INCEPTION_KERNEL_SIZES = 39, 19, 9


class EncoderOptions(NamedTuple):
    """What encoders are built from; each uses those that concern it."""

    num_channels: int
    """C."""
    width: int
    """F; a multiple of what `WIDTH_STEPS` in models/choices.py says of the encoder."""
    num_layers: int
    """Convolutions of an FCN, modules of Inception, dilations of random convolutions; otherwise
    layers or blocks."""
    dropout_rate: float
    """Probability of dropout: between recurrent layers, after each convolution of a TCN, on the
    outputs of a transformer's attention and MLP."""
    initialisation: Initialisation
    """Of recurrent weights, see `models.recurrent.initialise`."""
    horizon: int
    """Longest memory of the chrono initialisation, in steps."""
    max_length: int
    """Number of positions of a transformer, in steps."""
    bidirectional: bool = False
    """Whether recurrent layers also read backwards, with half of the features, F even."""


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


class BidirectionalEncoder(nn.Module):
    """Recurrent layers that read each sequence from both ends (Schuster & Paliwal 1997).

    A layer has F / 2 features of the steps up to each step, and F / 2 of those from it on. It reads
    backwards from the last step of each sequence, and so padding does not change its features.
    """

    def __init__(self, cell: CellName, options: EncoderOptions):
        super().__init__()
        halves = options._replace(width=options.width // 2, num_layers=1)
        inputs = [options.num_channels] + [options.width] * (options.num_layers - 1)
        self.forwards, self.backwards = (
            nn.ModuleList(RecurrentEncoder(cell, halves._replace(num_channels=n)) for n in inputs)
            for _ in range(2)
        )
        self.dropout = nn.Dropout(options.dropout_rate)

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F)."""
        steps = torch.arange(channels.shape[1], device=channels.device)
        mirrored = lengths.unsqueeze(1) - 1 - steps  # (B, T), of padding below 0
        mirrored = torch.where(mirrored < 0, steps, mirrored).unsqueeze(-1)

        def reverse(features: Tensor) -> Tensor:
            return features.gather(1, mirrored.expand(-1, -1, features.shape[-1]))

        features = channels
        layers = zip(self.forwards, self.backwards, strict=True)
        for number, (forwards, backwards) in enumerate(layers):
            inputs = self.dropout(features) if number else features
            after = reverse(backwards(reverse(inputs), lengths))
            features = torch.cat([forwards(inputs, lengths), after], dim=-1)
        return features


def recurrent_encoder(cell: CellName, options: EncoderOptions) -> nn.Module:
    """Return recurrent layers that read forwards, or from both ends."""
    encoder = BidirectionalEncoder if options.bidirectional else RecurrentEncoder
    return encoder(cell, options)


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


class Inception(nn.Module):
    """The network of which InceptionTime is an ensemble of five (Ismail Fawaz et al. 2020).

    Every third module is followed by a residual connection. Layer norm is over the channels of each
    step, and padding is set to 0 before each convolution, as in the FCN.
    """

    def __init__(self, options: EncoderOptions):
        super().__init__()
        width, count = options.width, options.num_layers
        sizes = [options.num_channels] + [width] * count
        self.inception_modules = nn.ModuleList(
            InceptionModule(*in_and_out) for in_and_out in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(count))
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width), nn.LayerNorm(width))
            for size in sizes[: count - count % 3 : 3]
        )

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F)."""
        padding = padding_mask(channels, lengths).unsqueeze(-1)  # (B, T, 1)
        features = before = channels
        layers = zip(self.inception_modules, self.norms, strict=True)
        for number, (module, norm) in enumerate(layers, start=1):
            features = torch.relu(norm(module(features, padding)))
            if number % 3 == 0:
                shortcut = self.shortcuts[number // 3 - 1]
                features = before = torch.relu(features + shortcut(before))
        return features


class InceptionModule(nn.Module):
    """Convolutions of three lengths behind a bottleneck, beside maximum pooling over three steps.

    Each of the four branches has a quarter of the features.
    """

    def __init__(self, num_inputs: int, width: int):
        super().__init__()
        branch = width // 4
        self.bottleneck = nn.Linear(num_inputs, branch) if num_inputs > 1 else nn.Identity()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(branch if num_inputs > 1 else 1, branch, size, padding="same")
            for size in INCEPTION_KERNEL_SIZES
        )
        self.pooled = nn.Linear(num_inputs, branch)

    def forward(self, features: Tensor, padding: Tensor) -> Tensor:
        """Map (B, T, C) and the mask of padding (B, T, 1) to (B, T, F)."""
        narrow = self.bottleneck(features).masked_fill(padding, 0).transpose(1, 2)
        branches = [convolution(narrow).transpose(1, 2) for convolution in self.convolutions]
        # Not F.max_pool1d, of which torch.export would fix the number of steps.
        steps = F.pad(features.masked_fill(padding, -math.inf), (0, 0, 1, 1), value=-math.inf)
        highest = torch.stack([steps[:, :-2], steps[:, 1:-1], steps[:, 2:]]).amax(0)
        branches.append(self.pooled(highest.masked_fill(padding, 0)))
        return torch.cat(branches, dim=-1)


class Transformer(nn.Module):
    """Self-attention with sinusoidal positions (Vaswani et al. 2017), over all steps.

    A causal one attends at each step to this one and those before it, like the paper's decoder.
    """

    positions: Tensor

    def __init__(self, options: EncoderOptions, *, causal: bool = False):
        super().__init__()
        self.causal = causal
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
        # Padding is at the end, and so what is causal does not see it from the steps before.
        mask = None if self.causal else ~padding_mask(channels, lengths)[:, None, None, :]
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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, T, F) to the same shape.

        `mask` (B, 1, 1, T) is true for steps to attend to; None stands for those up to each step.
        """
        attention_norm, mlp_norm = self.norms
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, T, F / heads)
            for part in self.qkv(attention_norm(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None
        )
        x = x + self.dropout(self.output_projection(attended.transpose(1, 2).flatten(2)))
        y: Tensor = x + self.dropout(self.mlp(mlp_norm(x)))
        return y


def sinusoids(count: int, width: int) -> Tensor:
    """Return positions 0 to `count` - 1 as sines and cosines of falling frequencies, (count, F)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count).unsqueeze(1) * frequencies  # (count, F / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


ENCODER_CONSTRUCTORS: dict[EncoderName, Callable[[EncoderOptions], nn.Module]] = {
    **{cell: partial(recurrent_encoder, cell) for cell in CELLS},
    "tcn": TCN,
    "fcn": FCN,
    "inception": Inception,
    "transformer": Transformer,
    "causal_transformer": partial(Transformer, causal=True),
    "hydra": lambda options: Hydra(options.num_channels, options.width, options.num_layers),
    "multirocket_hydra": lambda options: MultiRocketHydra(
        options.num_channels, options.width, options.num_layers
    ),
}
"""What builds each encoder."""

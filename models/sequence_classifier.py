"""Sequences in, one answer out: exchangeable encoders, masked pooling, one head.

An encoder turns every step into features that know the steps around it, most of them only those
before it; pooling makes one vector of them, and leaves padding out; a linear head answers.

Letters: B sequences, T steps, C channels, F features, K answers.
"""

import math
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.recurrent import FOR_CELLS, CellName, Initialisation, initialise, recurrence, run

EncoderName = Literal["rnn", "lstm", "gru", "mingru", "tcn", "fcn", "transformer"]
PoolingName = Literal["last", "mean", "max", "attention"]
KERNEL_SIZE = 3
"""Steps that a convolution of the TCN sees."""
FCN_KERNEL_SIZE = 5
"""Steps that a convolution of the FCN sees; the paper's three see 8, 5 and 3."""


class SequenceClassifier(nn.Module):
    """Encode, pool, answer.

    Args:
        num_symbols: sequences are integers below it (0: they are real channels).
        num_channels: C, of real sequences.
        encoder: kind of encoder.
        pooling: what becomes of the steps.
        width: F.
        num_layers: layers of the encoder.
        num_answers: K: classes, or 1 for a number.
        dropout_rate: part of the features that is hidden in training, between layers and before
            the head.
        initialisation: of recurrent encoders, see `models.recurrent.initialise`.
        horizon: steps over which chrono initialisation spreads the memory.
        max_length: steps that the positions of a transformer reach, and the field that a TCN sees.
        noise: standard deviation of what is added to each step of real channels in training, of
            which each has one of 1 (see `Standardise`).
        offset: standard deviation of what is added in training to all steps of a channel alike, as
            if another microphone had recorded the sequence.

    """

    def __init__(
        self,
        *,
        num_symbols: int = 0,
        num_channels: int = 0,
        encoder: EncoderName,
        pooling: PoolingName,
        width: int,
        num_layers: int = 1,
        num_answers: int,
        dropout_rate: float = 0.0,
        initialisation: Initialisation = "default",
        horizon: int = 3,
        max_length: int = 512,
        noise: float = 0.0,
        offset: float = 0.0,
    ):
        super().__init__()
        self.num_symbols, self.noise, self.offset = num_symbols, noise, offset
        self.standardise = Standardise(num_channels)
        size = num_symbols or num_channels
        self.encoder: nn.Module
        if encoder == "transformer":
            self.encoder = Transformer(size, width, num_layers, dropout_rate, max_length)
        elif encoder == "tcn":
            self.encoder = TCN(size, width, num_layers, dropout_rate)
        elif encoder == "fcn":
            self.encoder = FCN(size, width, num_layers)
        else:
            self.encoder = recurrence(
                encoder,
                size,
                width,
                num_layers,
                dropout_rate,
                identity=initialisation == "identity",
            )
            initialise(self.encoder, initialisation, horizon)
        self.pool = Pooling(pooling, width)
        self.dropout = nn.Dropout(dropout_rate)
        self.head = nn.Linear(width, num_answers)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Answer sequences: (B, K).

        Args:
            inputs: symbols (B, T) int64 or channels (B, T, C), whatever after a sequence's end.
            lengths: (B,) int64, from 1 to T.

        """
        answers: Tensor = self.head(self.dropout(self.pool(self.encode(inputs, lengths), lengths)))
        return answers

    def encode(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the features of every step, (B, T, F)."""
        return self.read(self.to_channels(inputs), lengths)

    def to_channels(self, inputs: Tensor) -> Tensor:
        """Return symbols (B, T) as one-hot channels (B, T, C), and real channels standardised."""
        if not self.num_symbols:
            channels: Tensor = self.standardise(inputs)
            if self.training and self.noise:
                channels = channels + self.noise * torch.randn_like(channels)
            if self.training and self.offset:
                channels = channels + self.offset * torch.randn_like(channels[:, :1])
            return channels
        return F.one_hot(inputs, self.num_symbols).to(self.head.weight.dtype)

    def read(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Return the features of every step, (B, T, F), of channels (B, T, C)."""
        if isinstance(self.encoder, (FCN, Transformer)):
            return cast("Tensor", self.encoder(channels, lengths))
        if isinstance(self.encoder, TCN):
            return cast("Tensor", self.encoder(channels))
        return run(self.encoder, channels)


class SequencePredictor(nn.Module):
    """A classifier as a function of one tensor, to be saved and served.

    Args:
        classifier: what answers.

    """

    def __init__(self, classifier: SequenceClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: Tensor) -> Tensor:
        """Map sequences to answers (B, K): symbols (B, T) int64 or channels (B, T, C) float32.

        Shorter sequences are padded at their end, symbols with -1 and channels with NaN.
        """
        if inputs.is_floating_point():
            is_there = ~inputs.isnan().any(-1)
            inputs = inputs.nan_to_num()
        else:
            is_there = inputs >= 0
            inputs = inputs.clamp(min=0)
        answers: Tensor = self.classifier(inputs, is_there.sum(1))
        return answers


class Standardise(nn.Module):
    """Shift and scale channels to a mean of 0 and a variance of 1, once they were measured.

    Args:
        num_channels: C.

    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(self, num_channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_channels))
        self.register_buffer("standard_deviation", torch.ones(num_channels))

    def measure(self, inputs: Tensor, lengths: Tensor) -> None:
        """Take mean and standard deviation from sequences (B, T, C) of lengths (B,).

        A channel that hardly varies, such as a pixel that is always white, is not blown up.
        """
        steps = inputs[~padding_of(inputs, lengths)]  # (N, C)
        deviation = steps.std(0)
        self.mean.copy_(steps.mean(0))
        self.standard_deviation.copy_(deviation.clamp(min=0.1 * deviation.max()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T, C) to the same shape."""
        return (inputs - self.mean) / self.standard_deviation


class Pooling(nn.Module):
    """One vector of many, without what lies beyond a sequence's end.

    Args:
        kind: `last` takes the features of the last step, `mean` and `max` are over all steps,
            `attention` is a mean with learnt weights (Bahdanau et al. 2015, with one query).
        width: F.

    """

    def __init__(self, kind: PoolingName, width: int):
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(width, 1) if kind == "attention" else None

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, F) and lengths (B,) to (B, F)."""
        if self.kind == "last":
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, features.shape[-1])
            return features.gather(1, last).squeeze(1)
        padding = padding_of(features, lengths).unsqueeze(-1)  # (B, T, 1)
        if self.kind == "max":
            return features.masked_fill(padding, -math.inf).amax(1)
        weighted = self.weights(features, lengths).unsqueeze(-1) * features
        return weighted.masked_fill(padding, 0).sum(1)

    def weights(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return how much each step counts in the mean, (B, T), which sums to 1."""
        padding = padding_of(features, lengths)
        if self.score is None:
            return (~padding).to(features.dtype) / lengths.unsqueeze(1)
        scores: Tensor = self.score(features).squeeze(-1)
        return scores.masked_fill(padding, -math.inf).softmax(-1)


def padding_of(features: Tensor, lengths: Tensor) -> Tensor:
    """Return which steps of (B, T, ...) lie beyond the sequences' ends, (B, T) bool."""
    steps = torch.arange(features.shape[1], device=features.device)
    return steps >= lengths.unsqueeze(1)


class TCN(nn.Module):
    """Dilated causal convolutions with residuals (Bai et al. 2018, section 3).

    Layer l looks 2 ** l steps apart; `num_layers` of them see 2 ** (num_layers + 2) - 3 steps.

    Args:
        num_channels: C.
        width: F.
        num_layers: blocks of two convolutions each.
        dropout_rate: part of the features that is hidden in training.

    """

    def __init__(self, num_channels: int, width: int, num_layers: int, dropout_rate: float):
        super().__init__()
        self.enter = nn.Linear(num_channels, width)
        self.blocks = nn.ModuleList(
            CausalBlock(width, 2**layer, dropout_rate) for layer in range(num_layers)
        )

    def forward(self, channels: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, F)."""
        features: Tensor = self.enter(channels).transpose(1, 2)  # (B, F, T)
        for block in self.blocks:
            features = block(features)
        return features.transpose(1, 2)


class CausalBlock(nn.Module):
    """y = relu(x + F(x)), F two convolutions that see only what came before.

    Features are normalised step by step, over channels: over steps, padding and the future would
    have a say.
    """

    def __init__(self, width: int, dilation: int, dropout_rate: float):
        super().__init__()
        self.reach = (KERNEL_SIZE - 1) * dilation
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL_SIZE, dilation=dilation) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, T) to the same shape."""
        y = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = convolution(F.pad(y, (self.reach, 0)))
            y = self.dropout(torch.relu(norm(y.transpose(1, 2)).transpose(1, 2)))
        return torch.relu(x + y)


class FCN(nn.Module):
    """Convolutions that look both ways (Wang, Yan & Oates 2017, "fully convolutional network").

    Features are normalised as those of the TCN, and what lies beyond a sequence's end is 0 before
    each convolution, as what lies before its beginning is: padding changes nothing.

    Args:
        num_channels: C.
        width: F.
        num_layers: convolutions.

    """

    def __init__(self, num_channels: int, width: int, num_layers: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width if layer else num_channels, width, FCN_KERNEL_SIZE, padding="same")
            for layer in range(num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F)."""
        padding = padding_of(channels, lengths).unsqueeze(-1)  # (B, T, 1)
        features = channels
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            seen = features.masked_fill(padding, 0).transpose(1, 2)
            features = torch.relu(norm(convolution(seen).transpose(1, 2)))
        return features


class Transformer(nn.Module):
    """Self-attention over all steps, with sines for positions (Vaswani et al. 2017).

    Args:
        num_channels: C.
        width: F, a multiple of 4: each head has 4 features or more.
        num_layers: blocks of attention and two full layers.
        dropout_rate: part of the features that is hidden in training.
        max_length: steps that have a position.

    """

    positions: Tensor

    def __init__(
        self, num_channels: int, width: int, num_layers: int, dropout_rate: float, max_length: int
    ):
        super().__init__()
        self.enter = nn.Linear(num_channels, width)
        self.register_buffer("positions", sinusoids(max_length, width), persistent=False)
        self.blocks = nn.ModuleList(
            AttentionBlock(width, num_heads=4, dropout_rate=dropout_rate) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, C) and lengths (B,) to (B, T, F).

        Raises:
            ValueError: T exceeds the positions that there are.

        """
        steps = channels.shape[1]
        if steps > len(self.positions):
            raise ValueError(f"sequences of {steps} steps: positions reach {len(self.positions)}")
        features = self.enter(channels) + self.positions[:steps]
        seen = ~padding_of(channels, lengths)[:, None, None, :]  # (B, 1, 1, T)
        for block in self.blocks:
            features = block(features, seen)
        normalised: Tensor = self.norm(features)
        return normalised


class AttentionBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)) (Xiong et al. 2020, pre-norm)."""

    def __init__(self, width: int, num_heads: int, dropout_rate: float):
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Map (B, T, F) to the same shape; `seen` (B, 1, 1, T) says which steps there are."""
        attend, think = self.norms
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, T, F / heads)
            for part in self.project(attend(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        y: Tensor = x + self.dropout(self.perceptron(think(x)))
        return y


def sinusoids(count: int, width: int) -> Tensor:
    """Return positions 0 to `count` - 1 as sines and cosines of falling frequencies, (count, F)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count).unsqueeze(1) * frequencies  # (count, F / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def is_recurrent(encoder: EncoderName) -> bool:
    """Whether an encoder is a recurrence, which can be initialised in several ways."""
    return encoder in get_args(CellName)


def can_start(encoder: EncoderName, how: Initialisation) -> bool:
    """Whether an encoder can be initialised so."""
    return encoder in FOR_CELLS[how] if is_recurrent(encoder) else how == "default"


def suited(encoder: EncoderName) -> Initialisation:
    """Return the initialisation with which an encoder remembers longest from the first step on."""
    if encoder in FOR_CELLS["chrono"]:
        return "chrono"
    return "orthogonal" if is_recurrent(encoder) else "default"

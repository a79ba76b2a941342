"""Classification and regression of sequences: an encoder, masked pooling, a linear head.

Letters: B sequences, T steps, C channels, F features, K outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.choices import EncoderName, Initialisation, PoolingName
from models.pooling import Pooling, padding_mask
from models.random_convolutions import Hydra, MultiRocketHydra, RandomFeatureScaling
from models.sequence_encoders import ENCODER_CONSTRUCTORS, EncoderOptions


class SequenceClassifier(nn.Module):
    """Encode every step, pool the steps, map the pooled features to outputs.

    Args:
        num_symbols: sequences are integers below it (0: they are real channels).
        num_channels: C, of real sequences.
        encoder: its kind; `bidirectional`, `width`, `num_layers`, `dropout_rate` (also of the
            dropout before the head), `initialisation`, `horizon` and `max_length` are those of
            `EncoderOptions`.
        pooling: how the features of all steps become one vector, see `Pooling`.
        num_outputs: K: the logits of classes, or 1 for regression.
        noise: standard deviation of the noise that is added in training to each step of real
            channels, after they are standardized.
        offset: standard deviation of what is added in training to all steps of a channel alike, as
            another microphone would.

    """

    def __init__(
        self,
        *,
        num_symbols: int = 0,
        num_channels: int = 0,
        encoder: EncoderName,
        bidirectional: bool = False,
        pooling: PoolingName,
        width: int,
        num_layers: int,
        num_outputs: int,
        dropout_rate: float,
        initialisation: Initialisation,
        horizon: int,
        max_length: int,
        noise: float,
        offset: float,
    ):
        super().__init__()
        self.num_symbols, self.noise, self.offset = num_symbols, noise, offset
        self.standardize = Standardize(num_channels)
        input_size = num_symbols or num_channels
        options = EncoderOptions(
            input_size,
            width,
            num_layers,
            dropout_rate,
            initialisation,
            horizon,
            max_length,
            bidirectional,
        )
        self.encoder = ENCODER_CONSTRUCTORS[encoder](options)
        self.pool = Pooling(pooling, width)
        self.scale: nn.Module = nn.Identity()
        if isinstance(self.encoder, Hydra | MultiRocketHydra):
            self.scale = RandomFeatureScaling(width, self.encoder.num_means)
        self.dropout = nn.Dropout(dropout_rate)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Map symbols (B, T) int64 or channels (B, T, C) to outputs (B, K).

        `lengths` (B,) int64 are from 1 to T; the padding has any value.
        """
        return self.classify(self.to_channels(inputs), lengths)

    def classify(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Map channels (B, T, C) as `to_channels` returns them to outputs (B, K)."""
        features = self.scale(self.pooled(channels, lengths))
        outputs: Tensor = self.head(self.dropout(features))
        return outputs

    def pooled(self, channels: Tensor, lengths: Tensor) -> Tensor:
        """Return the pooled features of such channels, (B, F)."""
        pooled: Tensor
        if isinstance(self.encoder, Hydra | MultiRocketHydra) and self.pool.score is None:
            pooled = self.encoder(channels, lengths, self.pool)
        else:
            pooled = self.pool(self.encoder(channels, lengths), lengths)
        return pooled

    def encode(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the features of every step, (B, T, F)."""
        features: Tensor = self.encoder(self.to_channels(inputs), lengths)
        return features

    def to_channels(self, inputs: Tensor) -> Tensor:
        """Return symbols (B, T) as one-hot channels (B, T, C), and real channels standardized."""
        if self.num_symbols:
            return F.one_hot(inputs, self.num_symbols).to(self.head.weight.dtype)
        channels: Tensor = self.standardize(inputs)
        if self.training and self.noise:
            channels = channels + self.noise * torch.randn_like(channels)
        if self.training and self.offset:
            channels = channels + self.offset * torch.randn_like(channels[:, :1])
        return channels


class ExportableSequenceClassifier(nn.Module):
    """A classifier as a function of one tensor, for export and serving."""

    def __init__(self, classifier: SequenceClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: Tensor) -> Tensor:
        """Map sequences to outputs (B, K): symbols (B, T) int64 or channels (B, T, C) float32.

        Shorter sequences are padded at their end, symbols with -1 and channels with NaN.

        Raises:
            RuntimeError: a number is none of a sequence, or the padding is not at the end alone.

        """
        if inputs.is_floating_point():
            padding = inputs.isnan().all(-1)  # (B, T)
            is_valid = inputs.isfinite() | padding.unsqueeze(-1)
            what = "a number that is infinite, or NaN beside other channels of its step"
        else:
            padding = inputs == -1
            symbols = self.classifier.num_symbols
            is_valid = (inputs >= -1) & (inputs < symbols)
            what = f"a number that is no symbol (0 to {symbols - 1}) and no padding (-1)"
        torch._assert_async(is_valid.all(), f"invalid input: {what}")
        lengths = (~padding).sum(1)
        torch._assert_async((lengths > 0).all(), "invalid input: a sequence without a step")
        is_at_end = padding == padding_mask(inputs, lengths)
        torch._assert_async(is_at_end.all(), "invalid input: padding before the end of a sequence")
        is_step = (~padding).view(*padding.shape, *(1,) * (inputs.ndim - 2))
        outputs: Tensor = self.classifier(torch.where(is_step, inputs, 0), lengths)
        return outputs


class Standardize(nn.Module):
    """Shift and scale channels to a mean of 0 and a variance of 1; the identity before `fit`."""

    mean: Tensor
    std: Tensor

    def __init__(self, num_channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_channels))
        self.register_buffer("std", torch.ones(num_channels))

    def fit(self, inputs: Tensor, lengths: Tensor, *, same_unit: bool) -> None:
        """Take mean and standard deviation from sequences (B, T, C) of lengths (B,).

        Where all channels have the same unit, the standard deviation of a nearly constant one, such
        as a pixel that is always white, counts as a tenth of the largest, so that its noise is not
        amplified. Channels with units of their own cannot be compared: each keeps its own standard
        deviation, and one that is constant is only shifted.
        """
        steps = inputs[~padding_mask(inputs, lengths)]  # (N, C)
        if same_unit:
            std = steps.std(0)
            self.mean.copy_(steps.mean(0))
            self.std.copy_(std.clamp(min=0.1 * std.max()))
            return
        steps = steps.double()  # a small variation may lie on a large offset
        mean, std = steps.mean(0), steps.std(0, correction=0)
        rounding = torch.finfo(torch.float32).eps * steps.abs().amax(0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > rounding, std, 1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, T, C) to the same shape."""
        return (inputs - self.mean) / self.std

"""Comparison of the encoders of sequences."""

from experiments.seq_encoders.config import EncodersConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, EncoderComparison="lesson")
__all__ = ["EncoderComparison", "EncodersConfig"]

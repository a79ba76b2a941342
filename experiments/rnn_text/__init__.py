"""Recurrent networks that predict the next character of a text."""

from experiments.rnn_text.config import RNNTextConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, NextCharacter="lesson")
__all__ = ["NextCharacter", "RNNTextConfig"]

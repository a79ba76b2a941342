"""Recurrent networks on tasks of memory."""

from experiments.rnn.config import RNNConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, MemoryTasks="lesson")
__all__ = ["MemoryTasks", "RNNConfig"]

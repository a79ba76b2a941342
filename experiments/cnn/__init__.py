"""Convolutional networks on photographs of cats and dogs."""

from experiments.cnn.config import CNNConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, CatsAndDogs="lesson")
__all__ = ["CNNConfig", "CatsAndDogs"]

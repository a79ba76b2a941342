"""Classification of whole sequences, with interchangeable encoders."""

from experiments.seq_classification.config import SequenceConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, SequenceClassification="lesson")
__all__ = ["SequenceClassification", "SequenceConfig"]

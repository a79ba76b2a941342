"""Kinds of recurrent cells, compared over seeds."""

from experiments.rnn_cells.config import RNNCellsConfig
from harness.lazy import lazy

__getattr__ = lazy(__name__, CellComparison="lesson")
__all__ = ["CellComparison", "RNNCellsConfig"]

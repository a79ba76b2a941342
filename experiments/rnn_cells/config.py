"""What the comparison of recurrent cells can be told."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from experiments.rnn.config import RNNConfig
from harness.config import STRICT
from harness.training.config import ComparisonConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNCellsConfig(RNNConfig, ComparisonConfig):
    """Train a recurrent network, and compare kinds of cells of as many parameters over seeds."""

    entry_point: ClassVar[str] = "rnn_cells"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = ("", "--task variable_echo --length 20 --seeds-of-each 5")

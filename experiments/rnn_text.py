"""A recurrent network that reads a text, with the recipe that text asks for.

    python -m experiments.rnn_text
    python -m experiments.rnn_text --text novel.txt

The same as `experiments.rnn --task next_character`, with other defaults: a large LSTM, of which
much is hidden in training, since a text of a hundred thousand characters is soon known by heart.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Lt
from pydantic.dataclasses import dataclass

from datasets.characters import TaskName
from experiments import rnn
from experiments.harness.config import STRICT, Count, CountOrNone, NotNegative, Positive
from experiments.harness.experiment import Experiment
from experiments.harness.launch import launch
from experiments.harness.optimizers import OptimizerName
from models.recurrent import CellName


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNTextConfig(rnn.RNNConfig):
    """Train a recurrent network to foretell the next character of a text."""

    entry_point: ClassVar[str] = "rnn_text"
    tiny: ClassVar[Mapping[str, Any]] = {**rnn.RNNConfig.tiny, "text": "README.md"}

    task: TaskName = "next_character"
    cell: CellName = "lstm"
    hidden_size: Count = 384
    embedding_size: CountOrNone = 32
    dropout_rate: Annotated[float, Ge(0), Lt(1)] = 0.5
    optimizer: OptimizerName = "muon"
    learning_rate: Positive = 7e-3
    weight_decay: NotNegative = 0.1
    weight_average_decay: Annotated[float, Ge(0), Lt(1)] = 0.98
    batch_size: Count = 32
    length: Count = 64
    num_epochs: Count = 30


EXPERIMENT = Experiment(RNNTextConfig, rnn.learn, rnn.judge, rnn.prepare)


if __name__ == "__main__":
    launch(EXPERIMENT)

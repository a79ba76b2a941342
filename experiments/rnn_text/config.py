"""What the network that predicts the next character can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from datasets.choices import AlphabetName
from experiments.rnn.config import RecurrentConfig
from harness.config import STRICT, Configuration, OnlyIf, Rate
from harness.training.config import OptimizerName
from models.choices import NGRAM_LENGTHS, CellName

HAS_EMBEDDING_DROPOUT = OnlyIf(
    "embedding_size and dropout_rate above 0",
    lambda config: config.embedding_size > 0 and config.dropout_rate > 0,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextConfig(Configuration):
    """Which text is read."""

    group: ClassVar[str] = "data"

    text: str = ""
    """Path of a text, several with commas between, or a folder (empty: Python's documentation)."""
    alphabet: AlphabetName = "letters"
    """letters: a to z and blanks; characters: those of the text; bytes: of any file."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNTextConfig(TextConfig, RecurrentConfig):
    """Train a recurrent network to predict the next character of a text."""

    entry_point: ClassVar[str] = "rnn_text"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = (
        "",
        "--text novel.txt --cell gru",
        "--text chapters/ --alphabet characters",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "batch_size": 20,
        "hidden_size": 8,
        "longest_ngram": 3,
        "text": "README.md",
    }

    cell: CellName = "lstm"
    hidden_size: PositiveInt = 384
    embedding_size: NonNegativeInt = 32
    longest_ngram: Annotated[int, Ge(0), Le(NGRAM_LENGTHS[-1])] = 16
    """N-grams of 2 to 6, 8, 11 and 16 characters, up to this length, add to the logits (below 2:
    no n-grams)."""
    dropout_rate: Rate = 0.6
    """Fraction of hidden units, between layers and before the output, that dropout zeroes."""
    embedding_dropout_rate: Annotated[Rate, HAS_EMBEDDING_DROPOUT] = 0.2
    """Fraction of the embedding that dropout zeroes."""
    optimizer: OptimizerName = "muon"
    learning_rate: PositiveFloat = 7e-3
    weight_decay: NonNegativeFloat = 0.1
    ema_decay: Rate = 0.98
    batch_size: PositiveInt = 32
    """Streams that the text is cut into, which are read in parallel."""
    num_epochs: PositiveInt = 16
    length: PositiveInt = 64
    """Steps of truncated backpropagation through time."""

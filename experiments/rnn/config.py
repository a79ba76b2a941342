"""What recurrent networks can be told, and what the tasks of memory add to it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from datasets.choices import MAX_PAIRS, SELECTIVE_TASKS, MemoryTaskName
from harness.config import STRICT, Depth, Rate, only_if
from harness.training.config import (
    DropoutConfig,
    GeneratedDataConfig,
    OptimizerConfig,
    TrainingConfig,
)
from models.choices import CELLS_FOR_INITIALISATION, CellName, Initialisation, suits

ECHO = only_if(task=("echo", "variable_echo"))
HELD = only_if(task=("copy", *SELECTIVE_TASKS), resample_each_epoch=True)
CURRICULUM = only_if(task="copy", resample_each_epoch=True)
SELECTIVE_CURRICULUM = only_if(task=SELECTIVE_TASKS, resample_each_epoch=True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecurrentConfig(DropoutConfig, OptimizerConfig, TrainingConfig):
    """What every recurrent network over characters can be told."""

    family: ClassVar[str] = "rnn"
    group: ClassVar[str] = "model"

    cell: CellName = "gru"
    """Kind of recurrent cell."""
    hidden_size: PositiveInt = 64
    """Hidden units of each layer."""
    num_layers: Depth = 1
    """Recurrent layers, each on top of the one before."""
    embedding_size: NonNegativeInt = 0
    """Size of the embedding of characters (0: one-hot vectors)."""
    dropout_rate: Rate = 0.0
    """Fraction of embedding, hidden units between layers, and output that dropout zeroes."""
    initialisation: Literal["auto", Initialisation] = "auto"
    """Recurrent weights at the start (auto: orthogonal, or chrono where that is not defined)."""
    gradient_clip_norm: NonNegativeFloat = 1.0

    def useful_threads(self) -> int | None:
        """Return one thread for a small network, whose steps are too short to be divided."""
        return 1 if self.hidden_size <= 128 else None

    @model_validator(mode="after")
    def _initialisation_suits_cell(self) -> "RecurrentConfig":
        if self.initialisation != "auto" and not suits(self.cell, self.initialisation):
            cells = ", ".join(CELLS_FOR_INITIALISATION[self.initialisation])
            raise ValueError(
                f"initialisation={self.initialisation}: is not defined for cell={self.cell}; "
                f"allowed for {cells}"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MemoryTaskConfig(GeneratedDataConfig):
    """Which sequences are generated, and what is to be remembered of them."""

    task: MemoryTaskName = "echo"
    """What the network has to remember: datasets/memory_tasks.py, datasets/selective_tasks.py."""
    delay: Annotated[NonNegativeInt, only_if(task="echo")] = 4
    """echo: steps between a letter and its echo."""
    max_delay: Annotated[NonNegativeInt, only_if(task="variable_echo")] = 8
    """variable_echo: largest delay; that of each sequence is drawn from 0 to this."""
    length: Annotated[PositiveInt, ECHO] = 15
    """echo, variable_echo: letters of a sequence."""
    min_length: Annotated[NonNegativeInt, ECHO] = 0
    """Letters of the shortest sequence in training, padded to `length` (0: all have `length`)."""
    test_length: Annotated[NonNegativeInt, ECHO] = 25
    """Letters of the longest test sequence; the shortest has `length` (0: all have `length`)."""
    blank_length: Annotated[PositiveInt, only_if(task="copy")] = 200
    """copy: steps from the last symbol to the marker after which they are to be repeated."""
    initial_blank_length: Annotated[NonNegativeInt, CURRICULUM] = 5
    """copy: the same in the first epochs; it then grows to `blank_length` (0: no curriculum)."""
    sequence_length: Annotated[PositiveInt, only_if(task=SELECTIVE_TASKS)] = 64
    """Steps of a sequence; of selective_copying those before the recall."""
    initial_sequence_length: Annotated[NonNegativeInt, SELECTIVE_CURRICULUM] = 0
    """The same in the first epochs; it then grows to `sequence_length` (0: no curriculum)."""
    mix_lengths: Annotated[bool, HELD] = False
    """Draw the length of each batch, from the shortest possible to that of the epoch."""
    num_items: Annotated[PositiveInt, only_if(task=("selective_copying", "associative_recall"))] = 8
    """selective_copying: symbols to remember; associative_recall: pairs of key and value."""
    resample_each_epoch: bool = True
    """Generate new sequences for each epoch, rather than train on the same ones again."""
    num_train: PositiveInt = 12_800
    num_test: PositiveInt = 500
    """Sequences that the chosen network is evaluated on, of each length."""

    @model_validator(mode="after")
    def _lengths_and_delays_agree(self) -> "MemoryTaskConfig":
        initial = self.changes().get("initial_blank_length", 0)
        if initial > self.blank_length:
            raise ValueError(
                f"initial_blank_length={initial}: exceeds blank_length={self.blank_length}"
            )
        if self.task not in ("echo", "variable_echo"):
            return self
        if self.min_length > self.length:
            raise ValueError(f"min_length={self.min_length}: exceeds length={self.length}")
        if 0 < self.test_length < self.length:
            raise ValueError(
                f"test_length={self.test_length}: is less than length={self.length}; "
                "0 stands for the same"
            )
        name = "delay" if self.task == "echo" else "max_delay"
        shortest, delay = self.min_length or self.length, getattr(self, name)
        if delay >= shortest:
            raise ValueError(
                f"{name}={delay}: has to be below {shortest}, the length of a sequence"
            )
        return self

    @model_validator(mode="after")
    def _items_find_room(self) -> "MemoryTaskConfig":
        items, name = self.num_items, "sequence_length"
        if self.task == "associative_recall" and items > MAX_PAIRS:
            raise ValueError(f"num_items={items}: there are letters for {MAX_PAIRS} pairs")
        if self.initial_sequence_length > self.sequence_length:
            raise ValueError(
                f"initial_sequence_length={self.initial_sequence_length}: exceeds "
                f"sequence_length={self.sequence_length}"
            )
        if self.initial_sequence_length:
            name = "initial_sequence_length"
        steps = getattr(self, name)
        if self.task == "induction_heads" and steps < self.shortest_length:
            raise ValueError(f"{name}={steps}: induction_heads needs 3 steps or more")
        if self.shortest_length > steps:
            raise ValueError(
                f"num_items={items}: exceeds {steps * items // self.shortest_length}, for which "
                f"there is room in {name}={steps} of {self.task}"
            )
        return self

    @property
    def shortest_length(self) -> int:
        """The fewest blanks or steps in which what is to be remembered finds room."""
        for_each = {"selective_copying": 1, "associative_recall": 3}.get(self.task, 0)
        return for_each * self.num_items or {"induction_heads": 3}.get(self.task, 1)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNConfig(MemoryTaskConfig, RecurrentConfig):
    """Train a recurrent network to remember what it has read."""

    entry_point: ClassVar[str] = "rnn"
    examples: ClassVar[tuple[str, ...]] = (
        "--task variable_echo --cell lstm",
        "--task copy --cell lstm --hidden-size 128 --num-epochs 40",
        "--task parity --cell lstm --sequence-length 40",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "num_epochs": 2,
        "batch_size": 20,
        "hidden_size": 8,
        "num_train": 100,
        "num_validation": 40,
        "num_test": 40,
    }

    hidden_size: Annotated[PositiveInt, only_if(match_parameters=0)] = 64
    """Hidden units of each layer."""
    match_parameters: NonNegativeInt = 0
    """Number of parameters that the hidden units are chosen to come nearest to (0: hidden_size)."""
    num_epochs: PositiveInt = 6
    learning_rate: PositiveFloat = 1e-2
    weight_decay: NonNegativeFloat = 0.3

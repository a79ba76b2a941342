"""What sequence classification can be told."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from datasets.choices import DigitsOrder, LevelName, SequenceFormat
from harness.config import STRICT, Configuration, Depth, Fraction, OnlyIf, only_if
from harness.training.config import (
    DistillationConfig,
    DropoutConfig,
    GeneratedDataConfig,
    OptimizerConfig,
    TrainingConfig,
)
from models.choices import (
    WIDTH_STEPS,
    EncoderName,
    Initialisation,
    PoolingName,
    is_recurrent,
    suits,
)

TaskName = Literal["temporal_order", "adding", "digits", "japanese_vowels", "archive"]


def only_for(*tasks: TaskName | Literal["file"]) -> OnlyIf:
    """Return the condition that the sequences are those of a task, or of a file."""
    words = [f"task={task}" if task != "file" else "data=PATH" for task in tasks]
    return OnlyIf(" or ".join(words), lambda config: config.source in tasks)


GENERATED = only_for("temporal_order", "adding")
REAL_CHANNELS = only_for("adding", "digits", "japanese_vowels", "archive", "file")
COLLECTED = only_for("digits", "japanese_vowels", "archive", "file")
SERIES = only_for("japanese_vowels", "archive", "file")
RECURRENT = OnlyIf("a recurrent encoder", lambda config: is_recurrent(config.encoder))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TaskConfig(Configuration):
    """Which sequences there are, and what is predicted of each."""

    group: ClassVar[str] = "data"

    data: str = ""
    """File of sequences of one's own, which are classified instead of those of a task."""
    format: Annotated[SequenceFormat, only_for("file")] = "auto"
    """data: format of the file (auto: what its name and content look like)."""
    task: Annotated[TaskName, only_if(data="")] = "temporal_order"
    """What is predicted of a sequence: its class, or in the adding problem a number."""
    level: Annotated[LevelName, only_for("temporal_order")] = "hard"
    """temporal_order: length of the sequences, from 7 steps (easy) to 3,000 (abyss)."""
    num_marks: Annotated[int, Ge(2), Le(3), only_for("temporal_order")] = 2
    """temporal_order: marks whose order is the class (2: four classes, 3: eight)."""
    length: Annotated[int, Ge(2), only_for("adding")] = 200
    """adding: steps of a sequence."""
    order: Annotated[DigitsOrder, only_for("digits")] = "rows"
    """digits: one row per step (8 steps), or one pixel per step (64 steps)."""
    shuffled: Annotated[bool, only_for("digits")] = False
    """digits: put digits of every writer into every split, which is easier."""

    data_set: Annotated[str, only_for("archive")] = "GunPoint"
    """archive: set of the UCR and UEA archives that aeon contains, such as OSULeaf."""
    baselines: Annotated[bool, SERIES] = False
    """Also train and test MultiRocketHydra and 1-NN with dynamic time warping, both of aeon."""

    @property
    def source(self) -> str:
        """The task, or `file` where the sequences are those of a file."""
        return "file" if self.data else self.task


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SequenceModelConfig(Configuration):
    """Encoder, pooling and their size."""

    group: ClassVar[str] = "model"

    encoder: EncoderName = "gru"
    """Network that computes the features of every step."""
    bidirectional: Annotated[bool, RECURRENT] = False
    """Read from both ends, with half of the width each: best with a pooling other than last."""
    pooling: PoolingName = "last"
    """How the features of all steps become one vector."""
    width: Annotated[PositiveInt, only_if(match_parameters=0)] = 16
    """Features of each layer."""
    match_parameters: NonNegativeInt = 0
    """Number of parameters that the width is chosen to come nearest to (0: width is used)."""
    num_layers: Depth = 1
    """Layers of the encoder."""
    initialisation: Annotated[Literal["auto", Initialisation], RECURRENT] = "auto"
    """Recurrent weights at the start (auto: chrono for gated cells, orthogonal for rnn)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SequenceAugmentationConfig(Configuration):
    """How sequences are changed at random in training."""

    group: ClassVar[str] = "augmentation"

    distortion: Annotated[float, Ge(0), Le(4), only_for("digits")] = 0.0
    """digits: largest displacement of an edge by a random affine map, in pixels."""
    noise: Annotated[NonNegativeFloat, REAL_CHANNELS] = 0.0
    """Standard deviation of noise on each step, relative to that of the channel."""
    offset: Annotated[NonNegativeFloat, REAL_CHANNELS] = 0.0
    """Standard deviation of noise common to all steps of a channel, in the same unit."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SequenceConfig(
    SequenceAugmentationConfig,
    OptimizerConfig,
    DropoutConfig,
    SequenceModelConfig,
    GeneratedDataConfig,
    TaskConfig,
    DistillationConfig,
    TrainingConfig,
):
    """Train a network to classify whole sequences."""

    family: ClassVar[str] = "seq_classification"
    entry_point: ClassVar[str] = "seq_classification"
    group: ClassVar[str] = "training"
    examples: ClassVar[tuple[str, ...]] = (
        "--num-marks 3 --encoder lstm",
        "--data recordings.ts --encoder fcn --pooling mean",
        "--task archive --data-set OSULeaf --encoder fcn --pooling mean --baselines",
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "level": "easy",
        "num_epochs": 2,
        "batch_size": 20,
        "width": 8,
        "num_train": 100,
        "num_validation": 40,
        "num_test": 60,
    }

    num_train: Annotated[PositiveInt, GENERATED] = 500
    """temporal_order, adding: sequences of an epoch; every epoch has new ones."""
    num_validation: Annotated[PositiveInt, GENERATED] = 500
    """temporal_order, adding: sequences that the epoch is chosen by."""
    num_test: Annotated[PositiveInt, GENERATED] = 1000
    """temporal_order, adding: sequences that the chosen model is evaluated on, once."""
    refit: Annotated[bool, COLLECTED] = False
    """Train on training and validation split together, once all is chosen; keep the last epoch."""
    num_epochs: PositiveInt = 24
    lr_warmup_fraction: Fraction | Literal["auto"] = 0.1
    batch_size: PositiveInt = 10
    learning_rate: PositiveFloat = 1e-2
    gradient_clip_norm: NonNegativeFloat = 1.0

    def useful_threads(self) -> int | None:
        """Return one thread for a small network, whose steps are too short to be divided."""
        is_small = self.match_parameters <= 20_000 if self.match_parameters else self.width <= 64
        return 1 if is_small else None

    @model_validator(mode="after")
    def _consistent(self) -> "SequenceConfig":
        if self.initialisation != "auto" and not suits(self.encoder, self.initialisation):
            raise ValueError(
                f"initialisation={self.initialisation}: not defined for encoder={self.encoder}"
            )
        no_validation = "refit=True: leaves no validation split, which"
        if self.refit and (patience := self.early_stopping_epochs):
            raise ValueError(f"{no_validation} early_stopping_epochs={patience} needs")
        if self.refit and self.lr_schedule == "plateau":
            raise ValueError(f"{no_validation} lr_schedule=plateau needs")
        if not self.match_parameters:
            if self.width % (step := WIDTH_STEPS.get(self.encoder, 1)):
                allowed = f"a multiple of {step} for encoder={self.encoder}"
                raise ValueError(f"width={self.width}: {allowed}")
            if self.bidirectional and self.width % 2:
                raise ValueError(f"width={self.width}: an even number with bidirectional=True")
        return self

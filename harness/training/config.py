"""What a training can be told: what all experiments share, then what some of them add.

Of each parameter, the default stands here, unless an experiment declares one of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from annotated_types import Ge, Gt, Le
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from harness.config import STRICT, Configuration, Fraction, OnlyIf, Rate, only_if
from harness.execution.config import ExecutionConfig
from harness.tracking.config import TrackingConfig, require_seeds
from harness.wording import as_words

MAX_LETTERS = 80
"""Of the name of a run, which stands in a narrow column."""
ScheduleName = Literal["constant", "step", "exponential", "cosine", "one_cycle", "plateau"]
OptimizerName = Literal["adamw", "sgd", "muon"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LearningRateDecay(Configuration):
    """How the learning rate changes from the first optimiser step to the last."""

    group: ClassVar[str] = "learning-rate decay"
    is_shared: ClassVar[bool] = True

    lr_schedule: ScheduleName = "one_cycle"
    """How the learning rate decays."""
    lr_warmup_fraction: Fraction | Literal["auto"] = "auto"
    """Fraction of all steps of linear warm-up (0: none; auto: 0.3 for one_cycle, else 0)."""
    lr_decay_epochs: Annotated[PositiveInt, only_if(lr_schedule=("step", "plateau"))] = 10
    """step: epochs between two decays; plateau: epochs without improvement before one."""
    lr_decay_factor: Annotated[float, Gt(0), Le(1), only_if(lr_schedule=("step", "plateau"))] = 0.3
    """step, plateau: what a decay multiplies the learning rate by."""
    lr_final_fraction: Annotated[
        float, Gt(0), Le(1), only_if(lr_schedule=("exponential", "cosine"))
    ] = 0.01
    """exponential, cosine: final learning rate as a fraction of the highest."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HardwareConfig(Configuration):
    """Where a run computes, and in which arithmetic."""

    group: ClassVar[str] = "hardware"
    is_shared: ClassVar[bool] = True

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes the GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass (auto: bf16 where there are units for it that help)."""
    compile: bool = False
    """Compile the model (torch.compile); pays in long runs on a GPU."""
    threads: Annotated[int, Ge(0), Le(1024)] = 0
    """CPU threads to compute with (0: as many as there are cores and as help)."""

    def useful_threads(self) -> int | None:
        """Return how many CPU threads help a run of this size (None: as many as there are)."""
        return None

    def gains_from_bf16(self) -> bool:
        """Return whether bf16 is faster on a CPU that has units for it: large convolutions are."""
        return False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig(ExecutionConfig, TrackingConfig, HardwareConfig, LearningRateDecay):
    """What every experiment can be told; its entry point is named like its folder."""

    group: ClassVar[str] = "training"
    is_shared: ClassVar[bool] = True
    family: ClassVar[str]
    """The tag `architecture`, the name of the registered model and of the MLflow experiment."""
    compares: ClassVar[bool] = False
    """Whether an evaluation trains networks of its own, to compare them."""
    small: ClassVar[Mapping[str, Any]] = {}
    """Values with which `main` trains it within a minute, and without network."""

    num_epochs: PositiveInt = 40
    """Passes over the training split."""
    batch_size: PositiveInt = 128
    """Samples per optimiser step."""
    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate of the schedule."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay: decoupled from the gradient in AdamW and Muon, part of it in SGD."""
    gradient_clip_norm: NonNegativeFloat = 0.0
    """Largest Euclidean norm of the gradient over all parameters (0: no clipping)."""
    ema_decay: Rate = 0.0
    """Decay of an exponential moving average of the weights, which is evaluated (0: none)."""
    early_stopping_epochs: NonNegativeInt = 0
    """Stop after this many epochs without a better validation result (0: never)."""

    @property
    def has_several_trainings(self) -> bool:
        """Whether there are several seeds, or networks to compare."""
        return self.seeds > 1 or self.compares

    @property
    def needs_forkserver(self) -> bool:
        """Whether workers may be forked: not where a single run, by default, takes every core."""
        is_alone = self.workers == "auto" and self.useful_threads() is None
        return super().needs_forkserver and not is_alone

    def for_seed(self, seed: int) -> Self:
        """Return the configuration of a single run with a seed."""
        return type(self).effective(**{**self.changes(), "seed": seed, "seeds": 1, "resume": ""})

    def as_run_name(self) -> str:
        """Return what this run has other than the defaults; of one that has nothing, its seed.

        The MLflow experiment is that of the architecture: other entry points of it are named. Of a
        path, only the last part is.
        """
        settings = {
            name: value.rpartition("/")[2] if isinstance(value, str) else value
            for name, value in self._settings().items()
        }
        words = as_words(settings or {"seed": self.seed})
        if not settings or self.entry_point != self.family:
            words = [self.entry_point, *words]
        name = " ".join(words)
        return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 4]} ..."


C = TypeVar("C", bound=TrainingConfig)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ComparisonConfig(TrainingConfig):
    """For experiments that train several networks of each kind, to compare the kinds."""

    group: ClassVar[str] = "training"
    compares: ClassVar[bool] = True

    seeds_of_each: PositiveInt = 3
    """Networks of each kind to compare, with seeds from `seed` upwards."""

    @model_validator(mode="after")
    def _seeds_of_each_are_seeds(self) -> Self:
        require_seeds(self.seed + self.seeds - 1, "seeds_of_each", self.seeds_of_each)
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptimizerConfig(Configuration):
    """For experiments that leave the choice of the optimiser to the user."""

    group: ClassVar[str] = "training"

    optimizer: OptimizerName = "adamw"
    """Optimiser; SGD has a Nesterov momentum of 0.9; Muon is for large matrices and kernels."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DropoutConfig(Configuration):
    """For experiments whose networks have dropout."""

    group: ClassVar[str] = "model"

    dropout_rate: Rate = 0.0
    """Fraction of the features that dropout zeroes in training."""


TAUGHT = OnlyIf("a teacher", lambda config: bool(config.teacher))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistillationConfig(Configuration):
    """For experiments whose networks can learn from the probabilities of another one."""

    group: ClassVar[str] = "distillation"

    teacher: str = ""
    """Run id or URI of a trained model whose probabilities are learned, too (empty: none)."""
    distillation_weight: Annotated[Fraction, TAUGHT] = 0.5
    """Weight of the teacher's probabilities in the loss; that of the labels is the rest."""
    distillation_temperature: Annotated[PositiveFloat, TAUGHT] = 2.0
    """What the logits of both networks are divided by before they are compared."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GeneratedDataConfig(Configuration):
    """For experiments whose samples are generated, as many as are wanted."""

    group: ClassVar[str] = "data"

    num_train: PositiveInt = 500
    """Samples of a training epoch."""
    num_validation: PositiveInt = 500
    """Samples that the epoch is chosen by."""
    num_test: PositiveInt = 1000
    """Samples that the chosen model is evaluated on, once."""

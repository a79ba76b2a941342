"""What an experiment is: data, model, training, evaluation, figures, in this order.

An experiment is a class with five methods, as a notebook would have five sections. It sees no run,
no checkpoint, no device and no random seed: `harness.training.train` calls it, and
`harness.run_experiment` tracks what comes out.
"""

import functools
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL.Image import Image
from torch import Tensor, nn

from harness import fingerprints
from harness.fingerprints import DataSet
from harness.serving.served_model import ServedModel
from harness.training.batches import Batches, GeneratedSamples, TensorBatches
from harness.training.config import C
from harness.training.history import History
from harness.training.metrics import StepOutput, scalars
from harness.training.optimizers import build_optimizer

if TYPE_CHECKING:
    from harness.evaluation import Predictions

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[S]):
    """The data of a run; its test split is loaded when it is first read.

    A split is a named tuple whose first field holds the inputs, and which has `labels` or
    `targets`; or, for training, `GeneratedSamples`. The name is that of the data set.
    """

    name: str
    train: Any
    validation: S
    load_test: Callable[[], S]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of the content, by split; those that are missing are hashes of the split's values."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Samples of each class by split, also of the test split, which is not read for it."""
    skipped: Sequence[tuple[str, str]] = ()
    """Files, rows or lines that were left out, each with the reason."""

    @functools.cached_property
    def test(self) -> S:
        """The test split, which is read once, after everything was chosen."""
        return self.load_test()

    def fingerprint(self, split: str) -> str:
        """Return the fingerprint of a split, which is read for it if none is given."""
        return self.fingerprints.get(split) or fingerprints.of_split(getattr(self, split))

    @functools.cached_property
    def data_set(self) -> DataSet:
        """Which data these are: by the validation split, and by all fingerprints that are given.

        Where samples are counted, they are collected and not generated, so that training counts.
        """
        splits = ("train", "validation") if self.counts else ("validation",)
        known = {**self.fingerprints, **{split: self.fingerprint(split) for split in splits}}
        return DataSet(self.name, fingerprints.of_splits(known))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training leaves behind."""

    config: Any
    data: Any
    """The `Splits`, on the CPU."""
    model: Any
    """The best by validation, on the CPU, in evaluation mode."""
    untrained: Any
    """The model as it was initialised, likewise."""
    history: History


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model reaches on the test split; experiments add the predictions themselves."""

    metrics: dict[str, float]
    """`test/...`, and what else is measured once."""
    headline: str
    """One sentence for the description of the run."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Named columns of equal length, by the name of their table."""
    series: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Metrics over something that is no epoch, such as a number of experts."""


class Animation(NamedTuple):
    """Frames of equal size, each shown for so many milliseconds, the last one longer."""

    frames: list[Image]
    milliseconds: int
    epochs: Sequence[int] = ()
    """Those that the frames show; some of them are then logged as images of their epochs, too."""


NamedFigure = tuple[str, Figure | Animation]
ImagesByEpoch = Mapping[int, Image]
Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ModelExport:
    """A model as it is logged: a function of one tensor, and of raw inputs."""

    module: nn.Module
    example_input: np.ndarray
    """One or two samples, which give the model its signature."""
    dynamic_dims: tuple[int, ...] = (0,)
    """Dimensions of the input that may have any size: batch, and number of steps."""
    input_range: tuple[float, float] | None = None
    """Least and greatest number of an input (None: the module checks its input by itself)."""
    max_numbers: int = 100_000
    """How many numbers one request may hold: the bound of its time and memory."""
    weights_prefix: str = ""
    """What the names of the trained model's weights begin with in `module`, such as `network.`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What inputs and outputs stand for, such as names of classes; JSON-serialisable."""
    served_class: type[ServedModel[Any]] | None = None
    """How the model takes raw inputs (None: it takes arrays only)."""
    raw_example: Sequence[Mapping[str, Any]] = ()
    """A few rows of raw inputs, which give the served model its signature."""


class Experiment(ABC, Generic[C]):
    """One architecture, as commands, tests and the tuner know it."""

    config_class: ClassVar[type[Any]]
    monitor: ClassVar[str] = "val/loss"
    """The metric that decides which epoch is best: a low one, unless `maximise`."""
    maximise: ClassVar[bool] = False
    compiled_method: ClassVar[str] = "forward"
    """What the loss calls of the model, and is compiled if that is asked for."""

    @property
    def name(self) -> str:
        """The entry point."""
        return str(self.config_class.entry_point)

    def title(self, config: C) -> str:
        """Return what the progress bar says."""
        return f"{self.name}, seed {config.seed}"

    # 1 Data

    @abstractmethod
    def load_data(self, config: C) -> Any:
        """Return the `Splits`, on the CPU, or raise a `UserError` if they cannot be had."""

    # 2 Model

    @abstractmethod
    def build_model(self, config: C, data: Any) -> nn.Module:
        """Return the model, freshly initialised, on the CPU."""

    # 3 Training

    @abstractmethod
    def loss(self, config: C, model: Any, batch: Any) -> StepOutput:
        """Return loss and metrics of a batch, in training and in evaluation mode."""

    def find_teacher(self, config: C, data: Any) -> Callable[[], nn.Module] | None:
        """Return what loads the network whose probabilities are learned, too; None without one."""
        return None

    # 4 Evaluation

    @abstractmethod
    def evaluate(self, config: C, trained: Trained, test: Any) -> Evaluation:
        """Evaluate the chosen model on the test split; nothing is chosen after it."""

    def predictions(self, trained: Trained, split: Any) -> "Predictions | None":
        """Return what a classifier predicts for a split; None of what is no classifier."""
        return None

    # 5 Figures

    @abstractmethod
    def figures(self, config: C, trained: Trained, evaluation: Any) -> Iterator[NamedFigure]:
        """Draw the figures one after the other; each is logged before the next is drawn."""

    # What most experiments leave as it is.

    def images(self, config: C, trained: Trained) -> ImagesByEpoch:
        """Draw what changes from epoch to epoch, for `trained.history.milestones()`."""
        return {}

    def data_bytes(self, config: C) -> int:
        """Return how many bytes the splits take at least, as far as the configuration tells."""
        return 0

    def training_batches(self, config: C, data: Any, epoch: int) -> Batches:
        """Return the batches of an epoch, counted from 1; `data` lies on the device."""
        if isinstance(data.train, GeneratedSamples):
            return data.train.batches(epoch)
        return TensorBatches(*data.train, batch_size=config.batch_size, shuffle=True)

    def has_validation(self, config: C) -> bool:
        """Return whether there is a validation split; without, the last epoch is kept."""
        return True

    def validation_batches(self, config: C, data: Any) -> Batches:
        """Return the batches of the validation split; `data` lies on the device."""
        return TensorBatches(*data.validation, batch_size=500)

    def optimizer(self, config: Any, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser, with the highest learning rate in its parameter groups."""
        return build_optimizer(config.optimizer, model, config)

    def clip_gradients(self, model: nn.Module, max_norm: float) -> None:
        """Clip the gradients; by default by their norm over all parameters together."""
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)

    def step(self, optimizer: torch.optim.Optimizer, batch: Any) -> None:
        """Take an optimiser step, after the batch's gradients; one may be given the batch, too."""
        optimizer.step()

    def summarise(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Turn an epoch's metrics, of any shape, into the scalars that are logged."""
        return scalars(metrics)

    def snapshot_epochs(self, config: C) -> set[int]:
        """Return the epochs after which the weights are kept in the history, for a figure."""
        return set()

    def select_model(self, config: C, data: Any, model: nn.Module, history: History) -> Any:
        """Return what is kept of the model that was trained; by default all of it."""
        return model

    def restore_model(self, config: Any, data: Any, weights: Mapping[str, Tensor]) -> Any:
        """Return the model that was kept, from its weights: what was exported cannot be opened."""
        model = self.build_model(config, data)
        model.load_state_dict(weights)
        return model.eval()

    def example_arrays(self, split: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets of a split, to be logged as a data set."""
        targets = split.labels if hasattr(split, "labels") else split.targets
        return split[0].cpu().numpy(), targets.cpu().numpy()

    # What stands in other files of its folder.

    def export(self, config: C, trained: Trained) -> ModelExport:
        """Return the model as it is logged: what `export` in inference.py says."""
        return self.companion("inference").export(config, trained)  # type: ignore[no-any-return]

    def companion(self, name: str) -> Any:
        """Return a module of the experiment's folder, or of the one that it extends."""
        for parent in type(self).__mro__:
            package = parent.__module__.rpartition(".")[0]
            module = f"{package}.{name}"
            if package and importlib.util.find_spec(package) and importlib.util.find_spec(module):
                return importlib.import_module(module)
        raise LookupError(f"{self.name} has no module {name}")


AnyExperiment = Experiment[Any]

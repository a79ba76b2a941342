"""RNN, LSTM and GRU side by side: the same task and configuration, several seeds of each.

One network is trained and evaluated as in `MemoryTasks`; then several of each kind of cell are
trained, and their accuracies on the validation split compared epoch by epoch.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from datasets.memory_tasks import Sequences
from experiments.rnn.config import RNNConfig
from experiments.rnn.lesson import MemoryEvaluation, MemoryTasks
from experiments.rnn_cells.config import RNNCellsConfig
from harness.evaluation import sample_std
from harness.experiment import NamedFigure, Trained
from harness.figures import training
from harness.training.train import train_with_seeds
from models.choices import CellName, suits

COMPARED: tuple[CellName, ...] = ("rnn", "lstm", "gru")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellEvaluation(MemoryEvaluation):
    """The evaluation of the one network, and the comparison of the cells."""

    val_accuracies: Mapping[str, np.ndarray]
    """(seeds, epochs) for each cell."""


class CellComparison(MemoryTasks):
    """Compare kinds of cells over seeds; data, model and training stay as they are."""

    config_class = RNNCellsConfig

    # 4 Evaluation

    def evaluate(self, config: RNNConfig, trained: Trained, test: Sequences) -> CellEvaluation:
        """Evaluate the one network, then train several of each cell.

        They are compared on the validation split: the test split has been read.
        """
        evaluation = super().evaluate(config, trained, test)
        val_accuracies: dict[str, np.ndarray] = {
            cell: self.val_accuracies(config, cell, count=trained.config.seeds_of_each)
            for cell in COMPARED
        }
        metrics = dict(evaluation.metrics)
        for cell, values in val_accuracies.items():
            metrics[f"by_cell/{cell}_val_accuracy_mean"] = float(values[:, -1].mean())
            metrics[f"by_cell/{cell}_val_accuracy_std"] = sample_std(values[:, -1].tolist())
        changed = {"metrics": metrics, "val_accuracies": val_accuracies}
        return CellEvaluation(**{**vars(evaluation), **changed})

    def val_accuracies(self, config: RNNConfig, cell: CellName, count: int) -> np.ndarray:
        """Return the validation accuracy for each seed and epoch, (count, epochs)."""
        usable = suits(cell, config.initialisation)
        config = config.replace(
            cell=cell,
            initialisation=config.initialisation if usable else "default",
            early_stopping_epochs=0,  # curves of one length
        )
        results = train_with_seeds(self, config, count)
        return np.stack([trained.history.column("val/accuracy") for trained in results])

    # 5 Figures

    def figures(
        self, config: RNNConfig, trained: Trained, evaluation: MemoryEvaluation
    ) -> Iterator[NamedFigure]:
        """Draw what the one network remembers, and the comparison."""
        yield from super().figures(config, trained, evaluation)
        assert isinstance(evaluation, CellEvaluation)
        y = f"validation accuracy, {config.task}"
        yield "cells", training.compared(evaluation.val_accuracies, y)


EXPERIMENT = CellComparison()

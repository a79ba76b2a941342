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

    # 4 Evaluation: cells are compared on the validation split; the test split has been read.

    def evaluate(self, config: RNNConfig, trained: Trained, test: Sequences) -> CellEvaluation:
        """Evaluate the one network, then train several of each cell."""
        evaluation = super().evaluate(config, trained, test)
        metrics, val_accuracies = dict(evaluation.metrics), {}
        for cell in COMPARED:
            usable = suits(cell, config.initialisation)
            of_cell = config.replace(
                cell=cell,
                initialisation=config.initialisation if usable else "default",
                early_stopping_epochs=0,  # curves of one length
            )
            networks = train_with_seeds(self, of_cell, trained.config.seeds_of_each)
            curves = np.stack([each.history.column("val/accuracy") for each in networks])
            metrics[f"by_cell/{cell}_val_accuracy_mean"] = float(curves[:, -1].mean())
            metrics[f"by_cell/{cell}_val_accuracy_std"] = sample_std(curves[:, -1].tolist())
            val_accuracies[cell] = curves
        changed = {"metrics": metrics, "val_accuracies": val_accuracies}
        return CellEvaluation(**{**vars(evaluation), **changed})

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

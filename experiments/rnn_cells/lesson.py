"""Recurrent cells side by side: the same task, about as many parameters, several seeds of each.

One network is trained and evaluated as in `MemoryTasks`; then several of each kind of cell are
trained, and their accuracies on the validation split compared epoch by epoch. An LSTM has four
times the weights of an RNN of its size: so each cell has the hidden units with which its network
comes nearest to the parameters of the one network. A cell whose gates do not see the state has two
layers, for only the second sees more than one step. All else, such as the learning rate, is equal;
`python -m tuning.compare rnn cell` tunes each cell instead.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from datasets.memory_tasks import Sequences
from experiments.rnn.config import RNNConfig
from experiments.rnn.lesson import MemoryEvaluation, MemoryTasks
from experiments.rnn.network import matching_units
from experiments.rnn_cells.config import RNNCellsConfig
from harness.evaluation import sample_std
from harness.execution.train_all import train_all
from harness.experiment import NamedFigure, Trained
from harness.figures import training
from models.choices import CELLS, SCANNED, CellName, suits
from models.size import num_parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellEvaluation(MemoryEvaluation):
    """The evaluation of the one network, and the comparison of the cells."""

    val_accuracies: Mapping[str, np.ndarray]
    """(seeds, epochs) for each cell, such as `lstm, 56 units`."""


class CellComparison(MemoryTasks):
    """Compare kinds of cells over seeds; data, model and training stay as they are."""

    config_class = RNNCellsConfig

    # 4 Evaluation: cells are compared on the validation split; the test split has been read.

    def evaluate(self, config: RNNConfig, trained: Trained, test: Sequences) -> CellEvaluation:
        """Evaluate the one network, then train several of each cell."""
        evaluation = super().evaluate(config, trained, test)
        metrics, val_accuracies = dict(evaluation.metrics), {}
        count = num_parameters(trained.model)
        seeds = range(config.seed, config.seed + trained.config.seeds_of_each)
        by_cell = {cell: self.with_cell(config, cell, count) for cell in CELLS}
        each = {(c, s): of_cell.replace(seed=s) for c, of_cell in by_cell.items() for s in seeds}
        networks = train_all(self, each, config)
        for cell, of_cell in by_cell.items():
            histories = [networks[cell, seed].history for seed in seeds]
            curves = np.stack([each.column("val/accuracy") for each in histories])
            measured = {
                "val_accuracy_mean": float(curves[:, -1].mean()),
                "val_accuracy_std": sample_std(curves[:, -1].tolist()),
                "hidden_size": of_cell.hidden_size,
                "num_parameters": num_parameters(networks[cell, config.seed].model),
            }
            metrics |= {f"by_cell/{cell}_{name}": value for name, value in measured.items()}
            val_accuracies[f"{cell}, {of_cell.hidden_size} units"] = curves
        means = [f"{name}: {curves[:, -1].mean():.4f}" for name, curves in val_accuracies.items()]
        headline = f"{evaluation.headline} Validation accuracy by cell: {'; '.join(means)}."
        changed = {"metrics": metrics, "val_accuracies": val_accuracies, "headline": headline}
        return CellEvaluation(**{**vars(evaluation), **changed})

    def with_cell(self, config: RNNConfig, cell: CellName, count: int) -> RNNConfig:
        """Return the configuration of a network with this cell and about `count` parameters."""
        usable = config.initialisation == "auto" or suits(cell, config.initialisation)
        of_cell = config.replace(
            cell=cell,
            num_layers=max(2, config.num_layers) if cell in SCANNED else config.num_layers,
            initialisation=config.initialisation if usable else "auto",
            early_stopping_epochs=0,  # curves of one length
            seeds_of_each=1,
        )
        units = matching_units(self.network_arguments(of_cell), count)
        return of_cell.replace(match_parameters=0, hidden_size=units)

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

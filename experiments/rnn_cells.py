"""RNN, LSTM and GRU side by side: the same task and recipe, several seeds of each.

    python -m experiments.rnn_cells
    python -m experiments.rnn_cells --task variable_echo --length 20 --hidden-size 128

Trains one network as `experiments.rnn` does, then one of each kind for each of several seeds, and
shows how their accuracy on validation rises from epoch to epoch.
"""

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from experiments import rnn
from experiments.figures import training
from experiments.harness.config import STRICT, Count
from experiments.harness.device import Hardware
from experiments.harness.experiment import Experiment, learn_with_seeds
from experiments.harness.launch import launch
from experiments.harness.tracking import Run, spread
from models.recurrent import FOR_CELLS, CellName

COMPARED: tuple[CellName, ...] = ("rnn", "lstm", "gru")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RNNCellsConfig(rnn.RNNConfig):
    """Train a recurrent network, and compare kinds of cells over seeds."""

    entry_point: ClassVar[str] = "rnn_cells"

    seeds_of_each: Count = 3
    """Networks of each kind of cell to compare, with seeds from `seed` upwards."""


def judge(
    config: RNNCellsConfig, hardware: Hardware, learnt: rnn.LearntNetwork, run: Run
) -> dict[str, float]:
    """Judge the one network, then compare the kinds, on validation: the test has been read."""
    metrics = rnn.judge(config, hardware, learnt, run)
    accuracies: dict[str, np.ndarray] = {cell: curves(config, hardware, cell) for cell in COMPARED}
    compared = {}
    for cell, values in accuracies.items():
        compared[f"by_cell/{cell}_val_accuracy_mean"] = float(values[:, -1].mean())
        compared[f"by_cell/{cell}_val_accuracy_std"] = spread(values[:, -1].tolist())
    run.log_metrics(compared)
    run.log_figure("cells", training.compared(accuracies, f"validation accuracy, {config.task}"))
    return metrics | compared


def curves(config: RNNCellsConfig, hardware: Hardware, cell: CellName) -> np.ndarray:
    """Return validation accuracy for each seed and epoch, (seeds, epochs)."""
    usable = cell in FOR_CELLS[config.initialisation]
    recipe = config.replace(
        cell=cell,
        initialisation=config.initialisation if usable else "default",
        early_stopping_epochs=0,  # curves of one length
    )
    networks = learn_with_seeds(rnn.learn, recipe, hardware, config.seeds_of_each)
    return np.stack([network.history.column("val/accuracy") for network in networks])


EXPERIMENT = Experiment(RNNCellsConfig, rnn.learn, judge, rnn.prepare)


if __name__ == "__main__":
    launch(EXPERIMENT)

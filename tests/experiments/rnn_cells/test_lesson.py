"""The comparison of cells: which networks are trained, and what is reported of them."""

import numpy as np
import pytest

from experiments.rnn_cells.config import RNNCellsConfig
from experiments.rnn_cells.lesson import COMPARED, EXPERIMENT
from harness.training.train import train


def test_every_cell_is_trained_with_every_seed() -> None:
    config = RNNCellsConfig(
        **{**RNNCellsConfig.tiny, "num_test": 5}, initialisation="chrono", seeds_of_each=2
    )
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    assert tuple(evaluation.val_accuracies) == COMPARED
    # The very same training, of the cell of the configuration and of one that chrono does not suit.
    for cell, initialisation in (("gru", "chrono"), ("rnn", "default")):
        alone = config.replace(cell=cell, initialisation=initialisation, seed=1)
        expected = train(EXPERIMENT, alone).history.column("val/accuracy")
        values = evaluation.val_accuracies[cell]
        assert values.shape == (2, config.num_epochs)
        assert np.array_equal(values[1], expected)
        mean = evaluation.metrics[f"by_cell/{cell}_val_accuracy_mean"]
        std = evaluation.metrics[f"by_cell/{cell}_val_accuracy_std"]
        assert mean == pytest.approx(values[:, -1].mean())
        assert std == pytest.approx(values[:, -1].std(ddof=1))
    assert evaluation.metrics["test/accuracy"] == evaluation.predictions.accuracy
    assert evaluation.headline.startswith("gru with 8 units, echo")

"""The comparison of cells: which networks are trained, and what is reported of them."""

from typing import Any

import numpy as np
import pytest

from experiments.rnn_cells.config import RNNCellsConfig
from experiments.rnn_cells.lesson import EXPERIMENT
from harness.errors import UserError
from harness.training.train import train
from models.choices import CELLS
from models.size import num_parameters


def test_every_cell_is_trained_with_every_seed() -> None:
    config = RNNCellsConfig(
        **{**RNNCellsConfig.tiny, "num_test": 5}, initialisation="chrono", seeds_of_each=2
    )
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    metrics = evaluation.metrics
    assert [name.split(",")[0] for name in evaluation.val_accuracies] == list(CELLS)
    # The very same training, of the cell of the configuration and of one that chrono does not suit.
    for cell, initialisation in (("gru", "chrono"), ("rnn", "auto")):
        units = int(metrics[f"by_cell/{cell}_hidden_size"])
        alone = config.replace(cell=cell, hidden_size=units, initialisation=initialisation, seed=1)
        expected = train(EXPERIMENT, alone).history.column("val/accuracy")
        values = evaluation.val_accuracies[f"{cell}, {units} units"]
        assert values.shape == (2, config.num_epochs)
        assert np.array_equal(values[1], expected)
        mean = metrics[f"by_cell/{cell}_val_accuracy_mean"]
        std = metrics[f"by_cell/{cell}_val_accuracy_std"]
        assert mean == pytest.approx(values[:, -1].mean())
        assert std == pytest.approx(values[:, -1].std(ddof=1))
        assert f"{cell}, {units} units: {mean:.4f}" in evaluation.headline
    assert metrics["test/accuracy"] == evaluation.predictions.accuracy
    assert evaluation.headline.startswith("gru with 8 units, echo")
    assert metrics["by_cell/gru_hidden_size"] == 8


@pytest.mark.parametrize("values", [{}, {"task": "variable_echo", "cell": "rnn", "num_layers": 2}])
def test_every_cell_has_as_many_parameters_within_a_few_per_cent(values: dict[str, Any]) -> None:
    config = RNNCellsConfig(**values)
    data = EXPERIMENT.load_data(config)
    count = num_parameters(EXPERIMENT.build_model(config, data))
    for cell in CELLS:
        network = EXPERIMENT.build_model(EXPERIMENT.with_cell(config, cell, count), data)
        assert num_parameters(network) == pytest.approx(count, rel=0.03)


def test_the_largest_seeds_are_used_and_those_beyond_refused_before_any_run() -> None:
    largest = 2**32 - 1
    config = RNNCellsConfig(seed=largest - 1, seeds_of_each=2)
    for cell in CELLS:
        EXPERIMENT.with_cell(config, cell, 5_000).replace(seed=largest)
    with pytest.raises(UserError, match=f"seeds_of_each=2: .* exceed {largest}"):
        RNNCellsConfig(seed=largest, seeds_of_each=2)


def test_the_smallest_network_has_a_counterpart_with_each_cell() -> None:
    config = RNNCellsConfig(cell="rnn", hidden_size=1)
    assert [EXPERIMENT.with_cell(config, cell, 5).hidden_size for cell in CELLS] == [1] * len(CELLS)

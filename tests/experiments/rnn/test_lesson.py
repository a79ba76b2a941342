"""The memory tasks: what is scored, what is new in each epoch, what is resumed."""

import itertools
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from datasets.choices import SELECTIVE_TASKS, MemoryTaskName
from datasets.memory_tasks import Sequences
from experiments.rnn import tasks
from experiments.rnn.config import RNNConfig
from experiments.rnn.lesson import EXPERIMENT, FACTORS
from experiments.rnn.predictions import predict
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.train import train
from models.choices import CELLS, CellName
from models.size import num_parameters
from tests.experiments.conftest import check_resuming


def small(**changes: Any) -> RNNConfig:
    values = {**RNNConfig.tiny, "checkpoint_seconds": 0.0, **changes}
    if "match_parameters" in changes and "hidden_size" not in changes:
        del values["hidden_size"]
    return RNNConfig(**values)


def padded(sequences: list[tuple[list[int], int]]) -> Sequences:
    """Return echoes of letters with their delay, padded to the longest."""
    longest = max(len(letters) for letters, _ in sequences)
    inputs = torch.tensor([letters + [0] * (longest - len(letters)) for letters, _ in sequences])
    targets = torch.zeros_like(inputs)
    for row, (letters, delay) in enumerate(sequences):
        targets[row, delay : len(letters)] = torch.tensor(letters[: len(letters) - delay])
    delays = torch.tensor([delay for _, delay in sequences])
    return Sequences(inputs, targets, targets != 0, delays)


def test_a_padded_batch_has_the_loss_of_its_sequences_one_by_one() -> None:
    config = small(task="variable_echo", max_delay=3)
    network: Any = EXPERIMENT.build_model(config, None).eval()
    sequences = [([5, 1, 9, 26, 3, 3, 8], 2), ([7, 2], 0), ([4, 4, 13, 6], 3)]
    batch = padded(sequences)
    output = EXPERIMENT.loss(config, network, batch)
    losses, correct, whole = [], [], []
    for letters, delay in sequences:
        logits, _ = network(torch.tensor([letters]), torch.tensor([delay]))
        predicted = logits[0, delay:]
        expected = torch.tensor(letters[: len(letters) - delay])
        losses += F.cross_entropy(predicted, expected, reduction="none").tolist()
        hits = (predicted.argmax(-1) == expected).tolist()
        correct += hits
        whole.append(all(hits))
    assert output.num_samples == len(losses)
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(correct))
    assert output.metrics["sequence_accuracy"].item() == pytest.approx(np.mean(whole))
    predictions = predict(network, batch)
    assert predictions.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert predictions.accuracy == pytest.approx(np.mean(correct))
    assert predictions.sequence_accuracy == pytest.approx(np.mean(whole))


def test_each_epoch_has_new_sequences_unless_they_are_fixed() -> None:
    config = small()
    data = EXPERIMENT.load_data(config)
    first, second, again = (
        torch.cat([batch.inputs for batch in EXPERIMENT.training_batches(config, data, epoch)])
        for epoch in (1, 2, 1)
    )
    assert len(first) == 100
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert len(set(map(tuple, torch.cat([first, second]).tolist()))) == 200
    config = small(resample_each_epoch=False)
    data = EXPERIMENT.load_data(config)
    epochs = [
        torch.cat([inputs for inputs, *_ in EXPERIMENT.training_batches(config, data, epoch)])
        for epoch in (1, 2)
    ]
    rows = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert rows[0] == rows[1]
    assert not torch.equal(*epochs)


def test_every_batch_has_a_length_of_its_own_if_they_are_mixed() -> None:
    config = small(task="copy", blank_length=20, mix_lengths=True, num_epochs=2)
    data = EXPERIMENT.load_data(config)
    for epoch in (1, 2):
        lengths = [
            batch.inputs.shape[1] for batch in EXPERIMENT.training_batches(config, data, epoch)
        ]
        first = (epoch - 1) * len(lengths)
        expected = [tasks.for_training(config, epoch, first + k) for k in range(len(lengths))]
        assert lengths == [task.max_length for task in expected]
        assert len(set(lengths)) > 1
    assert data.validation.inputs.shape[1] == 40


def test_the_blank_length_that_was_trained_with_is_measured() -> None:
    config = small(task="copy", blank_length=20, initial_blank_length=2, num_epochs=3)
    history = train(EXPERIMENT, config).history
    assert history.column("train/blank_length").tolist() == [2, 3, 20]
    assert "val/blank_length" not in history.rows[0]
    fixed = config.replace(resample_each_epoch=False, initial_blank_length=5, num_epochs=1)
    assert train(EXPERIMENT, fixed).history.rows[0]["train/blank_length"] == 20
    assert "train/blank_length" not in train(EXPERIMENT, small(num_epochs=1)).history.rows[0]
    growing = {"sequence_length": 20, "initial_sequence_length": 9, "num_epochs": 3}
    selective = small(task="selective_copying", **growing)
    history = train(EXPERIMENT, selective).history
    assert history.column("train/sequence_length").tolist() == [9, round(9 * (20 / 9) ** 0.2), 20]


def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    monkeypatch.setattr(type(EXPERIMENT), "figures", lambda *_: iter(()))
    config = small(min_length=6, num_epochs=4, dropout_rate=0.2, num_layers=2)
    check_resuming(EXPERIMENT, config)


def test_the_default_is_trained_to_echo() -> None:
    """A third of the default's training, half its units: most of a delay of two is echoed."""
    config = RNNConfig(num_epochs=3, hidden_size=32, delay=2, num_train=6_400)
    assert train(EXPERIMENT, config).history.best["val/accuracy"] > 0.9


@pytest.mark.parametrize(("cell", "count"), itertools.product(CELLS, (2_000, 20_000)))
def test_the_hidden_units_can_be_chosen_by_the_number_of_parameters(
    cell: CellName, count: int
) -> None:
    """No other number of units comes nearer."""
    config = small(cell=cell, match_parameters=count, num_layers=2)
    network: Any = EXPERIMENT.build_model(config, None)
    units = network.output[-1].in_features

    def distance(units: int) -> int:
        of_size = small(cell=cell, hidden_size=units, num_layers=2)
        return abs(num_parameters(EXPERIMENT.build_model(of_size, None)) - count)

    assert distance(units) == abs(num_parameters(network) - count)
    assert distance(units) <= min(distance(units - 1), distance(units + 1))


def test_fewer_parameters_than_the_smallest_network_has_are_refused(store: Path) -> None:
    smallest = num_parameters(EXPERIMENT.build_model(small(hidden_size=1), None))
    with pytest.raises(UserError, match=f"match_parameters=1: .*cell=gru has {smallest} param"):
        run_experiment(EXPERIMENT, small(match_parameters=1))
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []
    with pytest.raises(UserError, match=r"hidden_size=9: has no effect.*match_parameters=0"):
        small(hidden_size=9, match_parameters=2_000)


def test_the_images_show_the_accuracy_by_position_on_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over batches that are not full, too; the last image is that of the model that is kept."""
    shown: dict[int, list[np.ndarray]] = {}

    def drawn(*counts: np.ndarray, chance: float, epoch: int) -> Figure:
        assert chance == pytest.approx(1 / 26)
        shown[epoch] = [*counts]
        return Figure()

    monkeypatch.setattr("experiments.rnn.figures.accuracy_by_position", drawn)
    config = small(num_validation=501, num_epochs=3)
    trained = train(EXPERIMENT, config)
    images = EXPERIMENT.images(config, trained)
    assert list(images) == list(shown) == trained.history.milestones()
    predictions = predict(trained.model, trained.data.validation)
    correct, scored = shown[trained.history.best_epoch]
    np.testing.assert_array_equal(correct, predictions.correct.sum(0).numpy())
    np.testing.assert_array_equal(scored, trained.data.validation.mask.sum(0).numpy())


def test_a_history_of_an_earlier_version_has_no_images() -> None:
    config = small()
    trained = train(EXPERIMENT, config)
    del trained.history.raw[0]["val/by_position"]
    assert EXPERIMENT.images(config, trained) == {}


@pytest.mark.parametrize("task", get_args(MemoryTaskName))
def test_the_chance_level_is_measured_and_every_figure_drawn(task: MemoryTaskName) -> None:
    config = small(task=task, num_epochs=1, num_test=9)
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    chance = tasks.for_test(config).chance_accuracy
    assert evaluation.metrics["test/chance_accuracy"] == chance
    assert f"(without memory: {chance:.4f})" in evaluation.headline
    for factor, there in evaluation.by_factor.items():
        longer = tasks.for_validation(config, factor)
        assert there.chance_accuracy == longer.chance_accuracy
        again = predict(trained.model, longer.generate(9, config.seed, "test", batch=factor))
        assert there.accuracy == again.accuracy
        assert there.sequence_accuracy == again.sequence_accuracy
    names = [name for name, _ in EXPERIMENT.figures(config, trained, evaluation)]
    assert {"accuracy_by_length", "accuracy_by_position", "memory"} <= set(names)
    assert ("writing" in names) == (task in SELECTIVE_TASKS)


def test_long_sequences_are_predicted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(task="selective_copying", cell="lstm")
    network: Any = EXPERIMENT.build_model(config, None).eval()
    sequences = tasks.for_test(config).generate(10, 0, "test")
    at_once = predict(network, sequences)
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr("experiments.rnn.predictions.STEPS_AT_ONCE", 4 * 72 + 1)
    in_pieces = predict(network, sequences)
    assert sizes == [4, 4, 2]
    assert torch.equal(at_once.symbols, in_pieces.symbols)
    assert in_pieces.loss == pytest.approx(at_once.loss)
    monkeypatch.setattr("experiments.rnn.predictions.STEPS_AT_ONCE", 1)
    assert torch.equal(at_once.symbols, predict(network, sequences).symbols)


@pytest.mark.parametrize("task", get_args(MemoryTaskName))
def test_the_bytes_of_the_data_are_those_of_its_tensors(task: MemoryTaskName) -> None:
    """Of one batch and the validation split, and of the longest sequences of the evaluation."""
    config = small(task=task, num_validation=7, num_test=5)
    data = EXPERIMENT.load_data(config)
    batch = next(iter(EXPERIMENT.training_batches(config, data, config.num_epochs)))
    longest = tasks.for_validation(config, FACTORS[-1]).generate(5, 0, "test")
    kept = sum(each.nbytes for part in (batch, data.validation, longest) for each in part[:3])
    predicted = longest.targets.nbytes
    assert EXPERIMENT.data_bytes(config) == kept + predicted

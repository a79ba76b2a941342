"""Sets of the archives, and the methods of aeon that networks are compared with on them."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import mlflow
import numpy as np
import pytest
import torch

from experiments.seq_classification import baselines, tasks
from experiments.seq_classification.lesson import EXPERIMENT
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.train import train
from tests.datasets.test_sequence_files import write_ts
from tests.experiments.seq_classification.test_lesson import small


class Remembering:
    """A classifier that says the class of the first series that it has learned."""

    asked: ClassVar[list[tuple[Any, Any, Any]]] = []

    def __init__(self, **settings: Any):
        self.settings = settings

    def fit(self, series: Any, labels: np.ndarray) -> "Remembering":
        self.series, self.labels = series, labels
        return self

    def predict(self, series: Any) -> np.ndarray:
        self.asked.append((self, series, self.settings))
        return np.full(len(series), self.labels[0])


@pytest.fixture
def aeon(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, Any]]:
    """Replace aeon, which compiles for minutes, and return what its classifiers are asked."""
    for name, classifier in (
        ("convolution_based", "MultiRocketHydraClassifier"),
        ("distance_based", "KNeighborsTimeSeriesClassifier"),
    ):
        module = ModuleType(name)
        setattr(module, classifier, Remembering)
        monkeypatch.setitem(sys.modules, f"aeon.classification.{name}", module)
    monkeypatch.setitem(sys.modules, "aeon", ModuleType("aeon"))
    monkeypatch.setitem(sys.modules, "aeon.classification", ModuleType("aeon.classification"))
    monkeypatch.setattr(baselines, "find_spec", lambda _: object())
    monkeypatch.setattr(Remembering, "asked", [])
    return Remembering.asked


def test_baselines_learn_from_all_but_the_test_split(
    aeon: list[tuple[Any, Any, Any]], tmp_path: Path
) -> None:
    config = small(data=write_ts(tmp_path / "a.ts"), num_epochs=1, baselines=True, seed=3)
    trained = train(EXPERIMENT, config)
    data, test = trained.data, trained.data.test
    evaluation = EXPERIMENT.evaluate(config, trained, test)
    known = torch.cat([data.train.labels, data.validation.labels])
    for name in baselines.NAMES:
        right = float((test.labels == known[0]).double().mean())
        assert evaluation.metrics[name] == pytest.approx(right)
        assert f"{baselines.NAMES[name]} {right:.4f}" in evaluation.headline
    (rocket, of_rocket, settings), (neighbour, of_neighbour, _) = aeon
    assert settings == {"random_state": 3}
    assert neighbour.settings == {"n_neighbors": 1, "distance": "dtw"}
    for each in (rocket, neighbour):
        np.testing.assert_array_equal(each.labels, known.numpy())
    splits = (data.train, data.validation)
    lengths = torch.cat([split.lengths for split in splits])
    assert len(lengths.unique()) > 1  # the neighbour has each series as it is
    assert [each.shape[1] for each in neighbour.series] == lengths.tolist()
    assert [each.shape[1] for each in of_neighbour] == test.lengths.tolist()
    np.testing.assert_array_equal(of_neighbour[2].T, test.inputs[2, : test.lengths[2]].numpy())
    assert rocket.series.shape == (len(known), 2, int(lengths.max()))  # and the kernels one length
    assert of_rocket.shape == (len(test.labels), 2, int(lengths.max()))


def test_series_are_resampled_linearly() -> None:
    line, bend = np.array([[0.0, 2.0, 4.0]]), np.array([[1.0, 0.0, 3.0, 5.0, 9.0]])
    expected = [[[0.0, 1.0, 2.0, 3.0, 4.0]], [[1.0, 0.0, 3.0, 5.0, 9.0]]]
    np.testing.assert_array_equal(baselines.resampled([line, bend], 5), expected)
    longer = baselines.resampled([np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])], 4)
    np.testing.assert_allclose(longer, [[[0.0, 2.0, 4.0, 6.0]]])


def write_short(path: Path, steps: int) -> str:
    rows = [f"{','.join(['1', '2', '3', '5'] * 4)[: 2 * steps - 1]}:{i % 2}" for i in range(20)]
    path.write_text("\n".join(["@classLabel true 0 1", "@data", *rows]))
    return str(path)


def test_what_baselines_cannot_learn_is_refused_before_any_run(
    aeon: list[Any], tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = tmp_path / "symbols.csv"
    symbols.write_text("\n".join(f"{name},{name * 9}" for name in "ab" * 10))
    short = write_short(tmp_path / "short.ts", 8)
    enough = small(data=write_short(tmp_path / "enough.ts", 9), baselines=True)
    baselines.check(enough, EXPERIMENT.load_data(enough))
    for data, message in (
        (str(symbols), "baselines=True: needs series of numbers"),
        (
            short,
            "baselines=True: the longest series has 8 steps; MultiRocketHydra's kernels need 9",
        ),
    ):
        with pytest.raises(UserError, match=message):
            run_experiment(EXPERIMENT, small(data=data, baselines=True))
    monkeypatch.setattr(baselines, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"baselines=True: needs the package aeon: pip install"):
        run_experiment(EXPERIMENT, enough)
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


def test_an_unknown_set_ends_before_any_run(store: Path) -> None:
    pytest.importorskip("aeon.datasets")
    with pytest.raises(UserError, match=r"data_set=GunPiont: no such set; did you mean GunPoint"):
        run_experiment(EXPERIMENT, small(task="archive", data_set="GunPiont"))
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


def test_channels_of_an_archive_are_standardised_by_training_alone() -> None:
    pytest.importorskip("aeon.datasets")
    config = small(task="archive", data_set="JapaneseVowels")
    data = EXPERIMENT.load_data(config)
    assert data.name == "JapaneseVowels"
    assert tasks.TASKS["archive"].new_sequences_per_epoch(config) == 0
    steps = zip(data.train.inputs, data.train.lengths, strict=True)
    channels = torch.cat([inputs[:length] for inputs, length in steps]).double()
    standardize = EXPERIMENT.build_model(config, data).standardize
    torch.testing.assert_close(standardize.mean, channels.mean(0).float())
    torch.testing.assert_close(standardize.std, channels.std(0, correction=0).float())

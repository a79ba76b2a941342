"""Sequence classification: tasks, losses, widths, refusals, every encoder."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from datasets.sequence_tasks import LabelledSequences
from experiments.seq_classification import inference, lesson, tasks
from experiments.seq_classification.config import SequenceConfig, TaskName
from experiments.seq_classification.inspection import inspect
from experiments.seq_classification.lesson import EXPERIMENT, predict
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.history import History
from harness.training.train import train
from models.choices import ENCODERS, EncoderName, PoolingName
from models.sequence_encoders import RecurrentEncoder
from models.size import num_parameters
from tests.datasets.test_sequence_files import write_ts
from tests.experiments.conftest import check_resuming

SPLIT_SIZES = ("num_train", "num_validation", "num_test")


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take longest; the test of entry points has them."""
    monkeypatch.setattr(type(EXPERIMENT), "figures", lambda *_: iter(()))


def small(**changes: Any) -> SequenceConfig:
    """Return the tiny configuration with changes, without the values that they make useless."""
    values = {**SequenceConfig.tiny, "checkpoint_seconds": 0.0, **changes}
    if values.get("data") or values.get("task", "temporal_order") != "temporal_order":
        del values["level"]
    if values.get("data") or values.get("task") in ("digits", "japanese_vowels", "archive"):
        values = {name: v for name, v in values.items() if name not in SPLIT_SIZES}
    if values.get("match_parameters"):
        del values["width"]
    return SequenceConfig(**values)


@pytest.fixture
def csv(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "sequences.csv"
    lines = [f"{name},{name[0] * (3 + i % 5)}" for name in ("up", "down") for i in range(30)]
    path.write_text("\n".join(lines))
    return {"data": str(path)}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "task",
    [
        {"task": "temporal_order"},
        {"task": "temporal_order", "num_marks": 3},
        {"task": "adding", "length": 10},
        {"task": "digits"},
        {"task": "digits", "order": "pixels", "shuffled": True, "distortion": 0.5},
        {"task": "csv"},
        {"task": "ts"},
    ],
    ids=lambda task: " ".join(map(str, task.values())),
)
def test_every_encoder_trains_on_every_task(
    encoder: EncoderName, task: dict[str, Any], csv: dict[str, Any], tmp_path: Path
) -> None:
    if task["task"] == "csv":
        task = csv | {"task": ""}
    if task["task"] == "ts":
        task = {"task": "", "data": write_ts(tmp_path / "recordings.ts")}
    given = {name: value for name, value in task.items() if value}
    config = small(encoder=encoder, **given, num_epochs=1)
    trained = train(EXPERIMENT, config)
    data, test = trained.data, trained.data.test
    outputs = lesson.predict(trained.model, test)
    num_outputs = 1 if task["task"] == "adding" else len(data.classes)
    assert outputs.shape == (len(test.labels), num_outputs)
    assert outputs.isfinite().all()
    exported = inference.export(config, trained).module
    served = exported(inference.mark_padding(test)[:50])
    torch.testing.assert_close(served, outputs[:50], rtol=1e-4, atol=1e-5)


def test_every_task_has_a_name() -> None:
    assert set(tasks.TASKS) == {*get_args(TaskName), "file"}


def test_the_loss_is_cross_entropy_or_the_squared_error() -> None:
    order, adding = tasks.TASKS["temporal_order"], tasks.TASKS["adding"]
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    assert order.loss(logits, labels) == F.cross_entropy(logits, labels)
    assert torch.equal(order.correct(logits, labels), logits.argmax(-1) == labels)
    outputs, targets = torch.tensor([[1.0], [0.5], [0.2]]), torch.tensor([1.03, 0.45, 0.2])
    squares = (0.03**2 + 0.05**2) / 3
    assert adding.loss(outputs, targets).item() == pytest.approx(squares, rel=1e-4)
    assert adding.correct(outputs, targets).tolist() == [True, False, True]


@pytest.mark.parametrize(("encoder", "count"), itertools.product(ENCODERS, (2_000, 20_000)))
def test_the_width_can_be_chosen_by_the_number_of_parameters(
    encoder: EncoderName, count: int
) -> None:
    config = small(encoder=encoder, match_parameters=count, num_layers=2)
    model = EXPERIMENT.build_model(config, EXPERIMENT.load_data(config))
    assert num_parameters(model) == pytest.approx(count, rel=0.35)


def test_fewer_parameters_than_the_narrowest_network_has_are_refused(store: Path) -> None:
    with pytest.raises(UserError, match=r"match_parameters=1: the narrowest .*=gru has 188 param"):
        run_experiment(EXPERIMENT, small(match_parameters=1))
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


def test_a_task_is_solved_when_all_of_validation_is_correct() -> None:
    rows = [{"val/accuracy": value} for value in (0.5, 0.99, 1.0, 0.98, 1.0)]
    assert lesson.sequences_to_solve(small(num_train=90), History(rows=rows)) == 300
    assert lesson.sequences_to_solve(small(), History(rows=rows[:2])) == math.inf
    assert lesson.sequences_to_solve(small(task="digits"), History(rows=rows)) == math.inf


def test_padding_is_marked() -> None:
    lengths, labels = torch.tensor([3, 1]), torch.tensor([0, 1])
    symbols = LabelledSequences(torch.zeros(2, 3).long(), lengths, labels)
    assert inference.mark_padding(symbols).tolist() == [[0, 0, 0], [0, -1, -1]]
    channels = LabelledSequences(torch.zeros(2, 3, 2), lengths, labels)
    padding = inference.mark_padding(channels).isnan().tolist()
    assert padding == [[[False] * 2] * 3, [[False] * 2] + [[True] * 2] * 2]


def test_only_recorded_channels_are_standardized() -> None:
    for task, is_identity in (("digits", False), ("adding", True)):
        config = small(task=task)
        model = EXPERIMENT.build_model(config, EXPERIMENT.load_data(config))
        assert bool((model.standardize.std == 1).all()) == is_identity


@pytest.mark.parametrize("pooling", get_args(PoolingName))
def test_the_last_prediction_by_step_is_that_of_the_whole_sequence(pooling: PoolingName) -> None:
    config = small(pooling=pooling, encoder="lstm")
    data = EXPERIMENT.load_data(config)
    model, test = EXPERIMENT.build_model(config, data), data.test
    model.eval()
    inspection = inspect(model, tasks.TASKS[config.task], data, test, 3)
    length = int(test.lengths[3])
    assert len(inspection.text) == len(inspection.features) == length
    assert len(inspection.contributions) == length
    assert (inspection.attention is not None) == (pooling == "attention")
    assert isinstance(model.encoder, RecurrentEncoder)
    with torch.no_grad():
        whole = model(test.inputs[3:4, :length], test.lengths[3:4]).softmax(-1)
        channels = model.to_channels(test.inputs[3:4, :length])
        _, (_, cells) = model.encoder.layers(channels)
    np.testing.assert_allclose(inspection.predictions[-1], whole[0].numpy(), rtol=1e-4)
    assert inspection.cells is not None
    np.testing.assert_allclose(inspection.cells[-1], cells[-1, 0].numpy(), rtol=1e-4, atol=1e-6)


def test_the_shortest_test_sequence_of_each_class_is_inspected() -> None:
    lengths, labels = torch.tensor([5, 3, 4, 2, 3]), torch.tensor([0, 0, 2, 2, 0])
    sequences = LabelledSequences(torch.zeros(5, 5).long(), lengths, labels)
    assert tasks.TASKS["temporal_order"].examples(sequences) == [1, 3]


def test_a_test_sequence_longer_than_all_others_has_positions(csv: dict[str, Any]) -> None:
    """However the file is split, the transformer has a position for the longest sequence."""
    with Path(csv["data"]).open("a") as file:
        file.write(f"\nup,{'u' * 1500}")
    for seed in range(12):
        config = small(**csv, encoder="transformer", seed=seed)
        data = EXPERIMENT.load_data(config)
        assert data.num_positions == 1500
        if data.validation.inputs.shape[1] < 1500 and data.test.inputs.shape[1] == 1500:
            model = EXPERIMENT.build_model(config, data).eval()
            assert lesson.predict(model, data.test).isfinite().all()
            return
    pytest.fail("the longest sequence was never in the test split")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("task", ["temporal_order", "csv", "digits"])
def test_a_tracked_run_has_the_numbers_of_an_untracked_one(
    task: str, csv: dict[str, Any], store: Path
) -> None:
    config = small(**(csv if task == "csv" else {"task": task}), num_epochs=1)
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    tracked = run_experiment(EXPERIMENT, config).metrics
    assert evaluation.metrics.items() <= tracked.items()
    assert tracked["best/val_loss"] == trained.history.best["val/loss"]


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("task", ["temporal_order", "csv"])
def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    task: str, csv: dict[str, Any], store: Path
) -> None:
    config = small(**(csv if task == "csv" else {}), num_epochs=4, dropout_rate=0.2)
    check_resuming(EXPERIMENT, config)


def test_accuracy_by_length_is_drawn_where_lengths_differ() -> None:
    config = small(num_epochs=1)
    trained = train(EXPERIMENT, config)
    evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
    names = [name for name, _ in EXPERIMENT.figures(config, trained, evaluation)]
    assert "accuracy_by_length" in names


def test_a_regression_has_figures_too(store: Path) -> None:
    config = small(task="adding", length=12, pooling="attention")
    run_id = run_experiment(EXPERIMENT, config).run_id
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run_id, "figures")}
    names = ["curves", "predictions", "states", "importance", "importance_on_series"]
    assert files >= {f"figures/{name}.png" for name in (*names, "prediction_by_step")}
    # All sequences are of one length, by which nothing can be told.
    assert "figures/accuracy_by_length.png" not in files


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "tcn", "initialisation": "chrono"}, "needs a recurrent encoder"),
        (
            {"encoder": "rnn", "initialisation": "chrono"},
            "initialisation=chrono: not defined for encoder=rnn",
        ),
        ({"format": "ts"}, "format=ts: has no effect here; it needs data=PATH"),
        ({"data": "a.ts", "task": "digits"}, "task=digits: has no effect here; it needs data="),
        ({"encoder": "transformer", "width": 6}, "width=6: a multiple of 4 for encoder=tr"),
        ({"encoder": "inception", "width": 6}, "width=6: a multiple of 4 for encoder=inception"),
        ({"encoder": "multirocket_hydra", "width": 12}, "width=12: a multiple of 8 for encoder=mu"),
        ({"bidirectional": True, "width": 5}, "width=5: an even number with bidirectional=True"),
        ({"bidirectional": True, "encoder": "tcn"}, "bidirectional=True: .*needs a recurrent enc"),
        ({"width": 8, "match_parameters": 500}, "width=8: has no effect.*match_parameters=0"),
        ({"level": "harder"}, "level=harder"),
        ({"level": "easy", "task": "adding"}, "level=easy: has no effect"),
        ({"num_marks": 4}, "num_marks=4"),
        ({"num_marks": 3, "task": "adding"}, "num_marks=3: has no effect"),
        ({"length": 1, "task": "adding"}, "length=1"),
        ({"length": 20}, "length=20: has no effect here; it needs task=adding"),
        ({"distortion": 0.5}, "distortion=0.5: has no effect here; it needs task=digits"),
        ({"num_train": 10, "task": "digits"}, "num_train=10: has no effect"),
        ({"noise": 0.1}, "noise=0.1: has no effect"),
        (
            {"task": "digits", "refit": True, "early_stopping_epochs": 3},
            "refit=True: leaves no validation split, which early_stopping_epochs=3 needs",
        ),
        ({"task": "digits", "refit": True, "lr_schedule": "plateau"}, "which lr_schedule=plateau"),
        ({"refit": True}, "refit=True: has no effect here; it needs task=digits or"),
        ({"data_set": "OSULeaf"}, "data_set=OSULeaf: has no effect here; it needs task=archive"),
        ({"baselines": True}, "baselines=True: has no effect here; it needs task=japanese_vow"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SequenceConfig(**values)


def test_only_parameters_with_an_effect_are_logged() -> None:
    logged = set(small(task="digits", encoder="tcn").as_parameters())
    assert {"order", "distortion", "noise", "width"} <= logged
    assert not logged & {"level", "length", "format", "num_test", "initialisation"}


def test_an_invalid_file_ends_before_any_run(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("up,uu\ndown\n")
    with pytest.raises(UserError, match=r"data=.*bad\.csv: line 2: the number of fields is 1"):
        run_experiment(EXPERIMENT, small(data=str(path)))
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []


GENERATED = {"batch_size": 20, "num_train": 100, "num_validation": 40, "num_test": 60}
BUILT_IN: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "temporal_order": (
        {"level": "easy", **GENERATED},
        ("29ab29ef462a", "97d74711b15f", "4ef8a50cfb12"),
    ),
    "adding": ({"length": 12, **GENERATED}, ("14748653f1af", "aaa5f5da8259", "c88c2d2a3f24")),
    "digits": ({}, ("7fb9125efb61", "e14e1692a255", "7cfb0f6358d3")),
}


@pytest.mark.parametrize("task", BUILT_IN)
def test_built_in_sequences_stay_as_they_are(task: Any) -> None:
    values, fingerprints = BUILT_IN[task]
    config = SequenceConfig(task=task, **values)
    data = EXPERIMENT.load_data(config)
    assert data.name == task
    assert tuple(data.fingerprint(split) for split in ("train", "validation", "test")) == (
        fingerprints
    )
    standardize = EXPERIMENT.build_model(config, data).standardize
    if task == "digits":
        steps = data.train.inputs.flatten(0, 1)
        assert standardize.mean.equal(steps.mean(0))
        assert standardize.std.equal(steps.std(0).clamp(min=0.1 * steps.std(0).max()))
    else:
        assert not standardize.mean.any()
        assert (standardize.std == 1).all()


def test_channels_of_a_file_are_standardised_each_by_itself(tmp_path: Path) -> None:
    path = Path(write_ts(tmp_path / "recordings.ts"))
    header, rows = path.read_text().split("@data\n")
    lines = []
    for row in rows.splitlines():
        first, second, label = row.split(":")
        scaled = ",".join(f"{1e6 * float(value)}" for value in first.split(","))
        lines.append(f"{scaled}:{second}:{label}")
    path.write_text(header + "@data\n" + "\n".join(lines))
    config = small(data=str(path))
    data = EXPERIMENT.load_data(config)
    model = EXPERIMENT.build_model(config, data)
    inputs, lengths, _ = data.train
    steps = zip(model.standardize(inputs), lengths, strict=True)
    channels = torch.cat([series[:length] for series, length in steps])
    torch.testing.assert_close(channels.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(channels.std(0, correction=0), torch.ones(2))


def test_the_images_show_the_confusion_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over batches that are not full, too; the last image is that of the model that is kept."""
    shown = {}

    def drawn(matrix: np.ndarray, names: Sequence[str], *, epoch: int) -> Figure:
        shown[epoch] = matrix
        return Figure()

    monkeypatch.setattr("harness.figures.classification.confusion", drawn)
    config = small(num_validation=130, num_epochs=3)
    trained = train(EXPERIMENT, config)
    assert list(EXPERIMENT.images(config, trained)) == list(shown)
    validation = trained.data.validation
    expected = np.zeros((4, 4), dtype=int)
    outputs = predict(trained.model, validation)
    for label, predicted in zip(validation.labels, outputs.argmax(-1), strict=True):
        expected[label, predicted] += 1
    np.testing.assert_array_equal(shown[trained.history.best_epoch], expected)
    assert not any("confusion" in name for name in trained.history.best)


def test_a_regression_has_no_images() -> None:
    config = small(task="adding", num_epochs=1)
    assert EXPERIMENT.images(config, train(EXPERIMENT, config)) == {}


@pytest.mark.slow
def test_refitting_trains_on_validation_too_and_keeps_the_last_epoch(
    tmp_path: Path, store: Path
) -> None:
    config = small(data=write_ts(tmp_path / "recordings.ts"), num_epochs=4)
    before, data = (EXPERIMENT.load_data(config.replace(refit=refit)) for refit in (False, True))
    expected = [
        (int(label), series[:length].tolist())
        for split in (before.train, before.validation)
        for series, length, label in zip(*split, strict=True)
    ]
    labels = data.train.labels.tolist()
    rows = zip(labels, data.train.inputs, data.train.lengths, strict=True)
    assert [(label, row[:length].tolist()) for label, row, length in rows] == expected
    assert data.counts["train"] == {
        name: labels.count(number) for number, name in enumerate(data.classes)
    }
    assert "validation" not in data.counts
    assert all(torch.equal(*each) for each in zip(data.test, before.test, strict=True))
    trained = train(EXPERIMENT, config.replace(refit=True))
    assert trained.history.best_epoch == 4
    assert trained.history.as_curves()["best_epoch"] == 0
    assert not any(name.startswith("val/") for row in trained.history.rows for name in row)
    weights = {}

    def last(progress: Any) -> None:
        weights.update(progress.model.state_dict())

    train(EXPERIMENT, config.replace(refit=True), callbacks=[last])
    assert all(
        torch.equal(weights[name], each) for name, each in trained.model.state_dict().items()
    )
    run = run_experiment(EXPERIMENT, config.replace(refit=True))
    assert run.metrics["best/epoch"] == 4
    logged = mlflow.get_run(run.run_id)
    assert not any("val" in name for name in logged.data.metrics)
    assert "best/temperature" not in logged.data.metrics
    assert {each.tags[0].value for each in logged.inputs.dataset_inputs} == {"train", "test"}
    assert "there is no validation" in logged.data.tags["mlflow.note.content"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_an_interrupted_refit_ends_with_the_same_numbers(tmp_path: Path, store: Path) -> None:
    data = write_ts(tmp_path / "recordings.ts")
    check_resuming(EXPERIMENT, small(data=data, num_epochs=4, refit=True))

"""The classification experiment: losses, sizes, sequences to solve, refusals, every encoder."""

import itertools
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from datasets.sequences import LabelledSequences
from experiments import seq_classification as experiment
from experiments.harness.config import construct
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.launch import conduct
from experiments.harness.loop import History
from experiments.harness.signals import Terminated
from experiments.harness.tracking import track
from experiments.seq_classification import EXPERIMENT, SequenceConfig
from models.sequence_classifier import EncoderName, PoolingName

CPU = Hardware(torch.device("cpu"), "fp32")
ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)


def small(**changes: Any) -> SequenceConfig:
    values = {**SequenceConfig.tiny, "checkpoint_seconds": 0.0, **changes}
    return construct(SequenceConfig, values)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take longest; the test of entry points has them."""
    monkeypatch.setattr(experiment, "draw_pictures", lambda *_: None)


@pytest.fixture
def csv(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "sequences.csv"
    lines = [f"{name},{name[0] * (3 + i % 5)}" for name in ("up", "down") for i in range(30)]
    path.write_text("\n".join(lines))
    return {"task": "csv", "csv": str(path)}


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
    ],
    ids=lambda task: " ".join(map(str, task.values())),
)
def test_every_encoder_learns_every_task(
    encoder: EncoderName, task: dict[str, Any], csv: dict[str, Any]
) -> None:
    config = small(encoder=encoder, **(csv if task["task"] == "csv" else task), num_epochs=1)
    seed_everything(0)
    learnt = experiment.learn(config, CPU)
    test = learnt.material.test()
    answers = experiment.answer(learnt.model.classifier, test)
    assert answers.shape == (len(test.labels), max(1, len(learnt.material.classes)))
    assert answers.isfinite().all()
    served = learnt.model(torch.from_numpy(experiment.packed(test)[:50]))
    torch.testing.assert_close(served, answers[:50], rtol=1e-4, atol=1e-5)


def test_the_loss_is_cross_entropy_or_the_squared_error() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    assert experiment.loss_of(logits, labels) == F.cross_entropy(logits, labels)
    numbers, wanted = torch.tensor([[1.0], [0.5], [0.2]]), torch.tensor([1.03, 0.45, 0.2])
    squares = (0.03**2 + 0.05**2) / 3
    assert experiment.loss_of(numbers, wanted).item() == pytest.approx(squares, rel=1e-4)
    assert experiment.is_right(numbers, wanted).tolist() == [True, False, True]
    assert torch.equal(experiment.is_right(logits, labels), logits.argmax(-1) == labels)


@pytest.mark.parametrize(("encoder", "wanted"), itertools.product(ENCODERS, (2_000, 20_000)))
def test_the_width_can_be_chosen_by_the_number_of_parameters(
    encoder: EncoderName, wanted: int
) -> None:
    config = small(encoder=encoder, match_parameters=wanted, num_layers=2)
    network = experiment.build(config, experiment.prepare(config))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(wanted, rel=0.35)


def test_solved_is_when_validation_is_right_to_the_last_sequence() -> None:
    rows = [{"val/accuracy": value} for value in (0.5, 0.99, 1.0, 0.98, 1.0)]
    assert experiment.sequences_to_solve(small(num_train=90), History(rows=rows)) == 300
    assert experiment.sequences_to_solve(small(), History(rows=rows[:2])) is None
    assert experiment.sequences_to_solve(small(task="digits"), History(rows=rows)) is None


def test_padding_is_told_from_what_is_there() -> None:
    lengths, labels = torch.tensor([3, 1]), torch.tensor([0, 1])
    symbols = experiment.packed(LabelledSequences(torch.zeros(2, 3).long(), lengths, labels))
    assert symbols.tolist() == [[0, 0, 0], [0, -1, -1]]
    channels = experiment.packed(LabelledSequences(torch.zeros(2, 3, 2), lengths, labels))
    assert np.isnan(channels).tolist() == [[[False] * 2] * 3, [[False] * 2] + [[True] * 2] * 2]


@pytest.mark.parametrize("pooling", get_args(PoolingName))
def test_what_is_said_while_reading_is_the_answer_to_what_was_read(pooling: PoolingName) -> None:
    config = small(pooling=pooling, encoder="lstm")
    seed_everything(0)
    material = experiment.prepare(config)
    network, test = experiment.build(config, material).eval(), material.test()
    look = experiment.look_inside(material, network, test, 3)
    length = int(test.lengths[3])
    assert len(look.text) == len(look.features) == len(look.mattered) == length
    assert (look.attention is not None) == (pooling == "attention")
    whole = network(test.inputs[3:4, :length], test.lengths[3:4]).softmax(-1)
    np.testing.assert_allclose(look.said[-1], whole[0].detach().numpy(), rtol=1e-4)
    assert look.cells is not None
    with torch.no_grad():
        channels = network.to_channels(test.inputs[3:4, :length])
        _, (_, cells) = network.encoder(channels)
    np.testing.assert_allclose(look.cells[-1], cells[-1, 0].numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("task", ["temporal_order", "csv"])
def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    task: str, csv: dict[str, Any], store: Path
) -> None:
    config = small(**(csv if task == "csv" else {}), num_epochs=4, dropout_rate=0.2)
    undisturbed = conduct(EXPERIMENT, config)

    def interrupt(progress: Any) -> None:
        if progress.epoch == 3:
            raise Terminated

    seed_everything(config.seed)
    with pytest.raises(Terminated), track(config, CPU.name) as run:
        experiment.learn(config, CPU, run, [interrupt])
    assert conduct(EXPERIMENT, SequenceConfig(resume=run.run_id)) == undisturbed


def test_a_number_is_answered_with_pictures_too(store: Path) -> None:
    conduct(EXPERIMENT, small(task="adding", length=12, pooling="attention"))
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id, "figures")}
    assert names >= {"figures/answers.png", "figures/states.png", "figures/importance.png"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"encoder": "tcn", "initialisation": "chrono"},
            "initialisation=chrono: means nothing to encoder=tcn",
        ),
        (
            {"encoder": "rnn", "initialisation": "chrono"},
            "initialisation=chrono: means nothing to encoder=rnn",
        ),
        ({"csv": "some.csv"}, "csv=some.csv: belongs to task=csv"),
        ({"task": "csv"}, "csv is empty"),
        (
            {"encoder": "transformer", "width": 6},
            "width=6: a transformer needs",
        ),
        ({"level": "harder"}, "level=harder"),
        ({"num_marks": 4}, "num_marks=4"),
        ({"length": 1, "task": "adding"}, "length=1"),
        ({"distortion": 0.5}, "distortion=0.5: means nothing to task=temporal_order"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        construct(SequenceConfig, values)


def test_a_bad_file_ends_before_any_run(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("up,uu\ndown\n")
    with pytest.raises(UserError, match=r"csv=.*bad\.csv: line 2: 1 fields"):
        conduct(EXPERIMENT, small(task="csv", csv=str(path)))
    assert mlflow.search_runs(search_all_experiments=True, output_format="list") == []

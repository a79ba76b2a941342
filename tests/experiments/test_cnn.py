"""The photograph experiment: its losses, its measures, and what it refuses."""

import json
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mlflow.tracking import MlflowClient
from PIL import Image
from torch import Tensor, nn

from datasets.cats_and_dogs import Photographs
from experiments import cnn
from experiments.cnn import CNNConfig
from experiments.data import collection
from experiments.harness.config import construct
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.launch import conduct
from experiments.harness.signals import Terminated
from experiments.harness.tracking import track
from models.pretrained import WeightsUnavailableError

CPU = Hardware(torch.device("cpu"), "fp32")
COUNTS = {"train": 12, "validation": 8}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Make a few dozen photographs: cats are bright on the left, dogs on the right, under noise."""
    generator = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for label, animal in enumerate(("cats", "dogs")):
            folder = tmp_path / "photographs" / split / animal
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 120, (24, 24, 3), dtype=np.uint8)
                pixels[:, 12 * label : 12 * label + 12] += 120
                Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=95)
    return tmp_path / "photographs"


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take longest; the test of entry points has them."""
    monkeypatch.setattr(cnn, "draw_pictures", lambda *_: None)


def small(photographs: Path, **changes: Any) -> CNNConfig:
    values = {
        "data": str(photographs),
        "data_dir": str(photographs.parent / "cache"),
        "image_size": 16,
        "width": 4,
        "num_stages": 3,
        "num_epochs": 3,
        "batch_size": 8,
        "flip_probability": 0.0,
        "checkpoint_seconds": 0.0,
    }
    return construct(CNNConfig, values | changes)


class Fixed(nn.Module):
    """Says of each photograph what its mean red is."""

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        red = images[:, 0].mean((1, 2))
        left = images[:, 0, :, 0].mean(-1)
        return torch.stack([red, left], dim=-1)


def test_the_loss_is_smoothed_cross_entropy_in_training_and_plain_in_validation() -> None:
    config = CNNConfig(label_smoothing=0.2)
    images = torch.rand(5, 3, 4, 4)
    shares = torch.tensor([[1.0, 0], [0, 1], [0.3, 0.7], [1, 0], [0.6, 0.4]])
    logits = Fixed()(images)
    logs = logits - logits.exp().sum(-1, keepdim=True).log()
    smoothed = 0.8 * shares + 0.1
    outcome = cnn.classification_loss(config, Fixed().train(), (images, shares))  # type: ignore[arg-type]
    torch.testing.assert_close(outcome.loss, -(smoothed * logs).sum(-1).mean())
    assert outcome.num_samples == 5

    labels = torch.tensor([0, 1, 1, 0, 0])
    outcome = cnn.classification_loss(config, Fixed().eval(), (images, labels))  # type: ignore[arg-type]
    torch.testing.assert_close(outcome.loss, -logs[torch.arange(5), labels].mean())
    right = [int(logits[i, 1] > logits[i, 0]) == label for i, label in enumerate(labels.tolist())]
    assert outcome.metrics["accuracy"].item() == pytest.approx(sum(right) / 5)


@pytest.mark.usefixtures("no_pictures")
def test_flip_test_time_augmentation_is_named_where_it_is_used_and_absent_elsewhere(
    photographs: Path, store: Path
) -> None:
    for used in (True, False):
        config = small(photographs, num_epochs=1, flip_test_time_augmentation=used)
        metrics = conduct(cnn.EXPERIMENT, config)
        named = {name for name in metrics if name.endswith("_flip_tta")}
        expected = {"best/val_accuracy_flip_tta", "test/accuracy_flip_tta"}
        assert named == (expected if used else set())


@pytest.mark.usefixtures("no_pictures")
def test_it_learns_keeps_the_best_epoch_and_says_how_good_it_is_on_test(
    photographs: Path, store: Path
) -> None:
    config = small(photographs, num_epochs=12, learning_rate=0.01, mixup_alpha=0.0)
    metrics = conduct(cnn.EXPERIMENT, config)
    (run,) = mlflow.search_runs(experiment_names=["cnn"], output_format="list")
    assert metrics["test/accuracy"] == 1.0
    assert metrics["test/roc_area"] == 1.0
    by_name = {}
    for name in ("val/accuracy", "val/loss"):
        history = MlflowClient().get_metric_history(run.info.run_id, name)
        by_name[name] = [metric.value for metric in sorted(history, key=lambda m: m.step)]
    assert metrics["best/val_accuracy"] == max(by_name["val/accuracy"])
    order = [(-accuracy, loss) for accuracy, loss in zip(*by_name.values(), strict=True)]
    assert metrics["best/epoch"] == 1 + order.index(min(order))

    # The logged model says the same of the test photographs as the table of answers.
    (output,) = run.outputs.model_outputs
    model: Any = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    test = collection(config).test
    with torch.no_grad():
        dogs = model(test.images.float() / 255).softmax(-1)[:, 1].numpy()
    table = json.loads(
        Path(
            mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/tables/test_answers.json")
        ).read_text()
    )
    columns = dict(zip(table["columns"], zip(*table["data"], strict=True), strict=True))
    assert columns["photograph"] == test.names
    np.testing.assert_allclose(columns["probability_of_dogs"], dogs, atol=1e-4)
    log_likelihood = np.log(np.where(test.labels.numpy() == 1, dogs, 1 - dogs)).mean()
    assert metrics["test/loss"] == pytest.approx(-log_likelihood, rel=1e-3)


def test_the_test_photographs_have_no_part_in_learning(photographs: Path) -> None:
    """Other test photographs, same seed: the very same network."""
    config = small(photographs)
    weights = []
    for _ in range(2):
        seed_everything(0)
        learnt = cnn.learn(config, CPU)
        weights.append(learnt.model.state_dict())
        for name in learnt.collection.test.names:
            Image.new("RGB", (24, 24), "green").save(photographs / name)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_training_sees_views_and_judging_sees_whole_photographs(photographs: Path) -> None:
    config = small(photographs, crop=0.5, batch_size=24)
    photos = collection(config)
    ((views, shares),) = cnn.training_batches(config, photos.train, epoch=1)
    assert views.shape == (24, 3, 16, 16)
    assert views.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(shares.sum(-1), torch.ones(24))
    whole = torch.cat([images for images, _ in cnn.judging_batches(photos.validation)])
    torch.testing.assert_close(whole, photos.validation.images.float() / 255)


def test_views_grow_from_epoch_to_epoch(photographs: Path) -> None:
    config = small(photographs, image_size=64, first_view=0.5, last_view=1.0, num_epochs=5)
    photos = collection(config)
    sizes: list[torch.Size] = []
    for epoch in range(1, 6):
        batches = cnn.training_batches(config, photos.train, epoch)
        sizes += {views.shape[2:] for views, _ in batches}  # one of each epoch
    assert sizes == [(size, size) for size in (32, 40, 48, 56, 64)]
    between = small(photographs, image_size=100, first_view=0.4, last_view=0.5, num_epochs=2)
    assert [cnn.view_size(between, epoch) for epoch in (1, 2)] == [40, 48]  # multiples of 8


def test_no_view_is_smaller_than_the_network_can_see() -> None:
    config = CNNConfig(image_size=32, first_view=0.1, num_stages=4)
    assert cnn.view_size(config, epoch=1) == 32


@pytest.mark.usefixtures("no_pictures")
def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    photographs: Path, store: Path
) -> None:
    """Every kind of randomness on: views, colours, mixing, dropout, averaged weights."""
    config = small(
        photographs,
        num_epochs=4,
        image_size=32,
        first_view=0.5,
        last_view=1.0,
        flip_probability=0.5,
        cutmix_alpha=1.0,
        blur_sigma=1.0,
        erasing_probability=0.5,
        dropout_rate=0.2,
        weight_average_decay=0.9,
    )
    undisturbed = conduct(cnn.EXPERIMENT, config)

    def interrupt(progress: Any) -> None:
        if progress.epoch == 3:  # what the second epoch left is the last checkpoint
            raise Terminated

    seed_everything(config.seed)
    with pytest.raises(Terminated), track(config, CPU.name) as run:
        cnn.learn(config, CPU, run, [interrupt])
    resumed = conduct(cnn.EXPERIMENT, CNNConfig(resume=run.run_id))
    assert resumed == undisturbed


def test_evidence_is_a_part_of_the_strongest_for_any_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The strongest of both classes is 1, and a photograph without evidence has none."""
    found = {0: torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]), 1: torch.tensor([[[4.0, 2.0]]] * 2)}
    found[1][1] = 0
    monkeypatch.setattr(cnn, "grad_cam", lambda model, views, layer, labels: found[int(labels[0])])
    network = cnn.build(CNNConfig(width=4))
    heat = cnn.evidence(network, torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert heat.tolist() == [[[[0.25, 0.0]], [[1.0, 0.5]]], [[[0.0, 0.0]], [[0.0, 0.0]]]]


@pytest.mark.usefixtures("no_pictures")
def test_unreadable_photographs_are_logged_as_a_table_once(
    photographs: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "train/cats/broken.jpg").write_text("no photograph")
    with monkeypatch.context() as patch:
        patch.setattr(cnn, "measure", None)  # calling it fails
        with pytest.raises(TypeError):
            conduct(cnn.EXPERIMENT, small(photographs, num_epochs=1))
    (run,) = mlflow.search_runs(experiment_names=["cnn"], output_format="list")
    conduct(cnn.EXPERIMENT, CNNConfig(resume=run.info.run_id))
    table = mlflow.load_table("tables/skipped.json", run_ids=[run.info.run_id])
    assert table["photograph"].tolist() == ["train/cats/broken.jpg"]


def test_the_same_photographs_at_another_size_are_the_same_data(
    photographs: Path, store: Path
) -> None:
    """A champion is compared with what was judged by the same photographs, whatever the pixels."""
    digests = []
    for size in (16, 24):
        config = small(photographs, image_size=size, num_epochs=1)
        with track(config, CPU.name) as run:
            cnn.learn(config, CPU, run)
        inputs = MlflowClient().get_run(run.run_id).inputs.dataset_inputs
        digests.append({data.tags[0].value: data.dataset.digest for data in inputs})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"train", "validation"}
    Image.new("RGB", (24, 24)).save(photographs / "train/cats/0.jpg")
    with track(small(photographs), CPU.name) as run:
        cnn.learn(small(photographs, num_epochs=1), CPU, run)
    inputs = MlflowClient().get_run(run.run_id).inputs.dataset_inputs
    assert {data.dataset.digest for data in inputs}.isdisjoint(digests[0].values())


def test_nothing_is_opened_before_the_photographs_are_there(
    photographs: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr("experiments.harness.tracking.track", lambda *a, **k: opened.append(a))
    with pytest.raises(UserError, match=r"^data=.*there is no such file"):
        conduct(cnn.EXPERIMENT, small(photographs, data="/no/such/file"))
    assert not opened


@pytest.mark.parametrize(
    "architecture",
    ["plain", "residual", "separable", pytest.param("pretrained", marks=pytest.mark.slow)],
)
def test_every_network_is_exported_for_batches_of_any_size(architecture: str) -> None:
    shape = {} if architecture == "pretrained" else {"width": 4}
    config = construct(CNNConfig, {"architecture": architecture, "image_size": 64, **shape})
    network = CPU.prepare(cnn.build(config)).cpu().to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(3, 3, 64, 64)
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(network, (images[:2],), dynamic_shapes=(batch,)).module()
    torch.testing.assert_close(exported(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 25}, "^batch_size=25: exceeds the 24 training photographs"),
        ({"image_size": 0}, "^image_size=0: "),
        ({"crop": 1.0}, "^crop=1.0: "),
        ({"architecture": "transformer"}, "^architecture=transformer: .*'plain'"),
        ({"architecture": "separable"}, "^image_size=16: a separable network needs 32"),
        ({"frozen": False}, "^frozen=False: means nothing to a residual network"),
        ({"architecture": "pretrained"}, "^width=4: means nothing to a pretrained network"),
        ({"data": "/no/such/file.zip"}, "^data=/no/such/file.zip: "),
        ({"data": __file__}, "^data=.*test_cnn.py: .*zip"),
    ],
)
def test_mistakes_are_answered_in_one_line_that_names_the_parameter(
    photographs: Path, store: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        conduct(cnn.EXPERIMENT, small(photographs, **changes))
    assert "\n" not in str(raised.value)
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_missing_weights_are_a_mistake_of_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> None:
        raise WeightsUnavailableError("not here; do this")

    monkeypatch.setattr(cnn, "PretrainedCNN", nowhere)
    config = CNNConfig(architecture="pretrained", backbone="resnet18")
    with pytest.raises(UserError, match=r"^backbone=resnet18: not here; do this$"):
        cnn.build(config)


def test_accuracy_counts_the_most_probable_class() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    assert cnn.accuracy(probabilities, np.array([0, 1, 1, 1])) == 0.75


def test_predictions_are_those_of_the_network_and_of_mirror_images() -> None:
    images = torch.randint(0, 256, (7, 3, 6, 6), dtype=torch.uint8)
    photographs = Photographs(images, torch.zeros(7, dtype=torch.int64), ("",) * 7)
    plain, mirrored = (
        cnn.predict(Fixed(), photographs, mirrored=m)  # type: ignore[arg-type]
        for m in (False, True)
    )
    x = images.float() / 255
    np.testing.assert_allclose(plain, F.softmax(Fixed()(x), -1), rtol=1e-5)
    np.testing.assert_allclose(mirrored, F.softmax(Fixed()(x.flip(-1)), -1), rtol=1e-5)


REAL = pytest.mark.skipif(
    "CATS_AND_DOGS" not in os.environ, reason="CATS_AND_DOGS names no archive"
)


@pytest.mark.slow
@REAL
def test_real_photographs_teach_a_small_network_something(tmp_path: Path) -> None:
    config = CNNConfig(
        data=os.environ["CATS_AND_DOGS"],
        data_dir=str(tmp_path),
        image_size=48,
        width=16,
        num_epochs=8,
        batch_size=32,
        learning_rate=3e-3,
        mixup_alpha=0.0,
    )
    seed_everything(0)
    learnt = cnn.learn(config, CPU)
    assert learnt.history.best["val/accuracy"] > 0.6  # of 500: four standard errors over chance


@pytest.mark.slow
@REAL
def test_what_imagenet_has_taught_tells_real_cats_from_dogs(tmp_path: Path) -> None:
    config = CNNConfig(
        data=os.environ["CATS_AND_DOGS"],
        data_dir=str(tmp_path),
        image_size=96,
        architecture="pretrained",
        num_epochs=1,
        first_view=0.83,
        last_view=0.83,
        crop=0.5,
        erasing_probability=0.0,
        mixup_alpha=0.0,
        weight_average_decay=0.0,
    )
    seed_everything(0)
    learnt = cnn.learn(config, CPU)
    assert learnt.history.best["val/accuracy"] > 0.85

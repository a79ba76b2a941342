"""The photograph experiment: its loss, its metrics, and its errors."""

import json
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from mlflow.tracking import MlflowClient
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from datasets.photographs import Photographs
from experiments.cnn import CNNConfig, lesson
from experiments.cnn.lesson import EXPERIMENT
from harness.errors import UserError
from harness.experiment import Splits
from harness.run_experiment import run_experiment
from harness.signals import Terminated
from harness.tracking.lifecycle import track
from harness.training.device import Hardware
from harness.training.train import train
from models.pretrained import WeightsUnavailableError
from tests.datasets.test_image_folders import write_classes

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
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take longest; the test of entry points draws them."""
    monkeypatch.setattr(lesson.CatsAndDogs, "figures", lambda *_: iter(()))


def small(photographs: Path, **changes: Any) -> CNNConfig:
    values: dict[str, Any] = {
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
    return CNNConfig(**(values | changes))


class Fixed(nn.Module):
    """Logits from the mean red of each photograph, and of its left edge."""

    def forward(self, images: Tensor) -> Tensor:
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
    output = EXPERIMENT.loss(config, Fixed().train(), (images, shares))  # type: ignore[arg-type]
    torch.testing.assert_close(output.loss, -(smoothed * logs).sum(-1).mean())
    assert output.num_samples == 5

    labels = torch.tensor([0, 1, 1, 0, 0])
    output = EXPERIMENT.loss(config, Fixed().eval(), (images, labels))  # type: ignore[arg-type]
    torch.testing.assert_close(output.loss, -logs[torch.arange(5), labels].mean())
    correct = [int(logits[i, 1] > logits[i, 0]) == label for i, label in enumerate(labels.tolist())]
    assert output.metrics["accuracy"].item() == pytest.approx(sum(correct) / 5)


UNEQUAL = {"여우": 3, "lynx": 12, "red panda": 6}


@pytest.fixture
def unequal(tmp_path: Path) -> CNNConfig:
    """Write training photographs of three classes of unequal size, and others of equal size."""
    folder = tmp_path / "photographs"
    write_classes(folder / "train", UNEQUAL)
    for number, split in enumerate(("valid", "test"), start=1):
        write_classes(folder / split, dict.fromkeys(UNEQUAL, 4), seed=100 * number)
    return small(folder, num_epochs=1, class_weights="balanced")


def test_balanced_class_weights_are_those_of_scikit_learn(unequal: CNNConfig) -> None:
    config = unequal.replace(mixup_alpha=0.0, label_smoothing=0.0)
    data = EXPERIMENT.load_data(config)
    labels = data.train.labels.numpy()
    expected = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()  # logits: mean colours
    seen = 0
    for images, targets, *weights in EXPERIMENT.training_batches(config, data, 1):
        output = EXPERIMENT.loss(config, model, (images, targets, *weights))  # type: ignore[arg-type]
        actual, logits = targets.argmax(1), images.mean((2, 3))
        losses = F.cross_entropy(logits, actual, weight=expected.float(), reduction="none")
        torch.testing.assert_close(output.loss, losses.mean())
        seen += len(images)
    assert seen == len(labels) == sum(UNEQUAL.values())


@pytest.mark.usefixtures("no_figures")
def test_of_several_classes_each_is_evaluated_against_the_others(
    unequal: CNNConfig, store: Path
) -> None:
    # With such steps that no two probabilities are the same when rounded.
    config = unequal.replace(num_epochs=8, ema_decay=0.0, learning_rate=0.02)
    metrics = run_experiment(EXPERIMENT, config).metrics
    (run,) = mlflow.search_runs(experiment_names=["cnn"], output_format="list")
    tables = f"{run.info.artifact_uri}/tables"
    predictions = pd.DataFrame(
        **json.loads(mlflow.artifacts.load_text(f"{tables}/test_predictions.json"))
    )
    classes = sorted(UNEQUAL)
    scores = predictions[[f"probability_of_{name}" for name in classes]].to_numpy()
    scores = scores / scores.sum(1, keepdims=True)  # they are rounded in the table
    area = roc_auc_score(predictions["actual"], scores, multi_class="ovr", labels=classes)
    assert metrics["test/roc_area"] == pytest.approx(area, abs=1e-3)
    balanced = balanced_accuracy_score(predictions["actual"], predictions["predicted"])
    assert metrics["test/balanced_accuracy"] == pytest.approx(balanced)
    by_class = pd.DataFrame(
        **json.loads(mlflow.artifacts.load_text(f"{tables}/accuracy_by_class.json"))
    )
    assert by_class["class"].tolist() == classes
    recalls = recall_score(
        predictions["actual"], predictions["predicted"], labels=classes, average=None
    )
    assert by_class["accuracy"].tolist() == pytest.approx(recalls.tolist())
    assert by_class["samples"].tolist() == [4, 4, 4]


@pytest.mark.usefixtures("no_figures")
def test_flip_test_time_augmentation_is_named_where_it_is_used_and_absent_elsewhere(
    photographs: Path, store: Path
) -> None:
    for used in (True, False):
        config = small(photographs, num_epochs=1, flip_test_time_augmentation=used)
        metrics = run_experiment(EXPERIMENT, config).metrics
        named = {name for name in metrics if name.endswith("_flip_tta")}
        expected = {"best/val_accuracy_flip_tta", "test/accuracy_flip_tta"}
        assert named == (expected if used else set())


@pytest.mark.usefixtures("no_figures")
def test_it_learns_keeps_the_best_epoch_and_evaluates_it_on_test(
    photographs: Path, store: Path
) -> None:
    config = small(photographs, num_epochs=12, learning_rate=0.01, mixup_alpha=0.0)
    metrics = run_experiment(EXPERIMENT, config).metrics
    (run,) = mlflow.search_runs(experiment_names=["cnn"], output_format="list")
    assert metrics["test/accuracy"] == 1.0
    assert metrics["test/roc_area"] == 1.0
    history = MlflowClient().get_metric_history(run.info.run_id, "val/loss")
    losses = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
    assert metrics["best/val_loss"] == min(losses)
    assert metrics["best/epoch"] == 1 + losses.index(min(losses))

    # The logged model predicts what the table of the test photographs says.
    (output,) = run.outputs.model_outputs
    model: Any = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    test = EXPERIMENT.load_data(config).test
    with torch.no_grad():
        dogs = model(test.images.float() / 255).softmax(-1)[:, 1].numpy()
    table = json.loads(
        Path(
            mlflow.artifacts.download_artifacts(
                f"{run.info.artifact_uri}/tables/test_predictions.json"
            )
        ).read_text()
    )
    columns = dict(zip(table["columns"], zip(*table["data"], strict=True), strict=True))
    assert columns["photograph"] == test.names
    np.testing.assert_allclose(columns["probability_of_dogs"], dogs, atol=1e-4)
    log_likelihood = np.log(np.where(test.labels.numpy() == 1, dogs, 1 - dogs)).mean()
    assert metrics["test/loss"] == pytest.approx(-log_likelihood, rel=1e-3)


def test_the_test_photographs_have_no_part_in_training(photographs: Path) -> None:
    """Other test photographs, same seed: the very same network."""
    config = small(photographs)
    weights = []
    for _ in range(2):
        trained = train(EXPERIMENT, config)
        weights.append(trained.model.state_dict())
        for name in trained.data.test.names:
            Image.new("RGB", (24, 24), "green").save(photographs / name)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_training_sees_views_and_validation_sees_whole_photographs(photographs: Path) -> None:
    config = small(photographs, crop_min_area=0.5, batch_size=24)
    data = EXPERIMENT.load_data(config)
    ((views, targets),) = EXPERIMENT.training_batches(config, data, epoch=1)
    assert views.shape == (24, 3, 16, 16)
    assert views.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(targets.sum(-1), torch.ones(24))
    whole = torch.cat([images for images, _ in EXPERIMENT.validation_batches(config, data)])
    torch.testing.assert_close(whole, data.validation.images.float() / 255)


def test_views_grow_from_epoch_to_epoch(photographs: Path) -> None:
    sizes = {"initial_resolution": 0.5, "final_resolution": 1.0, "num_epochs": 5}
    config = small(photographs, image_size=64, **sizes)
    data = EXPERIMENT.load_data(config)
    seen: list[torch.Size] = []
    for epoch in range(1, 6):
        batches = EXPERIMENT.training_batches(config, data, epoch)
        seen += {views.shape[2:] for views, _ in batches}  # one of each epoch
    assert seen == [(size, size) for size in (32, 40, 48, 56, 64)]
    between = config.replace(image_size=100, initial_resolution=0.4, final_resolution=0.5)
    between = between.replace(num_epochs=2)
    assert [EXPERIMENT.view_size(between, epoch) for epoch in (1, 2)] == [40, 48]  # multiples of 8


def test_no_view_is_smaller_than_the_network_needs() -> None:
    config = CNNConfig(image_size=32, initial_resolution=0.1, num_stages=4)
    assert EXPERIMENT.view_size(config, epoch=1) == 32


@pytest.mark.usefixtures("no_figures")
def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    photographs: Path, store: Path
) -> None:
    """Every kind of randomness on: views, colours, mixing, dropout, averaged weights."""
    config = small(
        photographs,
        num_epochs=4,
        image_size=32,
        initial_resolution=0.5,
        final_resolution=1.0,
        flip_probability=0.5,
        cutmix_alpha=1.0,
        blur_sigma=1.0,
        erasing_probability=0.5,
        dropout_rate=0.2,
        ema_decay=0.9,
    )
    undisturbed = run_experiment(EXPERIMENT, config).metrics

    def interrupt(progress: Any) -> None:
        if progress.epoch == 3:  # what the second epoch left is the last checkpoint
            raise Terminated

    with pytest.raises(Terminated), track(config, CPU.name) as run:
        train(EXPERIMENT, config, callbacks=[interrupt], recorder=run)
    resumed = run_experiment(EXPERIMENT, CNNConfig(resume=run.run_id)).metrics
    assert resumed == undisturbed


@pytest.mark.usefixtures("no_figures")
def test_unreadable_photographs_are_logged_as_a_table_once(
    photographs: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photographs / "train/cats/broken.jpg").write_text("no photograph")
    with monkeypatch.context() as patch:
        patch.setattr(lesson.CatsAndDogs, "figures", None)  # calling it fails
        with pytest.raises(TypeError):
            run_experiment(EXPERIMENT, small(photographs, num_epochs=1))
    (run,) = mlflow.search_runs(experiment_names=["cnn"], output_format="list")
    run_experiment(EXPERIMENT, CNNConfig(resume=run.info.run_id))
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/tables/skipped.json")
    column = table["columns"].index("name")
    assert [row[column] for row in table["data"]] == ["train/cats/broken.jpg"]


def test_the_same_photographs_at_another_size_are_the_same_data(photographs: Path) -> None:
    """A champion is compared with models that were evaluated on the same photographs."""

    def fingerprints(image_size: int) -> dict[str, str]:
        data: Splits[Photographs] = EXPERIMENT.load_data(small(photographs, image_size=image_size))
        return dict(data.fingerprints)

    before = fingerprints(16)
    assert set(before) == {"train", "validation", "test"}
    assert len(set(before.values())) == 3
    assert fingerprints(24) == before
    Image.new("RGB", (24, 24)).save(photographs / "train/cats/0.jpg")
    assert set(fingerprints(16).values()).isdisjoint(before.values())


def test_no_run_is_opened_before_the_photographs_are_there(photographs: Path, store: Path) -> None:
    with pytest.raises(UserError, match=r"^data=.*there is no such file"):
        run_experiment(EXPERIMENT, small(photographs, data="/no/such/file"))
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


@pytest.mark.parametrize(
    "architecture",
    ["plain", "residual", "separable", pytest.param("pretrained", marks=pytest.mark.slow)],
)
def test_every_network_is_exported_for_batches_of_any_size(architecture: Any) -> None:
    size: dict[str, Any] = {} if architecture == "pretrained" else {"width": 4}
    config = CNNConfig(architecture=architecture, image_size=64, **size)
    network = EXPERIMENT.network(config, 2)
    network = CPU.prepare(network).cpu().to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(3, 3, 64, 64)
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(network, (images[:2],), dynamic_shapes=(batch,)).module()
    torch.testing.assert_close(exported(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 25}, "^batch_size=25: exceeds the 24 training photographs"),
        ({"image_size": 0}, "^image_size=0: "),
        ({"crop_min_area": 0.0}, "^crop_min_area=0.0: "),
        ({"crop_max_aspect_ratio": 0.9}, "^crop_max_aspect_ratio=0.9: "),
        ({"architecture": "transformer"}, "^architecture=transformer: .*'plain'"),
        ({"architecture": "separable"}, "^image_size=16: too small for a separable .*32 or more"),
        ({"frozen": False}, "^frozen=False: has no effect here; it needs architecture=pretrained"),
        (
            {"architecture": "pretrained"},
            "^width=4: has no effect here; it needs arch",
        ),
        ({"data": "/no/such/file.zip"}, "^data=/no/such/file.zip: "),
        ({"data": __file__}, "^data=.*test_lesson.py: .*zip"),
    ],
)
def test_errors_are_one_line_that_names_the_parameter(
    photographs: Path, store: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        run_experiment(EXPERIMENT, small(photographs, **changes))
    assert "\n" not in str(raised.value)
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_missing_weights_are_an_error_of_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> None:
        raise WeightsUnavailableError("not here; do this")

    monkeypatch.setattr(lesson, "PretrainedCNN", nowhere)
    config = CNNConfig(architecture="pretrained", backbone="resnet18")
    with pytest.raises(UserError, match=r"^backbone=resnet18: not here; do this$"):
        EXPERIMENT.network(config, 2)


def test_predictions_are_those_of_the_network_and_of_mirror_images() -> None:
    images = torch.randint(0, 256, (7, 3, 6, 6), dtype=torch.uint8)
    photographs = Photographs(images, torch.zeros(7, dtype=torch.int64), ("",) * 7)
    plain, mirrored = (
        EXPERIMENT.predict(Fixed(), photographs, flip=flip)  # type: ignore[arg-type]
        for flip in (False, True)
    )
    x = images.float() / 255
    np.testing.assert_allclose(plain, F.softmax(Fixed()(x), -1), rtol=1e-5)
    np.testing.assert_allclose(mirrored, F.softmax(Fixed()(x.flip(-1)), -1), rtol=1e-5)


REAL = pytest.mark.skipif(
    "CATS_AND_DOGS" not in os.environ, reason="CATS_AND_DOGS names no archive"
)


@pytest.mark.slow
@REAL
def test_a_small_network_learns_from_real_photographs(tmp_path: Path) -> None:
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
    trained = train(EXPERIMENT, config)
    assert trained.history.best["val/accuracy"] > 0.6  # of 500: four standard errors over chance


@pytest.mark.slow
@REAL
def test_a_pretrained_network_tells_real_cats_from_dogs(tmp_path: Path) -> None:
    config = CNNConfig(
        data=os.environ["CATS_AND_DOGS"],
        data_dir=str(tmp_path),
        image_size=96,
        architecture="pretrained",
        num_epochs=4,
    )
    trained = train(EXPERIMENT, config)
    assert trained.history.best["val/accuracy"] > 0.9

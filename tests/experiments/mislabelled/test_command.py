"""Confident learning by hand, and the command on photographs whose wrong labels are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from datasets.photographs import PhotographDataset, Photographs
from experiments.cnn import lesson
from experiments.mislabelled import command
from experiments.mislabelled.confident_learning import ranked, suggested_labels
from experiments.mislabelled.config import MislabelledConfig
from harness.errors import UserError
from harness.evaluation import Predictions
from models.pretrained import WeightsUnavailableError

COUNTS = {"train": 30, "validation": 10, "test": 10}
WRONG = {"train/cats/3.jpg": "dogs", "train/dogs/7.jpg": "cats", "test/cats/2.jpg": "dogs"}
"""Photographs in the folder of another class, and their own."""


def test_confident_learning_by_hand() -> None:
    """The thresholds, means of a column over the samples so labelled, are 0.5, 0.625, 0.375."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    probabilities = np.array(
        [
            [0.75, 0.125, 0.125],
            [0.625, 0.25, 0.125],
            [0.125, 0.625, 0.25],  # exactly at the threshold of 1
            [0.0, 0.875, 0.125],
            [0.125, 0.375, 0.5],
            [0.5625, 0.0625, 0.375],  # at least at the thresholds of 0 and 2: the more probable
            [0.4375, 0.4375, 0.125],  # below every threshold: keeps its label
            [0.25, 0.125, 0.625],
        ]
    )
    suggested = suggested_labels(labels, probabilities)
    assert suggested.tolist() == [0, 0, 1, 1, 2, 0, 2, 2]
    # By margin: 0.625 - 0.125, then 0.5625 - 0.375, then 0.5 - 0.375; then the one below.
    assert ranked(labels, suggested, probabilities).tolist() == [2, 5, 4, 6]


def test_a_class_that_is_predicted_less_surely_has_a_lower_threshold() -> None:
    """A probability of 0.45 is much for class 1, whose own samples have 0.4 on average."""
    labels = np.array([0, 0, 0, 0, 1, 1])
    of_one = np.array([0.0, 0.1, 0.1, 0.45, 0.5, 0.3])
    suggested = suggested_labels(labels, np.stack([1 - of_one, of_one], axis=1))
    assert suggested.tolist() == [0, 0, 0, 1, 1, 1]


def test_flipped_labels_are_as_many_as_asked_for_and_all_others() -> None:
    labels = np.arange(200) % 3
    flipped = command.flipped(labels, 0.05, seed=1)
    changed = np.flatnonzero(flipped != labels)
    assert len(changed) == 10
    assert set(flipped.tolist()) == {0, 1, 2}
    assert (flipped == command.flipped(labels, 0.05, seed=1)).all()
    assert set(changed) != set(np.flatnonzero(command.flipped(labels, 0.05, seed=2) != labels))
    assert (command.flipped(labels, 0.0, seed=1) == labels).all()


def with_colours(_: object, __: object, dataset: PhotographDataset) -> PhotographDataset:
    """In the place of a pretrained network: the features are the colours of four quarters."""

    def of(split: Photographs) -> Photographs:
        colours = nn.functional.adaptive_avg_pool2d(split.images.float() / 255, 2).flatten(1)
        return split._replace(features=torch.stack([colours, colours], dim=1))

    return dataset._replace(
        train=of(dataset.train), validation=of(dataset.validation), test=of(dataset.test)
    )


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MislabelledConfig:
    """Write photographs, red cats and blue dogs under noise, some in the wrong folder."""
    generator = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for animal in ("cats", "dogs"):
            (tmp_path / "photographs" / split / animal).mkdir(parents=True)
            for index in range(count):
                name = f"{split}/{animal}/{index}.jpg"
                pixels = generator.integers(0, 140, (32, 32, 3), dtype=np.uint8)
                pixels[..., 0 if WRONG.get(name, animal) == "cats" else 2] += 60
                Image.fromarray(pixels).save(tmp_path / "photographs" / name, quality=95)
    monkeypatch.setattr(lesson.CatsAndDogs, "network", lambda *_: None)
    monkeypatch.setattr(command, "with_features", with_colours)
    return MislabelledConfig(
        data=str(tmp_path / "photographs"),
        data_dir=str(tmp_path / "cache"),
        image_size=32,
        output=str(tmp_path / "found" / "here"),
    )


def test_photographs_in_the_wrong_folder_are_listed_first_and_framed(
    config: MislabelledConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(config)
    table = pd.read_csv(Path(config.output) / "mislabelled.csv")
    wrong = table[table["probably_wrong"]]
    assert dict(zip(wrong["photograph"], wrong["predicted"], strict=True)) == WRONG
    assert table["probably_wrong"].is_monotonic_decreasing
    for row in table.itertuples():
        assert row.photograph.startswith(f"{row.split}/{row.label}/")
        assert row.probability_of_label < 0.5 < row.probability_of_predicted
    margins = wrong["probability_of_predicted"] - wrong["probability_of_label"]
    assert margins.is_monotonic_decreasing
    with Image.open(Path(config.output) / "mislabelled.png") as picture:
        vermilion = (np.asarray(picture.convert("RGB")) == (0xD5, 0x5E, 0)).all(-1)
    assert vermilion.sum() > 500
    printed = capsys.readouterr().out
    assert "\nprobably wrong: 3 of 100 labels; " in printed
    assert " changed, " not in printed


def test_labels_that_were_changed_are_counted(
    config: MislabelledConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those in the wrong folder are found, too, and lower the precision."""
    command.main(config.replace(flipped_fraction=0.1))
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if " changed, " in line]
    found = pd.read_csv(Path(config.output) / "mislabelled.csv")["probably_wrong"].sum()
    correct = int(line.split(" changed, ")[1].split()[0])
    assert line == (
        f"10 labels changed, {correct} found: "
        f"precision {correct / found:.3f}, recall {correct / 10:.3f}"
    )
    assert correct >= 8


def test_a_photograph_is_captioned_by_file_label_and_prediction(config: MislabelledConfig) -> None:
    dataset = command.with_backbone(config)
    labels = np.arange(100) % 2
    probabilities = np.stack([np.full(100, 0.3), np.full(100, 0.7)], axis=1)
    predictions = Predictions(labels, probabilities, dataset.classes)
    figure = command.draw(dataset, predictions, labels == 0, np.array([2, 61]), "Some; others")
    first, second = [axes for axes in figure.axes if axes.images]
    assert first.get_xlabel() == f"{Path(dataset.train.names[2]).name}\ncats, predicted\ndogs 0.70"
    assert second.get_xlabel().startswith(Path(dataset.validation.names[1]).name)
    for axes, image in ((first, dataset.train.images[2]), (second, dataset.validation.images[1])):
        assert (np.asarray(axes.images[0].get_array()) == image.permute(1, 2, 0).numpy()).all()
    assert [axes.spines["left"].get_visible() for axes in (first, second)] == [True, False]
    assert figure.get_suptitle() == "Some (framed);\nothers"


def test_predictions_are_out_of_sample(config: MislabelledConfig) -> None:
    """Labels that have nothing to do with the photographs are predicted as by chance."""
    dataset = command.with_backbone(config)
    labels = np.random.default_rng(0).permutation(np.arange(100) % 2)
    probabilities = command.out_of_sample(config, dataset, labels)
    assert probabilities.shape == (100, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert np.mean(probabilities.argmax(1) == labels) < 0.65  # of 100: three standard errors


def test_no_wrong_label_is_said_in_table_and_figure(
    config: MislabelledConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "out_of_sample", lambda _, __, labels: np.eye(2)[labels])
    command.main(config)
    assert pd.read_csv(Path(config.output) / "mislabelled.csv").empty
    assert (Path(config.output) / "mislabelled.png").is_file()
    assert capsys.readouterr().out.startswith("probably wrong: 0 of 100 labels; ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 51}, "^folds=51: class cats has 50 photographs$"),
        ({"folds": 1}, "^folds=1: "),
        ({"flipped_fraction": 0.5}, "^flipped_fraction=0.5: "),
        ({"image_size": 16}, "^image_size=16: "),
        ({"data": "/no/such/file.zip"}, "^data=/no/such/file.zip: there is no such file"),
        ({"output": __file__}, "^output=.*test_command.py: File exists$"),
    ],
)
def test_errors_are_one_line_that_names_the_parameter(
    config: MislabelledConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        command.main(config.replace(**changes))


def test_missing_weights_are_an_error_of_the_backbone(
    config: MislabelledConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(**_: object) -> None:
        raise WeightsUnavailableError("not here; do this")

    monkeypatch.undo()
    monkeypatch.setattr(lesson, "PretrainedCNN", nowhere)
    with pytest.raises(UserError, match=r"^backbone=resnet18: not here; do this$"):
        command.main(config.replace(backbone="resnet18"))

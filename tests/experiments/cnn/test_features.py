"""Features of a frozen backbone, against the network that computes them from pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.cnn import CNNConfig, features
from experiments.cnn.lesson import EXPERIMENT
from harness.errors import UserError
from harness.training.train import train
from models.pretrained import PretrainedCNN
from tests.datasets.test_image_folders import write_classes


@pytest.fixture
def config(tmp_path: Path) -> CNNConfig:
    for number, split in enumerate(("train", "validation", "test")):
        counts = {"cats": 6, "dogs": 6}
        write_classes(tmp_path / "photographs" / split, counts, seed=100 * number)
    return CNNConfig(
        architecture="pretrained",
        data=str(tmp_path / "photographs"),
        data_dir=str(tmp_path / "cache"),
        image_size=32,
        num_epochs=2,
        batch_size=4,
    )


def test_a_frozen_backbone_sees_each_photograph_once(
    config: CNNConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    pooled = PretrainedCNN.pooled

    def counted(network: PretrainedCNN, images: Tensor) -> Tensor:
        seen.append(len(images))
        return pooled(network, images)

    monkeypatch.setattr(PretrainedCNN, "pooled", counted)
    config = config.replace(precision="fp32")  # as pixels are predicted in
    trained = train(EXPERIMENT, config)
    test = trained.data.test
    assert sum(seen) == 2 * 36, "each of 12 in three splits, and its mirror image"
    before = trained.untrained.classifier.weight
    assert not torch.equal(trained.model.classifier.weight, before)

    train(EXPERIMENT, config.replace(seed=1)).data.test  # noqa: B018, which is loaded
    assert sum(seen) == 2 * 36, "another seed reads what the first has computed"

    for flip in (False, True):
        of_features = EXPERIMENT.predict(trained.model, test, flip=flip)
        of_pixels = EXPERIMENT.predict(trained.model, test._replace(features=None), flip=flip)
        np.testing.assert_allclose(of_features, of_pixels, rtol=1e-4, atol=1e-6)


def test_half_of_the_features_are_those_of_mirror_images() -> None:
    both = torch.arange(2000.0).view(1000, 2, 1).expand(-1, -1, 3)
    assert torch.equal(features.flip_at_random(both, 0.0), both[:, 0])
    assert torch.equal(features.flip_at_random(both, 1.0), both[:, 1])
    chosen = features.flip_at_random(both, 0.5) % 2  # 1: the mirror image
    assert torch.equal(chosen[:, 0], chosen[:, 2]), "all features of one image"
    assert 0.4 < chosen[:, 0].mean() < 0.6


def test_a_backbone_is_given_what_it_was_trained_on() -> None:
    config = CNNConfig(architecture="pretrained", backbone="efficientnet_lite2")
    assert (config.pixels, config.resize) == (260, "crop")
    config = config.replace(image_size=96, resize="squish")
    assert (config.pixels, config.resize) == (96, "squish")
    assert (CNNConfig().pixels, CNNConfig().resize) == (112, "crop")


def test_augmentation_has_no_effect_on_features() -> None:
    with pytest.raises(UserError, match=r"^crop_min_area=0.5: has no effect here; .*frozen=False"):
        CNNConfig(architecture="pretrained", crop_min_area=0.5)
    CNNConfig(architecture="pretrained", crop_min_area=0.5, frozen=False)
    CNNConfig(architecture="pretrained", flip_probability=0.0)

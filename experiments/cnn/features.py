"""Features of a frozen backbone: computed once for each photograph, and kept beside the pixels.

A backbone that is not trained computes the same of a photograph in every epoch, run and trial.
"""

from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.archives import make_once
from datasets.augmentation import to_float
from datasets.choices import Split
from datasets.photographs import PhotographDataset, cache_folder
from experiments.cnn.config import CNNConfig
from harness import fingerprints, signals
from harness.training.batches import TensorBatches
from harness.training.device import Hardware
from models.cnn import ImageClassifier
from models.pretrained import PretrainedCNN


def with_features(
    config: CNNConfig, network: ImageClassifier, photographs: PhotographDataset
) -> PhotographDataset:
    """Return photographs with the features, (N, 2, F), of each and of its mirror image.

    They are computed where the configuration says, and read from the cache the next time.
    """
    assert isinstance(network, PretrainedCNN), "no other is frozen"
    hardware = Hardware.choose(config)
    weights = fingerprints.of_split(tuple(network.stages.state_dict().values()))
    how = f"{config.pixels}px-{config.resize}-{weights}-{hardware.precision}"
    added = {}
    for split in get_args(Split):
        of = getattr(photographs, split)
        name = f"features-{photographs.fingerprint[:20]}-{split}-{how}.npy"
        path = cache_folder(config.data_dir) / name
        make_once(path, partial(_compute, hardware, network, of.images))
        added[split] = of._replace(features=torch.from_numpy(np.load(path)))
    return photographs._replace(**added)


def select(inputs: Tensor, *, flip: bool = False) -> Tensor:
    """Return what a network takes of photographs, or of their mirror images.

    Images, (B, 3, S, S) uint8, become (B, 3, S, S) float32 in [0, 1], and features, (B, 2, F),
    become (B, F).
    """
    if inputs.dim() == 3:
        return inputs[:, int(flip)]
    images = to_float(inputs)
    return images.flip(-1) if flip else images


def flip_at_random(features: Tensor, probability: float) -> Tensor:
    """Return of features, (B, 2, F), those of the photograph or of its mirror image, (B, F)."""
    is_flipped = torch.rand(len(features), 1, device=features.device) < probability
    return torch.where(is_flipped, features[:, 1], features[:, 0])


@torch.inference_mode()
def _compute(hardware: Hardware, network: PretrainedCNN, images: Tensor, path: Path) -> None:
    """Write the features of images (N, 3, S, S) uint8 to a file, as a network evaluates them."""
    network = hardware.prepare(network.eval())
    features = []
    batches = TensorBatches(images, batch_size=50)
    for (batch,) in tqdm(batches, "features", unit="batch", disable=None):
        signals.check()
        on_device = batch.to(hardware.device)
        with hardware.autocast():
            both = [network.pooled(select(on_device, flip=flip)) for flip in (False, True)]
        features.append(torch.stack(both, dim=1).float().cpu())
    with path.open("wb") as file:
        np.save(file, torch.cat(features).numpy())

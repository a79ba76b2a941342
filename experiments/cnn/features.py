"""Features of a frozen backbone: computed once for each photograph, and kept beside the pixels.

A backbone that is not trained computes the same of a photograph in every epoch, run and trial.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.archives import make_once
from datasets.augmentation import to_float
from datasets.photographs import Photographs, cache_folder
from experiments.cnn.config import CNNConfig
from harness import fingerprints, signals
from harness.training.batches import TensorBatches
from harness.training.device import Hardware
from models.pretrained import PretrainedCNN


def with_features(
    config: CNNConfig, network: PretrainedCNN, photographs: Photographs, fingerprint: str
) -> Photographs:
    """Return photographs with the features, (N, 2, F), of them and of their mirror images.

    They are computed where the configuration says, and are read from the cache the next time.
    `fingerprint` is that of the photographs' contents.
    """
    hardware = Hardware.choose(config)
    weights = fingerprints.of_split(tuple(network.stages.state_dict().values()))
    of = (fingerprint, f"{config.pixels}px", config.resizing, weights, hardware.precision)
    path = cache_folder(config.data_dir) / f"features-{'-'.join(of)}.npy"
    make_once(path, partial(_compute, hardware, network, photographs))
    return photographs._replace(features=torch.from_numpy(np.load(path)))


def randomly_flipped(features: Tensor, probability: float) -> Tensor:
    """Return of features, (B, 2, F), those of the photograph or of its mirror image, (B, F)."""
    is_flipped = torch.rand(len(features), 1, device=features.device) < probability
    return torch.where(is_flipped, features[:, 1], features[:, 0])


@torch.inference_mode()
def _compute(
    hardware: Hardware, network: PretrainedCNN, photographs: Photographs, path: Path
) -> None:
    """Write the features of photographs to a file, as the network in evaluation mode has them."""
    network = hardware.prepare(network.eval())
    features = []
    batches = TensorBatches(photographs.images, batch_size=50)
    for (images,) in tqdm(batches, "features", unit="batch", disable=None):
        signals.check()
        images = to_float(images.to(hardware.device))
        with hardware.autocast():
            both = [network.pooled(images), network.pooled(images.flip(-1))]
        features.append(torch.stack(both, dim=1).float().cpu())
    with path.open("wb") as file:
        np.save(file, torch.cat(features).numpy())

"""Which parts of photographs speak for a class, by three methods, and how far to trust them.

Letters: N images, S pixels of width and height, H x W those of a map.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.cnn import ImageClassifier
from models.inspection.attribution import integrated_gradients, mean_colour, occlusion, randomised
from models.inspection.convolutional import grad_cam

STEPS = 16
"""Of integrated gradients."""
SQUARES = 4
"""Squares that cover a photograph's width side by side, of which one at a time is covered."""
CELLS = 16
"""Likewise, the squares over which integrated gradients are averaged."""


def explanations(
    model: ImageClassifier, images: Tensor, labels: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return maps of what speaks for the classes `labels`, and their correlations, by method.

    Images are (N, 3, S, S) in [0, 1], maps (N, H, W), negative where something speaks against the
    class. The correlation is the mean rank correlation with the maps of the same network with
    random weights (Adebayo et al. 2018): at 1, a method shows the photograph and not the network.
    """
    maps = _maps(model, images, labels)
    of_random = _maps(randomised(model, images, seed=0), images, labels)
    return maps, {name: rank_correlation(maps[name], of_random[name]) for name in maps}


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean of Spearman's correlations between pairs of maps, both (N, H, W).

    That of a constant map with any other is 0.
    """
    from scipy.stats import rankdata  # training needs no scipy

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    one, two = (each - each.mean(1, keepdims=True) for each in ranks)
    scale = np.sqrt(np.square(one).sum(1) * np.square(two).sum(1))
    return float(np.mean((one * two).sum(1) / np.where(scale > 0, scale, 1)))


def _maps(model: ImageClassifier, images: Tensor, labels: np.ndarray) -> dict[str, np.ndarray]:
    classes, baselines = torch.from_numpy(labels), mean_colour(images)
    size = images.shape[-1]
    side, cell = max(2, size // SQUARES), max(1, size // CELLS)
    gradients = integrated_gradients(model, images, classes, baselines, steps=STEPS)
    maps = {
        "Grad-CAM": grad_cam(model, images, model.stages[-1], classes),
        "occlusion": occlusion(model, images, classes, baselines, side=side, batch_size=100),
        # Of single pixels they are too fine to be seen, and mostly noise.
        "integrated gradients": F.avg_pool2d(gradients, cell, ceil_mode=True),
    }
    return {name: each.numpy() for name, each in maps.items()}

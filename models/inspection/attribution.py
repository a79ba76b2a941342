"""Which pixels the logit of a class depends on: occlusion and integrated gradients.

Both ask what a logit gains from a photograph over a baseline that shows nothing: for one part of
the photograph at a time, or along the way from the baseline to the photograph. The baseline here is
a plane of the photograph's mean colour.

Letters: B images, C channels, H x W pixels, R rows and Q columns of places.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.inspection.convolutional import eval_mode

M = TypeVar("M", bound=nn.Module)


def mean_colour(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) of one colour each, the mean of that of `images`."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


@torch.no_grad()
def occlusion(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    baselines: Tensor,
    *,
    side: int,
    batch_size: int,
) -> Tensor:
    """Return how much the logit of a class falls where a square is covered (Zeiler & Fergus 2014).

    The square is moved by half its side, and over the edges of the image. A pixel's value is the
    mean over the squares that cover it, four if the side is even.

    Args:
        model: maps images to logits (B, K); applied in evaluation mode.
        images: (B, C, H, W), a batch as the model takes it.
        classes: (B,) int64, the class to be explained for each image.
        baselines: (B, C, H, W), what covers the images.
        side: pixels of the square, at least 2.
        batch_size: covered copies that the model is given at once, which bounds the memory.

    Returns:
        (B, H, W) float32; negative where the covered part spoke against the class.

    """
    rows, columns = (_intervals(pixels, side) for pixels in images.shape[2:])  # (R, H), (Q, W)
    places = torch.cartesian_prod(*map(torch.arange, (len(images), len(rows), len(columns))))
    with eval_mode(model):
        whole = model(images).gather(1, classes.unsqueeze(1))  # (B, 1)
        covered = []
        for image, row, column in (batch.unbind(1) for batch in places.split(batch_size)):
            square = rows[row].unsqueeze(2) & columns[column].unsqueeze(1)  # (places, H, W)
            copies = torch.where(square.unsqueeze(1), baselines[image], images[image])
            covered.append(model(copies).gather(1, classes[image].unsqueeze(1)))
    falls = (whole - torch.cat(covered).view(len(images), -1)).view(-1, len(rows), len(columns))
    rows, columns = (each / each.sum(0) for each in (rows, columns))  # shares of each pixel's mean
    return torch.einsum("brq,rh,qw->bhw", falls, rows, columns)


def _intervals(length: int, side: int) -> Tensor:
    """Return which of `length` pixels each interval of `side` covers, (places, length) bool."""
    starts = torch.arange(-(side // 2), length, side // 2).unsqueeze(1)
    pixels = torch.arange(length)
    return (starts <= pixels) & (pixels < starts + side)


def integrated_gradients(
    model: nn.Module, images: Tensor, classes: Tensor, baselines: Tensor, *, steps: int
) -> Tensor:
    """Return what each pixel adds to the logit of a class (Sundararajan et al. 2017, eq. 1).

    That is the difference of image and baseline times the mean gradient on the straight line from
    one to the other, at the midpoints of `steps` intervals. The values of an image sum up to the
    difference of the logits of image and baseline (completeness), but for the error of that mean.

    Args:
        model: maps images to logits (B, K); applied in evaluation mode.
        images: (B, C, H, W), a batch as the model takes it.
        classes: (B,) int64, the class to be explained for each image.
        baselines: (B, C, H, W), images without what is to be explained.
        steps: forward and backward passes over the batch.

    Returns:
        (B, H, W) float32, summed over channels.

    """
    gradients = torch.zeros_like(images)
    with eval_mode(model), torch.enable_grad():
        for step in range(steps):
            between = torch.lerp(baselines, images, (step + 0.5) / steps).requires_grad_()
            explained = model(between).gather(1, classes.unsqueeze(1)).sum()
            gradients += torch.autograd.grad(explained, between)[0] / steps
    return ((images - baselines) * gradients).sum(1)


def randomised(model: M, images: Tensor, seed: int) -> M:
    """Return a copy of a network with freshly initialised weights, in evaluation mode.

    An explanation of the network has to change with them (Adebayo et al. 2018). The batch norms of
    the copy have the statistics of `images` (B, C, H, W).
    """
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in fresh.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches, of which there is one
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        nn.Module.train(fresh)  # also what the network itself keeps in evaluation mode
        fresh.forward(images)
    fresh.eval()
    return fresh

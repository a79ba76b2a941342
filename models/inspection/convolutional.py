"""Activations and class activation maps of convolutional networks.

Letters: B samples, C channels, H x W pixels.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def record_outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of modules, by name, in the latest forward pass within the context."""
    outputs: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for name, module in modules.items():

            def record(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                outputs[name] = output

            hooks.enter_context(module.register_forward_hook(record))
        yield outputs


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode within the context, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def activations(
    model: nn.Module, inputs: Tensor, modules: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Return the outputs of parts of `model`, in evaluation mode, for a batch (B, ...), by name."""
    with eval_mode(model), record_outputs(modules) as outputs:
        model(inputs)
    return outputs


def grad_cam(model: nn.Module, images: Tensor, layer: nn.Module, classes: Tensor) -> Tensor:
    """Compute class activation maps (Grad-CAM, Selvaraju et al. 2017, eq. 1 and 2).

    They are the sum of the channels of `layer`, each weighted by the mean gradient of the logit of
    the class with respect to it; negative values are set to zero.

    Args:
        model: maps images to logits (B, K); applied in evaluation mode.
        images: (B, C, H, W), a batch as the model takes it.
        layer: usually the last part of the model whose output (B, C', H', W') is spatial.
        classes: (B,) int64, the class to be explained for each image.

    Returns:
        (B, H', W') float32, not negative.

    """
    with eval_mode(model), record_outputs({"layer": layer}) as outputs, torch.enable_grad():
        # The images require a gradient because the weights of a frozen network do not.
        logits = model(images.detach().requires_grad_())
        explained, maps = logits.gather(1, classes.unsqueeze(1)).sum(), outputs["layer"]
        (gradients,) = torch.autograd.grad(explained, maps)
    weights = gradients.mean((2, 3), keepdim=True)  # (B, C', 1, 1)
    return torch.relu((weights * maps).sum(1)).detach()


def class_activation_maps(
    model: nn.Module, images: Tensor, layer: nn.Module, num_classes: int
) -> Tensor:
    """Return `grad_cam` of every class, (B, K, H', W') in [0, 1], relative to the largest value."""
    labels = torch.arange(num_classes).unsqueeze(1).expand(-1, len(images))
    maps = torch.stack([grad_cam(model, images, layer, label) for label in labels], dim=1)
    return maps / maps.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)

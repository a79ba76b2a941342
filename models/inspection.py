"""A look inside a trained network, which is not altered.

Letters: B samples, C channels, H x W pixels, T steps, I inputs.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.recurrent import RecurrentNetwork
from models.sequence_classifier import SequenceClassifier


@contextlib.contextmanager
def listening(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Note what these modules put out, by name, in the latest forward pass within."""
    outputs: dict[str, Tensor] = {}
    handles = [
        # A hook that returns nothing leaves the output as it is.
        module.register_forward_hook(
            lambda _, __, output, name=name: outputs.update({name: output})
        )
        for name, module in modules.items()
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode within, and leave the mode as it was."""
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
    """Return what these modules of `model` put out for `inputs`, by name.

    Args:
        model: run in evaluation mode.
        inputs: (B, ...), a batch as the model takes it.
        modules: parts of the model, under names of the caller's choice.

    """
    with evaluating(model), listening(modules) as outputs:
        model(inputs)
    return outputs


def grad_cam(model: nn.Module, images: Tensor, layer: nn.Module, classes: Tensor) -> Tensor:
    """Show which places of each image speak for a class (Selvaraju et al. 2017, eq. 1 and 2).

    The channels of `layer` are summed, each weighted by the mean gradient of the class's logit with
    respect to it; what speaks against the class is cut off at zero.

    Args:
        model: maps images to logits (B, classes); run in evaluation mode.
        images: (B, C, H, W), a batch as the model takes it.
        layer: the part of the model whose output (B, C', H', W') is explained: as a rule the last
            that has places.
        classes: (B,) int64, the class to be explained for each image.

    Returns:
        (B, H', W') float32, the evidence at each place, not negative.

    """
    with evaluating(model), listening({"layer": layer}) as outputs, torch.enable_grad():
        # The images ask for a gradient because a frozen network's weights do not.
        logits = model(images.detach().requires_grad_())
        explained = logits.gather(1, classes.unsqueeze(1)).sum()
        maps = outputs["layer"]
        (gradients,) = torch.autograd.grad(explained, maps)
    weights = gradients.mean((2, 3), keepdim=True)  # (B, C', 1, 1)
    return torch.relu((weights * maps).sum(1)).detach()


def gradient_by_lag(
    network: RecurrentNetwork, symbols: Tensor, targets: Tensor, conditions: Tensor | None = None
) -> Tensor:
    """Return how strongly what is said at the last step depends on what was read before it.

    Args:
        network: what reads.
        symbols: (B, T) int64.
        targets: (B,) int64, what is to be said at the end of each row.
        conditions: (B,) int64; needed where the network has any.

    Returns:
        (T,): the norm of d(loss at the last step) / d(input so many steps before it), averaged
        over the rows; [0] is that of the last step itself.

    """
    inputs = network.encode(symbols, conditions).detach().requires_grad_()  # (B, T, I)
    hidden, _ = network.recurrence(inputs)
    last = network.decode(hidden[:, -1:], conditions).squeeze(1)
    loss = F.cross_entropy(last, targets, reduction="sum")
    (slope,) = torch.autograd.grad(loss, inputs)
    norms: Tensor = slope.norm(dim=-1).mean(0).flip(0)
    return norms


def gradient_times_input(
    network: SequenceClassifier, inputs: Tensor, lengths: Tensor, labels: Tensor
) -> Tensor:
    """Return how much each step adds to the answer, to first order (Shrikumar et al. 2016).

    Args:
        network: what answers.
        inputs: symbols (B, T) or channels (B, T, C).
        lengths: (B,) int64.
        labels: (B,): the classes whose logits are looked at; where the answer is a number, that.

    Returns:
        (B, T): the input at each step times the slope of the answer there, summed over channels.

    """
    channels = network.to_channels(inputs).detach().requires_grad_()
    answers = network.head(network.pool(network.read(channels, lengths), lengths))  # (B, K)
    if answers.shape[1] > 1:
        answers = answers.gather(1, labels.unsqueeze(1))
    (slope,) = torch.autograd.grad(answers.sum(), channels)
    product: Tensor = (slope * channels.detach()).sum(-1)
    return product

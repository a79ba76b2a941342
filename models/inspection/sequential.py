"""Gradients and states over the steps of networks that read sequences.

Letters: B sequences, T steps, I inputs, C channels, F features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.recurrent import RecurrentNetwork
from models.sequence_classifier import SequenceClassifier


def gradient_by_lag(
    network: RecurrentNetwork, symbols: Tensor, targets: Tensor, conditions: Tensor | None = None
) -> Tensor:
    """Return how strongly the loss at the last step depends on the inputs before it.

    Args:
        network: its weights are not changed.
        symbols: (B, T) int64.
        targets: (B,) int64, the target of the last step.
        conditions: (B,) int64, if the network has conditions.

    Returns:
        (T,): the norm of d(loss at the last step) / d(input at each lag before it), averaged over
        the sequences; [0] is that of the last step itself.

    """
    inputs = network.encode(symbols, conditions).detach().requires_grad_()  # (B, T, I)
    hidden, _ = network.recurrence(inputs)
    last = (network.decode(hidden, conditions) + network.direct(symbols))[:, -1]
    loss = F.cross_entropy(last, targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs)
    norms: Tensor = gradient.norm(dim=-1).mean(0).flip(0)
    return norms


def gradient_times_input(
    network: SequenceClassifier, inputs: Tensor, lengths: Tensor, labels: Tensor
) -> Tensor:
    """Return the contribution of each step to an output, to first order (Shrikumar et al. 2016).

    It is the input at each step times the gradient of the output, summed over channels: (B, T). In
    classification the output is the logit of `labels` (B,) int64.
    """
    channels = network.to_channels(inputs).detach().requires_grad_()
    outputs = network.classify(channels, lengths)  # (B, K)
    if outputs.shape[1] > 1:
        outputs = outputs.gather(1, labels.unsqueeze(1))
    (gradient,) = torch.autograd.grad(outputs.sum(), channels)
    product: Tensor = (gradient * channels.detach()).sum(-1)
    return product


def lstm_cell_states(network: SequenceClassifier, inputs: Tensor) -> Tensor | None:
    """Return the cell states of the last layer of an LSTM after each step of one sequence, (T, F).

    The inputs are symbols (1, T) or channels (1, T, C); other encoders give None.
    """
    layers = getattr(network.encoder, "layers", None)
    if not isinstance(layers, nn.LSTM):
        return None
    state, cells = None, []
    for channels in network.to_channels(inputs).split(1, dim=1):
        _, state = layers(channels, state)
        cells.append(state[1][-1, 0])
    return torch.stack(cells)

"""How much each part of a network is worth on text that it has not learned from.

A network with n-grams adds up P terms: the logits of its output layer, and those of each length of
n-grams. They are trained together, on a text that the longer n-grams soon know by heart. Their
weights in the sum are therefore fitted anew, on the validation third (stacked generalisation:
Wolpert 1992). Without n-grams there is one term, and its weight is one over the temperature of Guo
et al. 2017.

Letters: N characters, S symbols, P terms.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.rnn_text.streams import one_stream
from models.recurrent import RecurrentNetwork, State

MAX_NUMBERS = 2**25
"""N P S of what the weights are fitted on, a text's beginning, which takes four bytes each."""
MAX_STEPS = 50
"""Steps of Newton's method, of which a few suffice."""
TOLERANCE = 1e-4
"""Largest change of a weight in the last of them."""
CHUNK_LENGTH = 1000
"""Characters that are read at once; it changes only memory and time."""


def stack(network: RecurrentNetwork, symbols: Tensor) -> RecurrentNetwork:
    """Return a copy, on the CPU, whose terms are weighted as suits a text (N,) best."""
    network = copy.deepcopy(network).cpu().eval()
    weigh(network, fit_weights(*terms_of(network, symbols)))
    return network


@torch.inference_mode()
def terms_of(network: RecurrentNetwork, symbols: Tensor) -> tuple[Tensor, Tensor]:
    """Return the terms (N, P, S) that predict a text's beginning, and its symbols (N,) int64."""
    num_terms = 1 + (len(network.ngrams.lengths) if network.ngrams else 0)
    chunks = one_stream(symbols[: MAX_NUMBERS // (num_terms * network.num_symbols)], CHUNK_LENGTH)
    parts, targets = [], []
    for chunk in chunks:
        terms, state = _terms(network, chunk.inputs, chunk.carry.state)
        chunk.carry.keep(state)
        parts.append(terms.squeeze(0))
        targets.append(chunk.targets.squeeze(0))
    return torch.cat(parts), torch.cat(targets)


def _terms(network: RecurrentNetwork, symbols: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Map symbols (B, T) and the state before them to terms (B, T, P, S) and the state after."""
    logits, after = network(symbols, state=state)
    if network.ngrams is None:
        return logits.unsqueeze(2), after
    before = state[1] if state else None
    direct = network.ngrams.look_up(network.ngrams.seen(symbols, before))
    own = logits - direct.sum(2)
    return torch.cat([own.unsqueeze(2), direct], dim=2), after


def fit_weights(terms: Tensor, targets: Tensor) -> Tensor:
    """Return the weights (P,) with the lowest cross-entropy of targets (N,), given terms (N, P, S).

    It is convex in them, and Newton's method finds it; a step that would raise it is halved. A
    Gaussian prior, of mean and variance 1, keeps weights finite that no character speaks against;
    it counts as much as one character.
    """
    count, num_terms, num_symbols = terms.shape
    rows = terms.transpose(0, 1).reshape(num_terms, count * num_symbols)

    def logits(weights: Tensor) -> Tensor:
        return (weights.float() @ rows).view(count, num_symbols)

    def objective(weights: Tensor) -> float:
        """Return the cross-entropy of all characters, and the prior's part."""
        loss = F.cross_entropy(logits(weights), targets).double() * count
        return float(loss + (weights - 1).square().sum() / 2)

    weights = torch.ones(num_terms, dtype=torch.float64)
    loss = objective(weights)
    for _ in range(MAX_STEPS):
        probabilities = logits(weights).softmax(-1)
        errors = probabilities - F.one_hot(targets, num_symbols)
        gradient = (rows @ errors.flatten()).double() + weights - 1
        means = torch.einsum("nps,ns->np", terms, probabilities)
        curvature = (rows * probabilities.flatten()) @ rows.T - means.T @ means
        step = torch.linalg.solve(curvature.double() + torch.eye(num_terms), gradient)
        while step.abs().max() > TOLERANCE and (after := objective(weights - step)) > loss:
            step /= 2
        if step.abs().max() <= TOLERANCE:
            break
        weights, loss = weights - step, after
    return weights.float()


@torch.no_grad()
def weigh(network: RecurrentNetwork, weights: Tensor) -> None:
    """Multiply the terms of a network's logits by weights (P,)."""
    own, *direct = weights
    for parameter in network.output[-1].parameters():
        parameter.mul_(own)
    if network.ngrams is not None:
        rows = network.ngrams.weights.view(len(direct), -1)  # those of each length
        rows.mul_(torch.stack(direct).unsqueeze(-1))

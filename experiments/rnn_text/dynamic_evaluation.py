"""How a text is read once from its beginning to its end, with fixed weights and with adapted ones.

Letter: N characters.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from experiments.rnn_text.streams import Chunk, one_stream
from models.ngram_logits import NGramLogits
from models.recurrent import RecurrentNetwork, State

CHUNK_LENGTH, LEARNING_RATE, DAMPING, RETURN = 32, 1e-3, 1e-4, 5e-4
"""Of dynamic evaluation: characters per step; the learning rate, and what is added to each
gradient's size; the share of the way back to the trained weights after each step. They were chosen
on the validation third of Python's documentation."""
NGRAM_LEARNING_RATE = 0.4
"""Of the first step of each row of n-grams; chosen in the same way."""


class Reading(NamedTuple):
    """How a network has predicted each character of a text, given those before it."""

    losses: Tensor
    """(N,) float32: cross-entropy of the character that came, in nats."""
    predictions: Tensor
    """(N,) int64: the most probable character."""

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor) -> Self:
        """Compare logits (1, T, S) with the characters that came, (1, T)."""
        logits, targets = logits.squeeze(0), targets.squeeze(0)
        return cls(F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1))

    @classmethod
    def join(cls, parts: "list[Reading]") -> Self:
        """Return the reading of a text from those of its parts, in order."""
        return cls(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.inference_mode()
def online_evaluation(network: RecurrentNetwork, symbols: Tensor, length: int = 1000) -> Reading:
    """Predict each character of a text (N,), given all those before it.

    So many characters are read at a time as `length` says; it changes only memory and time.
    """
    parts = []
    for chunk in one_stream(symbols, length):
        logits, state = network(chunk.inputs, state=chunk.carry.state)
        chunk.carry.keep(state)
        parts.append(Reading.of(logits, chunk.targets))
    return Reading.join(parts)


def dynamic_evaluation(
    network: RecurrentNetwork,
    symbols: Tensor,
    also: Callable[[Tensor, Tensor], None] = lambda symbols, logits: None,
) -> Reading:
    """Predict each character of a text (N,), from weights that adapt to those before it.

    Dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018): a few characters are predicted,
    then one step of gradient descent is taken on their loss, before the next are predicted. No
    character is trained on before it was predicted, so the result is a fair one, as that of a
    compressor. Steps are divided by the root mean square of each weight's gradients, as they are
    met, and weights return a little towards the trained ones. Those of n-grams have steps of their
    own. The network, in evaluation mode, stays as it is: a copy adapts. `also` is given each chunk
    of symbols (T,) with the logits (T, S) that were predicted for it.
    """
    network = copy.deepcopy(network)
    ngrams = NGramSteps(network.ngrams) if network.ngrams is not None else None
    weights: list[Tensor] = [each for each in network.parameters() if each.requires_grad]
    trained = [each.detach().clone() for each in weights]
    # Without momentum, Adam divides by the root mean square alone, and corrects it from the start.
    optimizer = torch.optim.Adam(
        weights, LEARNING_RATE, betas=(0.0, 0.999), eps=DAMPING, fused=True
    )
    parts = []
    chunks = one_stream(symbols, CHUNK_LENGTH)
    for chunk in tqdm(chunks, desc="dynamic evaluation", disable=None):
        before = chunk.carry.state
        logits, state = network(chunk.inputs, state=before)
        chunk.carry.keep(state)
        reading = Reading.of(logits, chunk.targets)
        also(chunk.targets.squeeze(0), logits.detach().squeeze(0))
        optimizer.zero_grad()
        reading.losses.mean().backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(weights, trained, RETURN)
        if ngrams:
            ngrams.step(chunk, before, logits.detach())
        parts.append(Reading(reading.losses.detach(), reading.predictions))
    return Reading.join(parts)


class NGramSteps:
    """Gradient descent on the rows of n-grams that are met; the n-th step of a row by 1 / sqrt(n).

    Most rows have no gradient in a chunk, and are not read. Each character's loss counts in full,
    however long the chunk. Rows do not return to the trained weights.
    """

    def __init__(self, ngrams: NGramLogits):
        self.ngrams = ngrams.requires_grad_(False)
        self.counts = torch.zeros(len(ngrams.weights))

    def step(self, chunk: Chunk, before: State | None, logits: Tensor) -> None:
        """Learn from a chunk, given the state before it and the logits (1, T, S) predicted."""
        rows = self.ngrams.rows(self.ngrams.seen(chunk.inputs, before[1] if before else None))
        rows = rows.flatten()  # (T O,)
        self.counts.index_add_(0, rows, torch.ones(len(rows)))
        gradients = logits.softmax(-1) - F.one_hot(chunk.targets, logits.shape[-1])
        gradients = gradients.flatten(0, 1).repeat_interleave(len(self.ngrams.lengths), dim=0)
        steps = gradients / self.counts[rows].sqrt().unsqueeze(-1)
        self.ngrams.weights.index_add_(0, rows, steps, alpha=-NGRAM_LEARNING_RATE)

"""How a recurrent network reads a text, learns from it, is measured, and writes.

The text is cut into streams that are read side by side, a chunk of each at a time; the network's
state goes on from chunk to chunk.
"""

import copy
import lzma
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from datasets.characters import NUM_SYMBOLS, Corpus, Vocabulary, streams
from datasets.splits import stream
from experiments.harness.metrics import Outcome
from models.ngram import bits_of, kneser_ney
from models.recurrent import RecurrentNetwork, State, generate

NGRAM_ORDER = 5
READING_RATE, READING_LENGTH = 0.3, 32
"""Learning rate of dynamic evaluation, and characters of a step, as the validation third chose."""
NGRAM_UPDATE = 10_000
"""Characters after which an n-gram model that learns while it reads is estimated anew."""
PROMPT, NUM_WRITTEN = "the ", 300
"""How the network begins to write, and how many characters it adds."""

Chunk = tuple[Tensor, Tensor, bool]
"""Inputs (B, T), targets (B, T), and whether streams begin here."""


def chunks(symbols: Tensor, batch_size: int, length: int) -> list[Chunk]:
    """Return the chunks of a text's streams, in order.

    Args:
        symbols: (N,) integers.
        batch_size: streams, B.
        length: steps of a chunk, T.

    """
    parts: Sequence[tuple[Tensor, Tensor]] = streams(symbols, batch_size, length)
    return [(inputs, targets, number == 0) for number, (inputs, targets) in enumerate(parts)]


def training_chunks(
    symbols: Tensor, batch_size: int, length: int, seed: int, epoch: int
) -> list[Chunk]:
    """Return the chunks of an epoch: equally many, but cut elsewhere each time.

    Args:
        symbols: (N,) integers, of which `length` - 1 are left out.
        batch_size: streams, B.
        length: steps of a chunk, T.
        seed: of the run.
        epoch: counted from 1.

    """
    start = int(torch.randint(length, (), generator=stream(seed, "train", epoch)))
    return chunks(symbols[start : len(symbols) - length + start + 1], batch_size, length)


class TextLoss:
    """Cross-entropy of the next character, with the state that the chunk before has left.

    Gradients end where a chunk begins: truncated back-propagation through time (Williams & Peng
    1990).
    """

    def __init__(self) -> None:
        self._state: State | None = None

    def __call__(self, model: RecurrentNetwork, chunk: Chunk) -> Outcome:
        """Return the mean over all characters of a chunk."""
        inputs, targets, is_first = chunk
        logits, state = model(inputs, state=None if is_first else self._state)
        self._state = _detached(state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        metrics = {
            "loss": loss,
            "accuracy": (logits.argmax(-1) == targets).double().mean(),
            "bits_per_character": loss / math.log(2),
        }
        return Outcome(loss, metrics, targets.numel())


def _detached(state: State) -> State:
    if isinstance(state, tuple):
        hidden, cells = state
        return hidden.detach(), cells.detach()
    return state.detach()


@torch.inference_mode()
def read_through(network: RecurrentNetwork, symbols: Tensor, length: int = 1000) -> Tensor:
    """Return the logits of every character of a text, given all those before it.

    Args:
        network: in evaluation mode.
        symbols: (N,) integers.
        length: characters to read at a time.

    Returns:
        (N, S).

    """
    before = F.pad(symbols[:-1].long(), (1, 0)).unsqueeze(0)  # (1, N), a blank first
    logits, state = [], None
    for chunk in before.split(length, dim=1):
        part, state = network(chunk, state=state)
        logits.append(part.squeeze(0))
    return torch.cat(logits)


def learn_while_reading(network: RecurrentNetwork, symbols: Tensor) -> Tensor:
    """Return the logits of every character of a text, from a network that learns as it reads.

    Dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018): a few characters are foretold,
    then learnt from by one step of gradient descent, before the next are foretold. No character is
    learnt from before it was foretold; compressors of files do the same.

    Args:
        network: in evaluation mode; a copy of it learns.
        symbols: (N,) integers.

    Returns:
        (N, S).

    """
    reader = copy.deepcopy(network)
    optimizer = torch.optim.SGD(reader.parameters(), lr=READING_RATE)
    before = F.pad(symbols[:-1].long(), (1, 0)).unsqueeze(0)  # (1, N), a blank first
    pieces = zip(
        before.split(READING_LENGTH, dim=1), symbols.long().split(READING_LENGTH), strict=True
    )
    logits, state = [], None
    total = math.ceil(len(symbols) / READING_LENGTH)
    for inputs, targets in tqdm(pieces, desc="learning while reading", total=total, disable=None):
        part, after = reader(inputs, state=state)
        state = _detached(after)
        optimizer.zero_grad()
        F.cross_entropy(part.squeeze(0), targets).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), max_norm=1.0)
        optimizer.step()
        logits.append(part.squeeze(0).detach())
    return torch.cat(logits)


def compressors(corpus: Corpus) -> dict[str, float]:
    """Return the bits per character of what needs no network, on the test third.

    The n-gram model has learnt from the training third; the dynamic one goes on with what it has
    read of the test third. xz has learnt nothing: it is given once the test third alone, and once
    both, of which the bits of the training third are taken off again.
    """
    train, test = (Vocabulary().decode(part).encode() for part in (corpus.train, corpus.test))
    alone, both, first = (
        8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
        for text in (test, train + test, train)
    )
    ngrams = kneser_ney(corpus.train, NGRAM_ORDER, NUM_SYMBOLS)
    return {
        "ngram_bits_per_character": bits_of(ngrams, corpus.test).mean().item(),
        "dynamic_ngram_bits_per_character": dynamic_ngrams(corpus).mean().item(),
        "xz_bits_per_character": alone / len(test),
        "xz_after_training_bits_per_character": (both - first) / len(test),
    }


def dynamic_ngrams(corpus: Corpus) -> Tensor:
    """Return the bits of each character of the test third, (N,), learnt from once it is read."""
    bits = []
    for start in range(0, len(corpus.test), NGRAM_UPDATE):
        end = start + NGRAM_UPDATE
        known = torch.cat([corpus.train, corpus.test[:start]])
        ngrams = kneser_ney(known, NGRAM_ORDER, NUM_SYMBOLS)
        bits.append(bits_of(ngrams, corpus.test[:end])[start:])
    return torch.cat(bits)


def write(network: RecurrentNetwork, temperatures: Sequence[float], seed: int) -> list[str]:
    """Let a network go on with the prompt, once at each temperature."""
    prompt, generator = Vocabulary().encode(PROMPT), stream(seed, "test")
    written = generate(network, prompt, NUM_WRITTEN, torch.tensor(temperatures), generator)
    return [PROMPT + Vocabulary().decode(row) for row in written]

"""How a text is read once from its beginning to its end, with fixed weights and with adapted ones.

Letters: N characters, S symbols.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from datasets.characters import BLANK
from experiments.rnn_text.streams import Streams
from models.recurrent import RecurrentNetwork

LEARNING_RATE, CHUNK_LENGTH = 0.3, 32
"""Of dynamic evaluation, in characters per step; chosen on the validation third."""


def one_stream(symbols: Tensor, length: int) -> Streams:
    """Return a text as one stream in which every character is a target: a blank is read first."""
    return Streams(F.pad(symbols, (1, 0), value=BLANK), batch_size=1, length=length)


@torch.inference_mode()
def online_logits(network: RecurrentNetwork, symbols: Tensor, length: int = 1000) -> Tensor:
    """Return the logits (N, S) of each character of a text (N,), given all those before it.

    So many characters are read at a time as `length` says; it changes only memory and time.
    """
    logits = []
    for inputs, _, carry in one_stream(symbols, length):
        outputs, state = network(inputs, state=carry.state)
        carry.keep(state)
        logits.append(outputs.squeeze(0))
    return torch.cat(logits)


def dynamic_evaluation(network: RecurrentNetwork, symbols: Tensor) -> Tensor:
    """Return the logits (N, S) of each character of a text (N,), from weights that adapt to it.

    Dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018): a few characters are predicted,
    then one step of gradient descent is taken on their loss, before the next are predicted. No
    character is trained on before it was predicted, so the result is a fair one, as that of a
    compressor. The network, in evaluation mode, stays as it is: a copy adapts.
    """
    network = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    logits = []
    chunks = one_stream(symbols, CHUNK_LENGTH)
    for inputs, targets, carry in tqdm(chunks, desc="dynamic evaluation", disable=None):
        outputs, state = network(inputs, state=carry.state)
        carry.keep(state)
        optimizer.zero_grad()
        F.cross_entropy(outputs.squeeze(0), targets.squeeze(0)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), max_norm=1.0)
        optimizer.step()
        logits.append(outputs.squeeze(0).detach())
    return torch.cat(logits)

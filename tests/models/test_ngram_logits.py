"""Logits of n-grams, against Python's own numbers and windows."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.choices import CellName
from models.inspection.sequential import gradient_by_lag
from models.ngram_logits import NUM_WEIGHTS, NGramLogits
from tests.models.small import recurrent_network

NUM_SYMBOLS = 5
LENGTHS = [2, 3, 4, 5, 6]


@pytest.fixture
def ngrams() -> NGramLogits:
    module = NGramLogits(NUM_SYMBOLS, longest=6)
    torch.nn.init.normal_(module.bias)
    return module.eval()


def symbols(num_steps: int) -> Tensor:
    return torch.randint(NUM_SYMBOLS, (2, num_steps), generator=torch.Generator().manual_seed(0))


def test_the_row_of_each_ngram_is_added(ngrams: NGramLogits) -> None:
    """Each n-gram by itself, hashed with Python's integers, which do not overflow."""
    read = symbols(40)
    logits, _ = ngrams(read)
    weights = ngrams.bias.view(len(LENGTHS), -1, NUM_SYMBOLS)
    for row in range(2):
        for step in range(5, 40):
            expected = torch.zeros(NUM_SYMBOLS)
            for number, length in enumerate(LENGTHS):
                hashed = 0
                for symbol in reversed(read[row, step - length + 1 : step + 1].tolist()):
                    hashed = (hashed * 1_000_003 + symbol + 1) % (2**31 - 1)
                hashed = hashed * 1_000_003 % (2**31 - 1) % (NUM_WEIGHTS // NUM_SYMBOLS)
                expected += weights[number, hashed]
            torch.testing.assert_close(logits[row, step], expected)


def test_symbols_further_back_do_not_count(ngrams: NGramLogits) -> None:
    read = symbols(20)
    other = read.clone()
    other[:, :10] = (other[:, :10] + 1) % NUM_SYMBOLS
    same = (ngrams(read)[0] == ngrams(other)[0]).all(-1)
    assert same[:, 15:].all()  # the six last symbols are the same
    assert not same[:, :15].any()


def test_read_in_pieces_it_is_the_same(ngrams: NGramLogits) -> None:
    read, before, pieces = symbols(23), None, []
    for piece in read.split([1, 2, 9, 11], dim=1):
        logits, before = ngrams(piece, before)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), ngrams(read)[0])


def test_few_of_the_ngrams_of_a_text_share_a_row() -> None:
    module = NGramLogits(27, longest=16)
    text = torch.randint(27, (1, 20_000), generator=torch.Generator().manual_seed(0))
    rows = module.rows(torch.cat([text.new_full((1, 15), -1), text], 1))[0, 15:]  # (T, O)
    trigrams = len({tuple(window) for window in text[0].unfold(0, 3, 1).tolist()})
    found = len(rows[:, 1].unique())
    # At least as many as rows that are drawn at random would be.
    expected = module.num_rows * (1 - (1 - 1 / module.num_rows) ** trigrams)
    assert found > 0.98 * expected


def test_in_training_each_position_uses_ngrams_up_to_some_length(ngrams: NGramLogits) -> None:
    read = symbols(3000)[:1]
    weights = ngrams.bias.detach().view(-1, NUM_SYMBOLS)
    seen = torch.cat([read.new_full((1, 5), -1), read], 1)
    sums = weights[ngrams.rows(seen)].cumsum(2)  # (1, T, O, S), up to each length
    sums = torch.cat([torch.zeros_like(sums[:, :, :1]), sums], 2)
    logits = ngrams.train()(read)[0].detach()
    used = (sums - logits.unsqueeze(2)).abs().amax(-1) < 1e-5  # (1, T, O + 1)
    assert used.any(-1).all()
    shares = used.double().mean((0, 1))
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / 6), atol=0.04, rtol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm", "s6"])
def test_a_network_carries_its_last_symbols_along(cell: CellName) -> None:
    network = recurrent_network(cell, longest_ngram=6)
    assert network.ngrams is not None
    torch.nn.init.normal_(network.ngrams.bias)
    read = symbols(23) % network.num_symbols
    whole, _ = network(read)
    state, pieces = None, []
    for piece in read.split([1, 7, 15], dim=1):
        logits, state = network(piece, state=state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)
    without = recurrent_network(cell)
    without.load_state_dict(network.state_dict(), strict=False)
    torch.testing.assert_close(whole - without(read)[0], network.ngrams(read)[0])


def test_gradients_by_lag_are_those_of_the_loss_with_ngrams() -> None:
    network = recurrent_network(embedding_size=4, longest_ngram=6)
    assert network.embedding is not None
    assert network.ngrams is not None
    torch.nn.init.normal_(network.ngrams.bias)
    read, targets = symbols(12), torch.tensor([1, 3])
    inputs: list[Tensor] = []
    network.embedding.register_forward_hook(lambda module, given, output: inputs.append(output))
    loss = F.cross_entropy(network(read)[0][:, -1], targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs)
    expected = gradient.norm(dim=-1).mean(0).flip(0)
    torch.testing.assert_close(gradient_by_lag(network, read, targets), expected)

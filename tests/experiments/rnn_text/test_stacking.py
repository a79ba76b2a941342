"""The terms of a network's logits, weighted on text that it has not learned from."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.rnn_text import lesson, stacking
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.lesson import EXPERIMENT
from harness.training.train import train
from models.recurrent import RecurrentNetwork

NUM_SYMBOLS = 5


def network_with(longest_ngram: int) -> RecurrentNetwork:
    torch.manual_seed(0)
    network = RecurrentNetwork(
        num_symbols=NUM_SYMBOLS,
        cell="gru",
        hidden_size=8,
        num_layers=1,
        embedding_size=0,
        dropout_rate=0.0,
        initialisation="default",
        horizon=5,
        longest_ngram=longest_ngram,
    ).eval()
    with torch.no_grad():
        next(network.output[-1].parameters()).mul_(8)
        if network.ngrams is not None:
            network.ngrams.bias.normal_()
    return network


def text_of(network: RecurrentNetwork, weights: list[float], length: int) -> Tensor:
    """Sample a text whose characters have the logits of the weighted terms."""
    other = copy.deepcopy(network)
    stacking.weigh(other, torch.tensor(weights))
    generator = torch.Generator().manual_seed(1)
    symbol, state, text = torch.zeros(1, 1, dtype=torch.long), None, []
    with torch.inference_mode():
        for _ in range(length):
            logits, state = other(symbol, state=state)
            symbol = torch.multinomial(logits[0].softmax(-1), 1, generator=generator)
            text.append(symbol[0])
    return torch.cat(text)


@pytest.mark.parametrize(("longest", "weights"), [(0, [0.5]), (4, [1.5, 0.7, 0.2, 1.0])])
def test_the_weights_that_a_text_was_sampled_with_are_found(
    longest: int, weights: list[float]
) -> None:
    network = network_with(longest)
    text = text_of(network, weights, 4000)
    found = stacking.fit_weights(*stacking.terms_of(network, text))
    assert found.tolist() == pytest.approx(weights, abs=0.12)


def test_a_stacked_network_has_the_weighted_sum_of_the_terms() -> None:
    network = network_with(4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    text = text_of(network, [1.0, 0.2, 1.0, 2.0], 300)
    stacked = stacking.stack(network, text)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    read = F.pad(text, (1, 0))[None, :-1]
    weights = stacking.fit_weights(*stacking.terms_of(network, text))
    ngrams: Any = network.ngrams
    rows = ngrams.rows(F.pad(read, (3, 0), value=-1))[0]  # (T, O)
    with torch.no_grad():
        own = network.decode(network.recurrence(network.encode(read))[0])[0]
        logits = weights[0] * own
        for place, weight in enumerate(weights[1:]):
            logits += weight * ngrams.bias.view(-1, NUM_SYMBOLS)[rows[:, place]]
        torch.testing.assert_close(stacked(read)[0][0], logits, rtol=1e-4, atol=1e-4)
        plain, better = (F.cross_entropy(each(read)[0][0], text) for each in (network, stacked))
    assert better < plain


def test_terms_are_of_the_beginning_of_a_text_that_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with(4)
    text = torch.randint(NUM_SYMBOLS, (200,))
    monkeypatch.setattr(stacking, "MAX_NUMBERS", 4 * NUM_SYMBOLS * 50)
    monkeypatch.setattr(stacking, "CHUNK_LENGTH", 7)
    terms, targets = stacking.terms_of(network, text)
    assert terms.shape == (50, 4, NUM_SYMBOLS)
    assert targets.equal(text[:50])
    read = F.pad(text, (1, 0))[None, :50]
    torch.testing.assert_close(terms.sum(1), network(read)[0][0], rtol=1e-4, atol=1e-5)


def test_what_no_character_speaks_against_stays_finite() -> None:
    """Terms that are always right would have weights without end."""
    targets = torch.tensor([0, 1, 1])
    terms = 5 * F.one_hot(targets, 2).float().unsqueeze(1)
    weight = stacking.fit_weights(terms, targets)
    assert 1 < weight.item() < 3


def test_a_trained_network_is_stacked_on_the_validation_third(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog while it rains " * 20)
    config = RNNTextConfig(**{**RNNTextConfig.tiny, "text": str(path)})
    trained = train(EXPERIMENT, config)
    monkeypatch.setattr(lesson, "stack", lambda network, symbols: network)
    plain = train(EXPERIMENT, config)
    expected = stacking.stack(plain.model, plain.data.validation.symbols).state_dict()
    assert not plain.model.output[-1].bias.equal(expected["output.0.bias"])
    for name, value in trained.model.state_dict().items():
        torch.testing.assert_close(value, expected[name])

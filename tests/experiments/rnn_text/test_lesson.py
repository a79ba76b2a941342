"""The next character: how a text is read in training, in evaluation and with adapted weights."""

import bz2
import dataclasses
import lzma
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datasets.characters import Vocabulary
from datasets.corpus import load_corpus
from experiments.rnn_text import baselines, dynamic_evaluation, mixture
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.lesson import EXPERIMENT
from experiments.rnn_text.streams import Carry, Chunk, Streams, one_stream
from harness.errors import UserError
from harness.run_experiment import run_experiment
from harness.training.train import train
from tests.experiments.conftest import check_resuming

TEXT = "the quick brown fox jumps over the lazy dog while five boxing wizards jump quickly " * 12


@pytest.fixture
def config(tmp_path: Path) -> RNNTextConfig:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return RNNTextConfig(
        text=str(path),
        cell="gru",
        hidden_size=8,
        longest_ngram=3,
        embedding_size=0,
        dropout_rate=0.0,
        batch_size=4,
        length=10,
        num_epochs=2,
        checkpoint_seconds=0.0,
    )


@pytest.fixture
def network(config: RNNTextConfig) -> Any:
    torch.manual_seed(0)
    return EXPERIMENT.build_model(config, EXPERIMENT.load_data(config)).eval()


def test_a_text_is_resumed_where_the_chunk_before_ended(
    config: RNNTextConfig, network: Any
) -> None:
    """Chunk by chunk with its state, the loss is that of the streams as a whole."""
    chunks = EXPERIMENT.validation_batches(config, EXPERIMENT.load_data(config))
    for _ in range(2):  # the second pass begins with no state again
        outputs = [EXPERIMENT.loss(config, network, chunk) for chunk in chunks]
        total = sum(output.loss.item() * int(output.num_samples) for output in outputs)
        inputs = torch.cat([chunk.inputs for chunk in chunks], dim=1)
        targets = torch.cat([chunk.targets for chunk in chunks], dim=1)
        expected = F.cross_entropy(network(inputs)[0].transpose(1, 2), targets).item()
        assert total / targets.numel() == pytest.approx(expected, rel=1e-5)
    bits = outputs[0].metrics["bits_per_character"].item()
    assert bits == pytest.approx(outputs[0].loss.item() / math.log(2))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_end_where_a_chunk_begins(config: RNNTextConfig, cell: str) -> None:
    config = config.replace(cell=cell, embedding_size=3)
    network: Any = EXPERIMENT.build_model(config, EXPERIMENT.load_data(config))
    carry = Carry()
    for symbol in (1, 2):
        symbols = torch.full((1, 4), symbol)
        output = EXPERIMENT.loss(config, network, Chunk(symbols, symbols, carry))
    output.loss.backward()
    gradient = network.embedding.weight.grad
    assert gradient[1].abs().sum() == 0 < gradient[2].abs().sum()


def test_every_epoch_is_cut_elsewhere_into_as_many_chunks(config: RNNTextConfig) -> None:
    data = EXPERIMENT.load_data(config)
    epochs = [list(EXPERIMENT.training_batches(config, data, epoch)) for epoch in range(1, 30)]
    assert len({len(chunks) for chunks in epochs}) == 1
    assert len({tuple(chunks[0].inputs[0].tolist()) for chunks in epochs}) > 5
    assert all(len({id(chunk.carry) for chunk in chunks}) == 1 for chunks in epochs)


def test_two_passes_share_no_state() -> None:
    streams = Streams(torch.arange(20) % 27, batch_size=2, length=4)
    first, second = (next(iter(streams)).carry for _ in range(2))
    first.keep(torch.ones(1))
    assert second.state is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({}, (0.5, RNNTextConfig.embedding_dropout_rate)),
        ({"embedding_dropout_rate": 0.4}, (0.5, 0.4)),
        ({"dropout_rate": 0.0}, (0.0, 0.0)),  # without dropout there is none at all
    ],
)
def test_dropout_is_as_configured(
    config: RNNTextConfig, rates: dict[str, float], expected: tuple[float, float]
) -> None:
    config = config.replace(embedding_size=4, dropout_rate=0.5).replace(**rates)
    network: Any = EXPERIMENT.build_model(config, EXPERIMENT.load_data(config))
    assert (network.dropout.p, network.embedding_dropout.p) == expected


def test_every_character_is_predicted_from_all_before_it(
    config: RNNTextConfig, network: Any
) -> None:
    symbols = EXPERIMENT.load_data(config).test.symbols
    reading = dynamic_evaluation.online_evaluation(network, symbols, length=7)
    before = torch.cat([torch.zeros(1, dtype=torch.long), symbols[:-1].long()])
    with torch.no_grad():
        logits = network(before.unsqueeze(0))[0][0]
    expected = -logits.log_softmax(-1)[range(len(symbols)), symbols.long()]
    torch.testing.assert_close(reading.losses, expected, rtol=1e-4, atol=1e-5)
    assert reading.predictions.tolist() == logits.argmax(-1).tolist()


def test_dynamic_evaluation_predicts_before_it_adapts(network: Any) -> None:
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    first = torch.arange(dynamic_evaluation.CHUNK_LENGTH) % 3
    symbols = torch.cat([first] * 100).to(torch.uint8)
    loss = dynamic_evaluation.dynamic_evaluation(network, symbols).losses
    # The first chunk is predicted by the network as it was, whatever follows.
    expected = dynamic_evaluation.online_evaluation(network, symbols[: len(first)]).losses
    torch.testing.assert_close(loss[: len(first)], expected, rtol=1e-4, atol=1e-5)
    other = torch.cat([symbols[: -len(first)], symbols[-len(first) :].flip(0)])
    changed = dynamic_evaluation.dynamic_evaluation(network, other).losses
    torch.testing.assert_close(loss[: -len(first)], changed[: -len(first)])
    # A copy adapts to what is repeated again and again.
    assert loss[-len(first) :].mean() < 0.7 * loss[: len(first)].mean()
    for name, value in network.state_dict().items():
        assert value.equal(weights[name])


def test_a_step_of_dynamic_evaluation_is_that_of_its_equation(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step is the learning rate in the direction of each gradient, and a bit back.

    Rows of n-grams: the gradients of all characters that met one, over the square root of how many.
    """
    monkeypatch.setattr(dynamic_evaluation, "RETURN", 0.25)
    length, rate = dynamic_evaluation.CHUNK_LENGTH, dynamic_evaluation.LEARNING_RATE
    symbols = torch.arange(2 * length) % 7
    losses = dynamic_evaluation.dynamic_evaluation(network, symbols).losses
    before = F.pad(symbols, (1, 0))[None]
    logits, state = network(before[:, :length])
    F.cross_entropy(logits[0], symbols[:length]).backward()
    rows = network.ngrams.rows(F.pad(before[:, :length], (2, 0), value=-1))
    met = torch.bincount(rows.flatten(), minlength=len(network.ngrams.weights))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("ngrams."):
                gradient = length * weight.grad.view(-1, logits.shape[-1])
                each = gradient / met.clamp(min=1).sqrt().unsqueeze(1)
                weight -= dynamic_evaluation.NGRAM_LEARNING_RATE * each.flatten()
                continue
            step = rate * weight.grad / (weight.grad.abs() + dynamic_evaluation.DAMPING)
            weight -= 0.75 * step
        logits, _ = network(before[:, length:-1], state=state)
    expected = F.cross_entropy(logits[0], symbols[length:], reduction="none")
    torch.testing.assert_close(losses[length:], expected, rtol=1e-5, atol=1e-5)


def test_rows_of_ngrams_that_were_met_before_take_smaller_steps(network: Any) -> None:
    """The n-th step of a row, in a later chunk with its state, is divided by the root of n."""
    ngrams = network.ngrams
    steps = dynamic_evaluation.NGramSteps(ngrams)
    symbols, state = torch.tensor([1, 2]).repeat(8), None
    moved = []
    for chunk in one_stream(symbols, 4):
        logits, after = network(chunk.inputs, state=state)
        old = ngrams.weights.clone()
        steps.step(chunk, state, logits.detach())
        moved.append((ngrams.weights - old, logits.detach(), chunk))
        state = after
    seen = torch.tensor([[2, 1]])  # before the last chunk, of 2, 1, 2, 1, which began with 0
    rows = ngrams.rows(torch.cat([seen, moved[-1][2].inputs], 1))[0]
    change, logits, chunk = moved[-1]
    for row in rows.unique().tolist():
        places = (rows == row).any(1)
        gradients = (logits[0].softmax(-1) - torch.eye(logits.shape[-1])[chunk.targets[0]])[places]
        count = steps.counts[row]
        assert count >= 6, "two in each of three or four chunks"
        expected = -dynamic_evaluation.NGRAM_LEARNING_RATE * gradients.sum(0) / count.sqrt()
        torch.testing.assert_close(change[row], expected, rtol=1e-4, atol=1e-6)
    assert change.any(1).sum() == len(rows.unique()), "no other row moves"


def test_baselines_are_given_the_same_characters(config: RNNTextConfig) -> None:
    pytest.importorskip("pyppmd")
    data = EXPERIMENT.load_data(config)
    bits = baselines.bits_per_symbol(data.train, data.test, data.vocabulary)
    test = Vocabulary().decode(data.test.symbols).encode()
    archive = lzma.compress(test, preset=9 | lzma.PRESET_EXTREME)
    assert bits["xz_"] == pytest.approx(8 * len(archive) / len(test))
    assert bits["bz2_"] == pytest.approx(8 * len(bz2.compress(test)) / len(test))
    # What repeats what was read before costs next to nothing after it.
    for name in ("xz", "ppmd"):
        assert bits[f"{name}_after_training_"] < 0.3 * bits[f"{name}_"]
    assert max(bits["ngram_"], bits["dynamic_ngram_"]) < 0.3


def test_without_pyppmd_its_baseline_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(baselines.log, "warning", said.append)
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    assert list(baselines.compressors()) == ["xz", "bz2"]
    assert "pip install '.[text]'" in said[0]


GERMAN = "Größere Füße stören ähnlich übermäßig, sagte die Königin öfter.\r\n"


@pytest.mark.parametrize("alphabet", ["characters", "bytes"])
def test_all_of_a_text_is_predicted_and_counted(
    alphabet: Any, config: RNNTextConfig, tmp_path: Path
) -> None:
    """Bits per character and per byte are those of the file, and so are those of compressors."""
    path = tmp_path / "text.txt"
    path.write_bytes((26 * GERMAN).encode() + "ßΣΩ한!!".encode())
    config = config.replace(text=str(path), alphabet=alphabet, num_epochs=1)
    trained = train(EXPERIMENT, config)
    data, test = trained.data, trained.data.test
    evaluation = EXPERIMENT.evaluate(config, trained, test)
    metrics = evaluation.metrics

    content = path.read_bytes() if alphabet == "bytes" else path.read_bytes().decode()
    last = content[2 * (len(content) // 3) : 3 * (len(content) // 3)]
    as_bytes = last if isinstance(last, bytes) else last.encode()
    symbols = test.symbols.long()
    with torch.no_grad():
        logits = trained.model(F.pad(symbols, (1, 0))[None, :-1])[0][0]
    bits = F.cross_entropy(logits, symbols, reduction="sum").item() / math.log(2)
    naming = [each for each in last if each in "ΣΩ한!"] if isinstance(last, str) else []
    others = 0x110000 - 0x800 - (len(data.vocabulary) - 1)
    bits += len(naming) * math.log2(others)
    assert metrics["test/bits_per_byte"] == pytest.approx(bits / len(as_bytes), rel=1e-4)
    archive = 8 * len(lzma.compress(as_bytes, preset=9 | lzma.PRESET_EXTREME))
    assert metrics["test/xz_bits_per_byte"] == pytest.approx(archive / len(as_bytes))
    if alphabet == "characters":
        assert metrics["test/bits_per_character"] == pytest.approx(bits / len(last), rel=1e-4)
        assert metrics["test/xz_bits_per_character"] == pytest.approx(archive / len(last))
        ngram, symbols_only = "test/ngram_bits_per_character", test._replace(naming_bits=0.0)
        without = baselines.bits_per_symbol(data.train, symbols_only, data.vocabulary)
        assert metrics[ngram] == pytest.approx(without["ngram_"] + test.naming_bits)
        # The validation third has no rare characters: what is logged is the cross-entropy.
        best = trained.history.best
        assert best["val/bits_per_character"] == pytest.approx(best["val/loss"] / math.log(2))
    else:
        assert "test/bits_per_character" not in metrics
    assert metrics["dropped_character_share"] == 0
    assert data.counts["test"] == {f"{alphabet}": len(last)}
    assert len(dict(EXPERIMENT.figures(config, trained, evaluation))) == 7
    # Generated texts begin as the text does, with its first symbols.
    for text in evaluation.generated.values():
        assert text.startswith("Größere F")


def test_what_rare_characters_cost_is_in_the_bits_of_every_epoch(
    config: RNNTextConfig, network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = EXPERIMENT.load_data(config)
    rare = data.train._replace(naming_bits=0.25), data.validation._replace(naming_bits=0.5)
    data = dataclasses.replace(data, train=rare[0], validation=rare[1])
    for chunks, bits in (
        (EXPERIMENT.training_batches(config, data, 1), 0.25),
        (EXPERIMENT.validation_batches(config, data), 0.5),
    ):
        metrics = EXPERIMENT.loss(config, network, next(iter(chunks))).metrics
        expected = metrics["loss"].item() / math.log(2) + bits
        assert metrics["bits_per_character"].item() == pytest.approx(expected)


def test_the_mixture_is_read_along_with_the_network_and_left_out_without_numba(
    config: RNNTextConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(EXPERIMENT, config)
    test = trained.data.test
    evaluation = EXPERIMENT.evaluate(config, trained, test)
    expected = mixture.TextMixture(trained.data.train, trained.data.vocabulary, len(test.symbols))
    dynamic_evaluation.dynamic_evaluation(trained.model, test.symbols, expected.read)
    bits = torch.cat(expected.parts)
    assert len(bits) == len(test.symbols)
    assert evaluation.metrics["test/mixture_bits_per_character"] == bits.mean().item()
    alone = evaluation.metrics["test/context_mixture_bits_per_character"]
    assert alone != bits.mean().item(), "the network has a part in it"
    assert np.asarray(evaluation.trust).sum(1).max() == pytest.approx(1)

    monkeypatch.setattr(mixture, "HAS_NUMBA", False)
    evaluation = EXPERIMENT.evaluate(config, trained, test)
    assert not [name for name in evaluation.metrics if "mixture" in name]
    assert "trust" not in dict(EXPERIMENT.figures(config, trained, evaluation))


def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    config: RNNTextConfig, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    monkeypatch.setattr(type(EXPERIMENT), "figures", lambda *_: iter(()))
    config = config.replace(num_epochs=4, dropout_rate=0.2, num_layers=2)
    check_resuming(EXPERIMENT, config)


def test_a_run_in_bf16_ends(
    config: RNNTextConfig, monkeypatch: pytest.MonkeyPatch, store: Path
) -> None:
    monkeypatch.setattr(type(EXPERIMENT), "figures", lambda *_: iter(()))
    metrics = [
        run_experiment(EXPERIMENT, config.replace(precision=precision)).metrics
        for precision in ("bf16", "fp32")
    ]
    assert len({each["flops_per_sample"] for each in metrics}) == 1
    bits = [each["test/bits_per_character"] for each in metrics]
    assert bits[0] == pytest.approx(bits[1], rel=0.02)


def test_a_text_of_few_words_and_of_few_letters_is_trained_on(tmp_path: Path) -> None:
    """The shortest text that is accepted, and one of five words that repeat."""
    path = tmp_path / "text.txt"
    words = random.Random(0).choices(["MLflow", "PyTorch", "GRU", "LSTM", "(LSTM)"], k=300)
    for text, sizes in (("abcdefghijklmno", (1, 1)), (" ".join(words), (4, 10))):
        path.write_text(text)
        batch_size, length = sizes
        few: dict[str, Any] = {"hidden_size": 4, "num_epochs": 1}
        config = RNNTextConfig(text=str(path), batch_size=batch_size, length=length, **few)
        load_corpus.cache_clear()
        trained = train(EXPERIMENT, config)
        evaluation = EXPERIMENT.evaluate(config, trained, trained.data.test)
        assert all(math.isfinite(value) for value in evaluation.metrics.values())
        assert len(dict(EXPERIMENT.figures(config, trained, evaluation))) == 7
    dropped = 2 * words.count("(LSTM)")
    share = dropped / len("".join(words))
    assert evaluation.metrics["dropped_character_share"] == pytest.approx(share)
    assert f"{100 * share:.1f} % were dropped" in evaluation.headline


@pytest.mark.parametrize("content", [b"", b"a few words", b"\xff\xfe" * 500])
def test_a_text_that_cannot_be_used_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "novel.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text=.*novel\.txt: "):
        EXPERIMENT.load_data(RNNTextConfig(text=str(path)))
    with pytest.raises(UserError, match=r"No such file"):
        EXPERIMENT.load_data(RNNTextConfig(text=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"cell": "mingru", "initialisation": "orthogonal"},
            "initialisation=orthogonal: .*allowed for rnn, lstm, gru",
        ),
        (
            {"embedding_size": 0, "embedding_dropout_rate": 0.3},
            "embedding_dropout_rate=0.3: .*embedding_size and dropout_rate above 0",
        ),
        (
            {"dropout_rate": 0.0, "embedding_dropout_rate": 0.3},
            "embedding_dropout_rate=0.3: .*dropout_rate above 0",
        ),
        ({"delay": 3}, "delay: no such parameter"),
        ({"length": 0}, "length=0"),
    ],
)
def test_what_is_not_allowed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        RNNTextConfig(**values)

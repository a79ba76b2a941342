"""The recurrent experiment: what counts, what is carried on, what is refused, what is measured."""

import lzma
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from datasets.characters import Copy, Corpus, Echo, Sequences, Vocabulary
from experiments import rnn, text
from experiments.figures.classification import note
from experiments.harness.config import construct
from experiments.harness.device import Hardware, seed_everything
from experiments.harness.errors import UserError
from experiments.harness.launch import conduct
from experiments.harness.signals import Terminated
from experiments.harness.tracking import track
from experiments.rnn import RNNConfig
from models.ngram import kneser_ney

CPU = Hardware(torch.device("cpu"), "fp32")
TEXT = "the quick brown fox jumps over the lazy dog while five boxing wizards jump quickly " * 12


def small(**changes: Any) -> RNNConfig:
    return construct(RNNConfig, {**RNNConfig.tiny, "checkpoint_seconds": 0.0, **changes})


@pytest.fixture
def novel(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return {"task": "next_character", "text": str(path), "batch_size": 4, "length": 10}


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take longest; the test of entry points has them."""
    monkeypatch.setattr(rnn, "draw_memories", lambda *_: None)
    monkeypatch.setattr(rnn, "draw_bits", lambda *_: note("none"))
    monkeypatch.setattr(rnn, "draw_text_memory", lambda *_: None)


def padded(sequences: list[tuple[list[int], int]]) -> Sequences:
    """Return echoes of letters with their delay, padded to the longest."""
    longest = max(len(letters) for letters, _ in sequences)
    inputs = torch.tensor([letters + [0] * (longest - len(letters)) for letters, _ in sequences])
    targets = torch.zeros_like(inputs)
    for row, (letters, delay) in enumerate(sequences):
        targets[row, delay : len(letters)] = torch.tensor(letters[: len(letters) - delay])
    delays = torch.tensor([delay for _, delay in sequences])
    return Sequences(inputs, targets, targets != 0, delays)


def test_the_wait_is_short_first_and_whole_at_last() -> None:
    config = small(task="copy", wait=320, first_wait=5, num_epochs=11)
    waits = [rnn.wait_in(config, epoch) for epoch in range(1, 12)]
    # Doubled six times, over the five epochs from the fifth to the tenth.
    assert waits == [5] * 5 + [round(5 * 64 ** (k / 5)) for k in range(1, 6)] + [320]
    batches = rnn.of_task(config, CPU).train
    assert [next(iter(batches(epoch)))[0].shape[1] - 20 for epoch in (1, 11)] == [5, 320]


@pytest.mark.parametrize(("first_wait", "expected"), [(0, 30), (30, 30), (40, 30)])
def test_the_wait_is_whole_from_the_first_on(first_wait: int, expected: int) -> None:
    config = small(task="copy", wait=30, first_wait=first_wait, num_epochs=1)
    assert rnn.wait_in(config, 1) == expected


def test_lengths_of_echoes_do_not_bind_other_tasks() -> None:
    small(task="next_character", length=64, min_length=0, test_length=25)
    with pytest.raises(UserError, match="test_length=25: falls short of length=64"):
        small(task="echo", length=64, test_length=25)


def test_a_padded_batch_has_the_loss_of_its_sequences_one_by_one() -> None:
    network = rnn.build(small(task="variable_echo", max_delay=3)).eval()
    sequences = [([5, 1, 9, 26, 3, 3, 8], 2), ([7, 2], 0), ([4, 4, 13, 6], 3)]
    batch = padded(sequences)
    outcome = rnn.echo_loss(network, batch)
    losses, right, whole = [], [], []
    for letters, delay in sequences:
        logits, _ = network(torch.tensor([letters]), torch.tensor([delay]))
        said = logits[0, delay:]
        expected = torch.tensor(letters[: len(letters) - delay])
        losses += F.cross_entropy(said, expected, reduction="none").tolist()
        hits = (said.argmax(-1) == expected).tolist()
        right += hits
        whole.append(all(hits))
    assert outcome.num_samples == len(losses)
    assert outcome.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert outcome.metrics["accuracy"].item() == pytest.approx(np.mean(right))
    assert outcome.metrics["sequence_accuracy"].item() == pytest.approx(np.mean(whole))
    answers = rnn.answer(network, batch)
    assert answers.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert answers.accuracy == pytest.approx(np.mean(right))
    assert answers.sequence_accuracy == pytest.approx(np.mean(whole))


def test_each_epoch_has_sequences_of_its_own_unless_told_otherwise() -> None:
    endless = rnn.of_task(small(), CPU)
    first, second, again = (torch.cat([b.inputs for b in endless.train(e)]) for e in (1, 2, 1))
    assert len(first) == 100
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert len(set(map(tuple, torch.cat([first, second]).tolist()))) == 200
    fixed = rnn.of_task(small(endless=False), CPU)
    epochs = [torch.cat([inputs for inputs, *_ in fixed.train]) for _ in range(2)]
    rows = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert rows[0] == rows[1]
    assert not torch.equal(*epochs)


def test_training_and_test_have_the_lengths_that_were_asked_for() -> None:
    config = small(length=10, min_length=6, test_length=14)
    assert rnn.task_of(config) == Echo(4, 4, 6, 10)
    assert rnn.task_of(config, test=True) == Echo(4, 4, 10, 14)
    assert rnn.task_of(config, 4) == Echo(4, 4, 40, 40)
    assert rnn.task_of(small(task="variable_echo")) == Echo(0, 8, 15, 15)
    assert rnn.task_of(small(task="copy", wait=30), 2) == Copy(60)


def test_text_is_read_on_where_the_chunk_before_ended(novel: dict[str, Any]) -> None:
    """Chunk by chunk with its state, the loss is that of the streams as a whole."""
    config = small(**novel)
    network, material = rnn.build(config).eval(), rnn.of_text(config, CPU)
    for _ in range(2):  # the second time begins anew
        outcomes = [material.loss_function(network, chunk) for chunk in material.validation]
        total = sum(o.loss.item() * int(o.num_samples) for o in outcomes)
        inputs = torch.cat([chunk[0] for chunk in material.validation], dim=1)
        targets = torch.cat([chunk[1] for chunk in material.validation], dim=1)
        expected = F.cross_entropy(network(inputs)[0].transpose(1, 2), targets).item()
        mean = total / targets.numel()
        assert mean == pytest.approx(expected, rel=1e-5)
    bits = outcomes[0].metrics["bits_per_character"].item()
    assert bits == pytest.approx(outcomes[0].loss.item() / math.log(2))


def test_gradients_end_where_a_chunk_begins(novel: dict[str, Any]) -> None:
    config = small(**novel, embedding_size=3)
    network, loss_function = rnn.build(config), text.TextLoss()
    first, second = (torch.full((1, 4), symbol) for symbol in (1, 2))
    loss_function(network, (first, first, True))
    loss_function(network, (second, second, False)).loss.backward()
    assert network.embedding is not None
    slope = network.embedding.weight.grad
    assert slope is not None
    assert slope[1].abs().sum() == 0 < slope[2].abs().sum()


def test_every_epoch_of_a_text_is_cut_elsewhere_into_as_many_chunks(novel: dict[str, Any]) -> None:
    config = small(**novel)
    train = rnn.corpus_of(config).train
    epochs = [text.training_chunks(train, 4, 10, 0, epoch) for epoch in range(1, 30)]
    assert len({len(chunks) for chunks in epochs}) == 1
    assert len({tuple(chunks[0][0][0].tolist()) for chunks in epochs}) > 5
    assert all([is_first for *_, is_first in chunks].count(True) == 1 for chunks in epochs)


def test_every_character_of_the_test_is_foretold_from_all_before_it(novel: dict[str, Any]) -> None:
    config = small(**novel)
    network, symbols = rnn.build(config).eval(), rnn.corpus_of(config).test
    logits = text.read_through(network, symbols, length=7)
    before = torch.cat([torch.zeros(1, dtype=torch.long), symbols[:-1].long()])
    with torch.no_grad():
        expected = network(before.unsqueeze(0))[0][0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_compressors_are_given_the_same_characters(novel: dict[str, Any]) -> None:
    corpus = rnn.corpus_of(small(**novel))
    bits = text.compressors(corpus)
    test = Vocabulary().decode(corpus.test).encode()
    archive = lzma.compress(test, preset=9 | lzma.PRESET_EXTREME)
    assert bits["xz_bits_per_character"] == pytest.approx(8 * len(archive) / len(test))
    # What repeats what was read before costs next to nothing after it.
    assert bits["xz_after_training_bits_per_character"] < 0.3 * bits["xz_bits_per_character"]
    assert 0 < bits["ngram_bits_per_character"] < 2


def test_ngrams_are_counted_anew_from_what_was_read_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text, "NGRAM_UPDATE", 40)
    monkeypatch.setattr(text, "NGRAM_ORDER", 2)
    train, test = torch.randint(0, 27, (2, 100), dtype=torch.uint8)
    bits = text.dynamic_ngrams(Corpus(train, train, test))
    expected = []
    for position in range(100):
        known = torch.cat([train, test[: position // 40 * 40]])
        before = int(test[position - 1]) if position else 0
        expected.append(-kneser_ney(known, 2, 27)[before, int(test[position])].log2().item())
    assert bits.tolist() == pytest.approx(expected)


def test_a_network_that_learns_while_it_reads_foretells_before_it_learns(
    novel: dict[str, Any],
) -> None:
    network = rnn.build(small(**novel)).eval()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    first = torch.arange(text.READING_LENGTH) % 3
    symbols = torch.cat([first] * 40).to(torch.uint8)
    logits = text.learn_while_reading(network, symbols)
    # The first piece is foretold by the network as it was, whatever is to come.
    expected = text.read_through(network, symbols[: len(first)])
    torch.testing.assert_close(logits[: len(first)], expected, rtol=1e-4, atol=1e-5)
    other = torch.cat([symbols[: -len(first)], symbols[-len(first) :].flip(0)])
    changed = text.learn_while_reading(network, other)[: -len(first) + 1]
    torch.testing.assert_close(logits[: -len(first) + 1], changed)
    # What comes again and again is learnt, by a copy.
    loss = F.cross_entropy(logits, symbols.long(), reduction="none")
    assert loss[-len(first) :].mean() < 0.8 * loss[: len(first)].mean()
    for name, value in network.state_dict().items():
        assert value.equal(weights[name])


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("task", ["echo", "next_character"])
def test_interrupted_and_resumed_it_ends_with_the_same_numbers(
    task: str, novel: dict[str, Any], store: Path
) -> None:
    changes = novel if task == "next_character" else {"task": task, "min_length": 6}
    config = small(**changes, num_epochs=4, dropout_rate=0.2, num_layers=2)
    undisturbed = conduct(rnn.EXPERIMENT, config)

    def interrupt(progress: Any) -> None:
        if progress.epoch == 3:
            raise Terminated

    seed_everything(config.seed)
    with pytest.raises(Terminated), track(config, CPU.name) as run:
        rnn.learn(config, CPU, run, [interrupt])
    assert conduct(rnn.EXPERIMENT, RNNConfig(resume=run.run_id)) == undisturbed


def test_the_default_learns_to_echo() -> None:
    """A third of the default's training, half its units: most of a delay of two is echoed."""
    config = RNNConfig(num_epochs=3, hidden_size=32, delay=2, num_train=6_400)
    seed_everything(0)
    learnt = rnn.learn(config, CPU)
    assert learnt.history.best["val/accuracy"] > 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delay": 15}, "delay=15: has to be below 15"),
        ({"delay": 6, "min_length": 6}, "delay=6: has to be below 6"),
        ({"task": "variable_echo", "max_delay": 20}, "max_delay=20: has to be below 15"),
        ({"min_length": 16}, "min_length=16: exceeds length=15"),
        ({"test_length": 3}, "test_length=3: falls short of length=15"),
        ({"cell": "rnn", "initialisation": "chrono"}, "initialisation=chrono: .*cell=rnn"),
        ({"cell": "mingru"}, "initialisation=orthogonal: .*allowed for rnn, lstm, gru"),
        ({"text": "novel.txt"}, "text=novel.txt: means nothing to task=echo"),
        ({"delay": -1}, "delay=-1"),
        ({"cell": "transformer"}, "cell=transformer"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        construct(RNNConfig, values)


@pytest.mark.parametrize("content", [b"", b"a few words", b"\xff\xfe" * 500])
def test_a_text_that_will_not_do_ends_before_any_run(
    content: bytes, tmp_path: Path, store: Path
) -> None:
    path = tmp_path / "novel.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text=.*novel\.txt: "):
        conduct(rnn.EXPERIMENT, small(task="next_character", text=str(path)))
    with pytest.raises(UserError, match=r"No such file"):
        conduct(rnn.EXPERIMENT, small(task="next_character", text=str(tmp_path / "none")))

"""The mixture of predictors: that it never reads ahead, and that a coder can rely on it."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from models import context_mixture as mixtures
from models.context_mixture import PREDICTORS, ContextMixture

IN_WORDS = [False] + [True] * 26


def words(count: int, seed: int = 0) -> torch.Tensor:
    """Return symbols of a text of few words, each letter of which is sometimes another."""
    generator = np.random.default_rng(seed)
    vocabulary = [generator.integers(1, 27, size=length) for length in range(2, 9)]
    text: list[int] = []
    while len(text) < count:
        text += [*vocabulary[generator.integers(7)], 0]
    noise = generator.random(count) < 0.05
    return torch.tensor(np.where(noise, generator.integers(0, 27, count), text[:count]))


def test_a_symbol_is_predicted_from_those_before_it_alone() -> None:
    text = words(600)
    other = torch.cat([text[:400], (text[400:] + 1) % 27])
    network = torch.rand(600, 27).softmax(-1)
    read = [ContextMixture(IN_WORDS, 600).read(each, network) for each in (text, other)]
    assert read[0][:400].equal(read[1][:400])
    assert not read[0][400:].allclose(read[1][400:])
    # Read in parts it is the same.
    mixture = ContextMixture(IN_WORDS, 600)
    parts = [mixture.read(text[i : i + 37], network[i : i + 37]) for i in range(0, 600, 37)]
    assert torch.cat(parts).equal(read[0])


def test_what_was_read_before_costs_little_and_noise_costs_what_it_must() -> None:
    noise = torch.randint(0, 27, (2000,), generator=torch.Generator().manual_seed(0))
    bits = ContextMixture(IN_WORDS, 4000).read(torch.cat([noise, noise]))
    assert math.log2(27) <= bits[1000:2000].mean() < 1.1 * math.log2(27)
    assert bits[2100:].mean() < 0.3


def test_the_gate_learns_whom_to_trust() -> None:
    """A network that knows each symbol is trusted more and more; one that guesses is not."""
    text = torch.randint(0, 27, (1500,), generator=torch.Generator().manual_seed(0))
    knowing = torch.full((1500, 27), 0.1 / 26)
    knowing[torch.arange(1500), text] = 0.9
    guessing = torch.rand(1500, 27).softmax(-1)
    place = PREDICTORS.index("network")
    trusted = {}
    for name, network in (("knowing", knowing), ("guessing", guessing)):
        mixture = ContextMixture(IN_WORDS, 1500, num_windows=2)
        bits = mixture.read(text, network, record=(0, 1500))
        trusted[name] = mixture.trust[1, place] / mixture.trust[1].sum()
        if name == "knowing":
            assert bits[750:].mean() < 0.5
    assert trusted["knowing"] > 0.9 > 0.5 > trusted["guessing"]


@pytest.mark.slow
def test_a_text_is_encoded_and_decoded_with_the_same_predictions() -> None:
    """An arithmetic coder needs as many bits as the mixture says, and its decoder gets the text."""
    text = words(10_000).tolist()
    network = np.random.default_rng(0).dirichlet(np.ones(27), 10_000).astype(np.float32)
    code = Encoder()
    code_text(code, network, text)
    archive = code.finish()
    expected = ContextMixture(IN_WORDS, 10_000).read(torch.tensor(text), torch.from_numpy(network))
    assert len(archive) == pytest.approx(expected.sum().item(), abs=40)
    assert code_text(Decoder(archive), network, None) == text


def code_text(code: "Encoder | Decoder", network: np.ndarray, text: list[int] | None) -> list[int]:
    """Encode a text, or decode one: the decoder has nothing but the archive and the network."""
    mixture, symbols = ContextMixture(IN_WORDS, 10_000), []
    tables, num_bits = mixture.tables, mixture.num_bits
    for index, outlook in enumerate(network):
        mixtures.look_around(tables)
        mixtures.expect(tables, outlook)
        node = 1
        for depth in range(num_bits):
            one = mixtures.predict(tables, node, depth, num_bits)
            bit = None if text is None else text[index] >> (num_bits - 1 - depth) & 1
            bit = code.code(one, bit)
            mixtures.learn(tables, node, bit)
            node = 2 * node + bit
        symbols.append(node - (1 << num_bits))
        mixtures.append(tables, symbols[-1])
    return symbols


class Encoder:
    """Arithmetic coding with integers of 32 bits (Witten, Neal & Cleary 1987)."""

    def __init__(self) -> None:
        self.low, self.high, self.pending, self.bits = 0, 2**32 - 1, 0, list[int]()

    def split(self, one: float) -> int:
        """Return where the interval of a one ends, and that of a zero begins."""
        return self.low + int((self.high - self.low) * one)

    def code(self, one: float, bit: int | None) -> int:
        """Narrow the interval to that of the bit, and emit what is settled."""
        assert bit is not None
        middle = self.split(one)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while (settled := self.shift()) is not None:
            self.emit(settled)
        return bit

    def shift(self) -> int | None:
        """Double the interval where its half, or its being in the middle, is settled."""
        half, quarter = 2**31, 2**30
        if self.high < half or self.low >= half:
            settled, offset = int(self.low >= half), half * (self.low >= half)
        elif self.low >= quarter and self.high < 3 * quarter:
            settled, offset = 2, quarter
        else:
            return None
        self.low, self.high = 2 * (self.low - offset), 2 * (self.high - offset) + 1
        return settled

    def emit(self, settled: int) -> None:
        if settled == 2:
            self.pending += 1
        else:
            self.bits += [settled] + [1 - settled] * self.pending
            self.pending = 0

    def finish(self) -> list[int]:
        self.pending += 1
        self.emit(int(self.low >= 2**30))
        return self.bits


class Decoder(Encoder):
    """Follows the encoder's interval, and reads which half the archive is in."""

    def __init__(self, archive: list[int]):
        super().__init__()
        self.archive = iter(archive)
        self.value = 0
        for _ in range(32):
            self.value = 2 * self.value + next(self.archive, 0)

    def code(self, one: float, bit: int | None) -> int:
        middle = self.split(one)
        bit = int(self.value <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while (settled := self.shift()) is not None:
            offset = (0, 2**31, 2**30)[settled]
            self.value = 2 * (self.value - offset) + next(self.archive, 0)
        return bit

"""Many predictors of the next symbol of a text, mixed by a gate that learns while it reads.

A symbol is coded as bits. Each of its bits is predicted by contexts of many lengths, by words, by
the longest repetition, and by a network if there is one. A predictor says how probable a one is, as
a logit; the gate weighs these logits, and learns by gradient descent on the bits that the text
costs, one step for each bit. It is a mixture of experts whose gate never stops learning.

    M. Mahoney, "Adaptive weighing of context models for lossless data compression", 2005 (PAQ)
    C. Mattern, "Mixing strategies in data compression", 2012

Letters: T symbols, S kinds of them, C contexts, P = C + 2 predictors, K gates, W windows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.compiled import compiled

ORDERS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 32
"""Lengths of contexts; `PREDICTORS` names what there is beside them."""
PREDICTORS = (
    *(f"order {order}" for order in ORDERS),
    *("word", "two words", "three words", "word and the last but one", "skipping one symbol"),
    *("repetition", "network"),
)
NUM_CONTEXTS = len(PREDICTORS) - 2
REPETITION, NETWORK = NUM_CONTEXTS, NUM_CONTEXTS + 1
MIN_REPETITION, MAX_REPETITION = 12, 400
MIN_REPETITION_CONTEXT = ORDERS.index(MIN_REPETITION)
"""How long what is read must agree with something before, and how far it is compared."""
GATE_RATE, FINAL_RATE, HISTORY_RATE, REFINEMENT_RATE = 0.0025, 0.0007, 0.006, 0.02
"""Learning rates; all such numbers were chosen on the validation third of Python's texts."""
MAX_COUNT = 250
"""After so many bits in a context, its probability adapts no more slowly."""
REFINED_SHARE = 0.6
NUM_BUCKETS, NUM_REFINED = 33, 1 << 16
MAX_SLOT_BITS = 22
MAX_LOGIT = 11.0
FIRST, SECOND = 0x2545F4914F6CDD1D, 0x1E3779B97F4A7C15
"""Odd numbers that hashes are multiplied by."""

SLOT = np.dtype([("check", "u2"), ("history", "u1"), ("count", "u1"), ("probability", "f4")])
"""What is known of a bit in a context: its last seven values, behind a 1, and how often it is 1."""
CURSOR = np.dtype(
    [(name, "i8") for name in ("position", "match", "length", "word", "word1", "word2")]
    + [(name, "i8") for name in ("expected", "bucket", "logit_bucket")]
    + [("logit", "f8")]
)


class Tables(NamedTuple):
    """All that the mixture knows and has learned, as arrays that are changed in place."""

    text: np.ndarray
    """int64, the symbols that were read."""
    cursor: np.ndarray
    """(1,) `CURSOR`: where it reads, which earlier place `match` it follows, and the words."""
    latest: np.ndarray
    """int64: where the text was last as it is now, by the hash of `MIN_REPETITION` symbols."""
    in_words: np.ndarray
    """(S,) bool: which symbols words consist of."""
    hashes: np.ndarray
    """(C,) int64, of the contexts before the next symbol."""
    slots: np.ndarray
    """(C, slots) `SLOT`, by the hash of a context and the bits of the symbol so far."""
    chosen: np.ndarray
    """(C,) int64, those of the present bit."""
    histories: np.ndarray
    """(C, 256) float32: how probable a one is after such a history."""
    repeats: np.ndarray
    """(64,) float32: how probable it is that a repetition goes on, by its length."""
    outlook: np.ndarray
    """(S + 1,) float64: the network's probabilities of the symbols, cumulated."""
    inputs: np.ndarray
    """(2 P + 1,) float32, the logits to be mixed: two of each predictor, and a constant."""
    gates: np.ndarray
    """(K, contexts, 2 P + 1) float32, weights of each gate by what it looks at."""
    looks: np.ndarray
    """(K,) int64: where each gate looks now."""
    mixed: np.ndarray
    """(K,) float64: the logit of each gate."""
    final: np.ndarray
    """(nodes, K) float32: weights of the gates, which are mixed in the same way."""
    refined: np.ndarray
    """(2, contexts, buckets) float32: probabilities by logit and the last one or two symbols."""
    cells: np.ndarray
    """(2,) int64, those of the present bit."""


NUM_WINDOWS = 300
"""Of a long text."""


class ContextMixture:
    """Predicts each symbol of a text from those before it, and learns from each.

    Args:
        in_words: (S,) bool, which symbols words consist of, so that all others end them.
        max_length: how many symbols it will read at most, which decides how large tables are.
        num_windows: W, of the record of which predictor was trusted.

    """

    def __init__(self, in_words: Sequence[bool], max_length: int, num_windows: int = NUM_WINDOWS):
        self.num_bits = max(1, math.ceil(math.log2(len(in_words))))
        self.trust = np.zeros((num_windows, len(PREDICTORS)))
        """(W, P): how much each predictor has moved the logit, by `read` with `record`."""
        self.tables = new_tables(np.array(in_words), self.num_bits, max_length)

    def read(
        self, symbols: Tensor, network: Tensor | None = None, record: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Return the bits that each symbol costs, (T,) float64, given all those before it.

        Args:
            symbols: (T,) integers, the text or its next part.
            network: (T, S), the probabilities that a network gives to each symbol.
            record: where this part begins in the text that `trust` records, and that text's length.

        """
        bits = np.zeros(len(symbols))
        none = np.zeros((0, 0), np.float32)
        outlooks = none if network is None else network.float().numpy()
        text = symbols.long().numpy()
        _read(self.tables, text, outlooks, self.num_bits, bits, self.trust, *record)
        return torch.from_numpy(bits)


def new_tables(in_words: np.ndarray, num_bits: int, max_length: int) -> Tables:
    """Return the tables before anything was read."""
    slot_bits = min(MAX_SLOT_BITS, max(10, (num_bits * max_length // 2).bit_length()))
    ones = np.array([0, 0, *(bin(history).count("1") - 1 for history in range(2, 256))])
    seen = np.array([0, 0, *(history.bit_length() - 1 for history in range(2, 256))])
    numbers, nodes = 2 * len(PREDICTORS) + 1, 1 << num_bits
    logits = (np.arange(NUM_BUCKETS) - NUM_BUCKETS // 2) / 2
    return Tables(
        text=np.zeros(max_length + 1, np.int64),
        cursor=np.zeros(1, CURSOR),
        latest=np.zeros(1 << 20, np.int64),
        in_words=in_words,
        hashes=np.zeros(NUM_CONTEXTS, np.int64),
        slots=np.zeros((NUM_CONTEXTS, 1 << slot_bits), SLOT),
        chosen=np.zeros(NUM_CONTEXTS, np.int64),
        histories=np.tile(((ones + 0.4) / (seen + 0.8)).astype(np.float32), (NUM_CONTEXTS, 1)),
        repeats=((np.arange(64) + 1) / (np.arange(64) + 2)).astype(np.float32),
        outlook=np.zeros(len(in_words) + 1),
        inputs=np.zeros(numbers, np.float32),
        gates=np.full((4, max(nodes, 64), numbers), 0.15, np.float32),
        looks=np.zeros(4, np.int64),
        mixed=np.zeros(4),
        final=np.full((nodes, 4), 1 / 4, np.float32),
        refined=np.tile((1 / (1 + np.exp(-logits))).astype(np.float32), (2, NUM_REFINED, 1)),
        cells=np.zeros(2, np.int64),
    )


@compiled
def _read(
    tables: Tables,
    symbols: np.ndarray,
    outlooks: np.ndarray,
    num_bits: int,
    bits: np.ndarray,
    trust: np.ndarray,
    start: int,
    length: int,
) -> None:
    """Read symbols one by one, each bit by bit: predict it, pay for it, learn from it."""
    for index in range(len(symbols)):
        look_around(tables)
        if len(outlooks):
            expect(tables, outlooks[index])
        node = 1  # the bits so far, behind a 1
        for depth in range(num_bits):
            bit = (symbols[index] >> (num_bits - 1 - depth)) & 1
            probability = predict(tables, node, depth, num_bits)
            bits[index] -= math.log2(probability if bit else 1 - probability)
            if length > 0:
                record_trust(tables, node, trust[(start + index) * len(trust) // length])
            learn(tables, node, bit)
            node = 2 * node + bit
        append(tables, symbols[index])


@compiled
def logit(probability: float) -> float:
    """Return log(p / (1 - p)): predictions are mixed as logits."""
    return math.log(probability / (1 - probability))


@compiled
def sigmoid(value: float) -> float:
    """Return the probability of a logit."""
    return 1 / (1 + math.exp(-min(max(value, -MAX_LOGIT), MAX_LOGIT)))


@compiled
def before(text: np.ndarray, position: int, distance: int) -> int:
    """Return the symbol so many places before the next one, 0 before the beginning."""
    return text[position - distance] if position >= distance else 0


@compiled
def look_around(tables: Tables) -> None:
    """Hash the contexts of the next symbol: the symbols and the words before it."""
    now, hashes, text = tables.cursor[0], tables.hashes, tables.text
    position = now.position
    value, context = 0, 0
    for order in range(ORDERS[-1] + 1):
        if order > 0:
            value = (value + before(text, position, order) + 1) * FIRST
            value ^= (value >> 31) & 0x1FFFFFFFF
        if ORDERS[context] == order:
            hashes[context] = value
            context += 1
    word, word1, word2 = now.word, now.word1, now.word2
    hashes[context] = word * FIRST
    hashes[context + 1] = (word * FIRST + word1) * SECOND
    hashes[context + 2] = ((word * FIRST + word1) * SECOND + word2) * FIRST
    hashes[context + 3] = (word * FIRST + word2) * SECOND
    hashes[context + 4] = (
        before(text, position, 2) * 8191 + before(text, position, 3) + 1
    ) * SECOND
    find_repetition(tables)


@compiled
def find_repetition(tables: Tables) -> None:
    """Follow the earlier place that has gone on as the text did, or look for one."""
    now = tables.cursor[0]
    place = (tables.hashes[MIN_REPETITION_CONTEXT] >> 20) & (len(tables.latest) - 1)
    if now.match == 0 and now.position > MIN_REPETITION:
        match, length = tables.latest[place], 0
        while length < min(match, MAX_REPETITION) and (
            tables.text[match - 1 - length] == before(tables.text, now.position, 1 + length)
        ):
            length += 1
        if length >= MIN_REPETITION:
            now.match, now.length = match, length
    tables.latest[place] = now.position


@compiled
def expect(tables: Tables, probabilities: np.ndarray) -> None:
    """Cumulate the network's probabilities of the next symbol."""
    total = 0.0
    for symbol in range(len(probabilities)):
        total += probabilities[symbol]
        tables.outlook[symbol + 1] = total


@compiled
def predict(tables: Tables, node: int, depth: int, num_bits: int) -> float:
    """Return the probability that the next bit is 1: each predictor's logit, weighed and summed."""
    now, inputs = tables.cursor[0], tables.inputs
    longest = ask_contexts(tables, node)
    ask_repetition(tables, node, depth, num_bits)
    ask_network(tables, node, depth, num_bits)
    inputs[-1] = 0.3
    looks = tables.looks
    looks[0], looks[1], looks[2], looks[3] = (
        now.bucket,
        node,
        longest,
        before(tables.text, now.position, 1),
    )
    now.logit = 0.0
    for gate in range(len(looks)):
        weights, total = tables.gates[gate, looks[gate]], 0.0
        for index in range(len(inputs)):
            total += weights[index] * inputs[index]
        tables.mixed[gate] = min(max(total, -MAX_LOGIT), MAX_LOGIT)
        now.logit += tables.final[node, gate] * tables.mixed[gate]
    return refine(tables, node)


@compiled
def ask_contexts(tables: Tables, node: int) -> int:
    """Enter the logits of all contexts; return the index of the longest that occurred before.

    One logit is that of what followed such a history of bits, in any context of that length; the
    other that of the share of ones in this very context.
    """
    inputs, longest = tables.inputs, 0
    for context in range(NUM_CONTEXTS):
        value = (tables.hashes[context] + node * SECOND) * FIRST
        value ^= (value >> 32) & 0xFFFFFFFF
        place, check = value & (tables.slots.shape[1] - 1), (value >> 40) & 0xFFFF | 1
        tables.chosen[context] = place
        slot = tables.slots[context, place]
        if slot.check != check:  # another context was here, or none
            slot.check, slot.history, slot.count, slot.probability = check, 1, 0, 0.5
        inputs[2 * context] = inputs[2 * context + 1] = 0.0
        if slot.history > 1:
            inputs[2 * context] = logit(tables.histories[context, slot.history])
            inputs[2 * context + 1] = logit(slot.probability) / 2
            if context < len(ORDERS):
                longest = context
    return longest


@compiled
def ask_repetition(tables: Tables, node: int, depth: int, num_bits: int) -> None:
    """Enter the logit of the bit that followed the repeated text."""
    now, inputs = tables.cursor[0], tables.inputs
    inputs[2 * REPETITION] = inputs[2 * REPETITION + 1] = 0.0
    now.expected, now.bucket = -1, 0
    code = tables.text[now.match] | (1 << num_bits)
    if now.match == 0 or code >> (num_bits - depth) != node:
        return
    now.expected = (code >> (num_bits - depth - 1)) & 1
    now.bucket = min(now.length, 15 + now.length // 16, 63)
    probability, sign = tables.repeats[now.bucket], 2 * now.expected - 1
    inputs[2 * REPETITION] = sign * logit(probability)
    inputs[2 * REPETITION + 1] = sign * (2 * probability - 1)


@compiled
def ask_network(tables: Tables, node: int, depth: int, num_bits: int) -> None:
    """Enter the logit of the network's symbols with a 1 here, among those with such bits so far."""
    inputs, outlook = tables.inputs, tables.outlook
    inputs[2 * NETWORK] = inputs[2 * NETWORK + 1] = 0.0
    if outlook[-1] == 0:
        return
    width, last = 1 << (num_bits - depth), len(outlook) - 1
    first = node * width - (1 << num_bits)
    middle, end = min(first + width // 2, last), min(first + width, last)
    ones, zeros = outlook[end] - outlook[middle], outlook[middle] - outlook[first]
    inputs[2 * NETWORK] = logit((ones + 1e-6) / (ones + zeros + 2e-6))


@compiled
def refine(tables: Tables, node: int) -> float:
    """Return the mixed probability, on average with what came of such logits before.

    These are adaptive probability maps, or secondary symbol estimation (Shkarin 2002).
    """
    now, cells = tables.cursor[0], tables.cells
    last = before(tables.text, now.position, 1)
    cells[0] = (last * SECOND + node * FIRST >> 20) & (NUM_REFINED - 1)
    cells[1] = (
        (last * FIRST + before(tables.text, now.position, 2)) * FIRST + node * SECOND >> 20
    ) & (NUM_REFINED - 1)
    place = 2 * min(max(now.logit, -7.99), 7.99) + NUM_BUCKETS // 2
    low = int(place)
    high_share = place - low
    now.logit_bucket = low + round(high_share)
    refined = 0.0
    for index in range(2):
        curve = tables.refined[index, cells[index]]
        refined += ((1 - high_share) * curve[low] + high_share * curve[low + 1]) / 2
    probability = (1 - REFINED_SHARE) * sigmoid(now.logit) + REFINED_SHARE * refined
    return min(max(probability, 1e-5), 1 - 1e-5)


@compiled
def learn(tables: Tables, node: int, bit: int) -> None:
    """Learn from a bit: gates by gradient descent on its cost, predictors by counting."""
    now, inputs = tables.cursor[0], tables.inputs
    error = FINAL_RATE * (bit - sigmoid(now.logit))
    for gate in range(len(tables.looks)):
        weights = tables.gates[gate, tables.looks[gate]]
        step = GATE_RATE * (bit - sigmoid(tables.mixed[gate]))
        for index in range(len(inputs)):
            weights[index] += step * inputs[index]
        tables.final[node, gate] += error * tables.mixed[gate]
        if gate < 2:
            cell = tables.refined[gate, tables.cells[gate]]
            cell[now.logit_bucket] += REFINEMENT_RATE * (bit - cell[now.logit_bucket])
    for context in range(NUM_CONTEXTS):
        slot, histories = tables.slots[context, tables.chosen[context]], tables.histories[context]
        history = slot.history
        histories[history] = moved(histories[history], bit, HISTORY_RATE)
        history = 2 * history + bit
        slot.history = history if history < 256 else history & 127 | 128
        slot.probability = moved(slot.probability, bit, 1 / (slot.count + 1.5))
        slot.count = min(slot.count + 1, MAX_COUNT)
    if now.expected >= 0:
        continued = 1 if now.expected == bit else 0
        tables.repeats[now.bucket] = moved(tables.repeats[now.bucket], continued, 0.01)
        if not continued:
            now.match = now.length = 0


@compiled
def moved(probability: float, bit: int, rate: float) -> float:
    """Return a probability that has moved towards a bit."""
    return min(max(probability + rate * (bit - probability), 5e-4), 1 - 5e-4)


@compiled
def append(tables: Tables, symbol: int) -> None:
    """Go on to the next symbol; words are runs of letters."""
    now = tables.cursor[0]
    tables.text[now.position] = symbol
    now.position += 1
    if now.match > 0:
        now.match += 1
        now.length += 1
    if tables.in_words[symbol]:
        now.word = (now.word + symbol + 1) * SECOND
    elif now.word != 0:
        now.word, now.word1, now.word2 = 0, now.word, now.word1


@compiled
def record_trust(tables: Tables, node: int, trust: np.ndarray) -> None:
    """Add how much each predictor has moved the mixed logit, up or down, to `trust` (P,)."""
    for predictor in range(len(trust)):
        moved_by = 0.0
        for index in range(2 * predictor, 2 * predictor + 2):
            for gate in range(len(tables.looks)):
                weight = tables.gates[gate, tables.looks[gate], index]
                moved_by += tables.final[node, gate] * weight * tables.inputs[index]
        trust[predictor] += abs(moved_by)

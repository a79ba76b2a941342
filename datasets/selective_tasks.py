"""Tasks in which the inputs say what to remember, and when to recall it.

    selective_copying   repeat the symbols that stood at random places among blanks
    induction_heads     recall which letter followed a marker
    associative_recall  recall the values of several keys
    parity              say at every step whether the number of ones so far is odd

Letters: B sequences, T steps, K symbols or pairs to remember.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from datasets.characters import ALPHABET, BLANK, VOCABULARY_SIZE
from datasets.choices import MAX_PAIRS, SELECTIVE_TASKS, MemoryTaskName
from datasets.generated import GeneratedDataset, random_integers
from datasets.memory_tasks import LETTERS, MARKER, Sequences


class SelectiveTask(GeneratedDataset[Sequences]):
    """A task whose targets follow from the inputs, be they generated or those of a user."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Steps of every sequence, T."""

    @property
    @abstractmethod
    def chance_accuracy(self) -> float:
        """The accuracy of the best predictor without memory."""

    @abstractmethod
    def sample_inputs(self, count: int, generator: Generator) -> Tensor:
        """Generate inputs (count, T) int64 on the generator's device."""

    @abstractmethod
    def answers(self, inputs: Tensor) -> Tensor:
        """Return the targets (B, T) of inputs (B, T); blanks where nothing is asked."""

    @abstractmethod
    def to_remember(self, inputs: Tensor) -> Tensor:
        """Return at which steps of inputs (B, T) something is read that answers depend on."""

    @property
    @abstractmethod
    def accepted(self) -> str:
        """Which inputs can be answered, in words."""

    @abstractmethod
    def accepts(self, symbols: Tensor) -> bool:
        """Return whether one sequence of symbols (T,) can be answered."""

    def sample(self, count: int, generator: Generator) -> Sequences:  # noqa: D102
        inputs = self.sample_inputs(count, generator)
        targets = self.answers(inputs)
        return Sequences(inputs, targets, targets != BLANK, inputs.new_zeros(count))


@dataclass(frozen=True)
class SelectiveCopying(SelectiveTask):
    """Repeat the symbols that stand at random places among blanks (Gu & Dao 2023, section 4.1.1).

    As many markers follow as there were symbols, and ask for them in their order. When to write is
    not a matter of time, as it is in `Copy`, but of what is read.

    Args:
        length: steps before the markers, in which the symbols stand.
        num_symbols: symbols to remember, K.

    """

    length: int
    num_symbols: int

    symbols = LETTERS[:14]  # with blank and marker, a vocabulary of 16

    @property
    def max_length(self) -> int:  # noqa: D102
        return self.length + self.num_symbols

    @property
    def chance_accuracy(self) -> float:
        """That of a guess: a marker says nothing of the symbols."""
        return 1 / len(self.symbols)

    def sample_inputs(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        places = random_places(count, self.length, self.num_symbols, generator)
        symbols = random_integers(self.symbols, places.shape, generator)
        inputs = symbols.new_full((count, self.max_length), BLANK)
        inputs[:, self.length :] = MARKER
        return inputs.scatter_(1, places, symbols)

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the first symbol at the first marker, the second at the second, and so on."""
        is_symbol, is_marker = self.to_remember(inputs), inputs == MARKER
        # What is no symbol is written to one place more, from which nothing is read.
        places = (is_symbol.cumsum(1) - 1).where(is_symbol, self.num_symbols)
        symbols = inputs.new_full((len(inputs), self.num_symbols + 1), BLANK)
        symbols.scatter_(1, places, inputs)
        recalled = symbols.gather(1, (is_marker.cumsum(1) - 1).clamp(min=0))
        return recalled.where(is_marker, BLANK)

    def to_remember(self, inputs: Tensor) -> Tensor:
        """Return where the symbols are."""
        return (inputs != BLANK) & (inputs != MARKER)

    @property
    def accepted(self) -> str:  # noqa: D102
        count = self.num_symbols
        return f"{count} letters {span(self.symbols)} among blanks, and after them {count} times z"

    def accepts(self, symbols: Tensor) -> bool:  # noqa: D102
        text = symbols.tolist()
        read, asked = text[: -self.num_symbols], text[-self.num_symbols :]
        letters = [symbol for symbol in read if symbol != BLANK]
        is_complete = len(letters) == self.num_symbols and set(asked) == {MARKER}
        return is_complete and set(letters) <= set(self.symbols)


@dataclass(frozen=True)
class InductionHeads(SelectiveTask):
    """Recall the letter that followed the marker (Olsson et al. 2022; Gu & Dao 2023, 4.1.2).

    The marker stands once among random letters, and asks at the last step.

    Args:
        length: steps of a sequence, T, 3 or more.

    """

    length: int

    letters = LETTERS[:15]  # with the marker, a vocabulary of 16

    @property
    def max_length(self) -> int:  # noqa: D102
        return self.length

    @property
    def chance_accuracy(self) -> float:
        """That of a guess: the marker says nothing of the letter."""
        return 1 / len(self.letters)

    def sample_inputs(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        inputs = random_integers(self.letters, (count, self.length), generator)
        places = random_integers(range(self.length - 2), (count, 1), generator)
        inputs[:, -1] = MARKER
        return inputs.scatter_(1, places, MARKER)

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the letter after the first marker at every later marker."""
        is_later_marker = (inputs == MARKER) & ((inputs == MARKER).cumsum(1) > 1)
        recalled = inputs.gather(1, self._first_marker(inputs) + 1)
        return recalled.where(is_later_marker, BLANK)

    def to_remember(self, inputs: Tensor) -> Tensor:
        """Return where the first marker is, and the letter after it."""
        first = self._first_marker(inputs)
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        return (steps == first) | (steps == first + 1)

    def _first_marker(self, inputs: Tensor) -> Tensor:
        """Return its step, (B, 1)."""
        return (inputs == MARKER).byte().argmax(1, keepdim=True)

    @property
    def accepted(self) -> str:  # noqa: D102
        return f"letters {span(self.letters)}, with z before one of them and once more at the end"

    def accepts(self, symbols: Tensor) -> bool:  # noqa: D102
        *read, last = symbols.tolist()
        is_complete = last == MARKER and read.count(MARKER) == 1 and read[-1] != MARKER
        return is_complete and set(read) <= {*self.letters, MARKER}


@dataclass(frozen=True)
class AssociativeRecall(SelectiveTask):
    """Recall the values of several keys (multi-query associative recall, Arora et al. 2023).

    Pairs of a key and its value stand at the beginning. Then every key appears once more, in random
    order and at random places among blanks, and asks for its value.

    Args:
        length: steps of a sequence, T, at least three for each pair.
        num_pairs: keys to remember with their values, K, at most `MAX_PAIRS`.

    """

    length: int
    num_pairs: int

    keys, values = LETTERS[:MAX_PAIRS], LETTERS[MAX_PAIRS:]

    @property
    def max_length(self) -> int:  # noqa: D102
        return self.length

    @property
    def chance_accuracy(self) -> float:
        """That of a guess: a key says nothing of its value, which every sequence draws anew."""
        return 1 / len(self.values)

    def sample_inputs(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        first_query = 2 * self.num_pairs
        keys = random_places(count, len(self.keys), self.num_pairs, generator) + self.keys.start
        inputs = keys.new_full((count, self.length), BLANK)
        inputs[:, 0:first_query:2] = keys
        inputs[:, 1:first_query:2] = random_integers(self.values, keys.shape, generator)
        places = random_places(count, self.length - first_query, self.num_pairs, generator)
        return inputs.scatter_(1, places + first_query, keys)

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the value of every key that stands after the pairs."""
        pairs = inputs[:, : 2 * self.num_pairs]
        table = inputs.new_full((len(inputs), VOCABULARY_SIZE), BLANK)
        table.scatter_(1, pairs[:, 0::2], pairs[:, 1::2])
        return table.gather(1, inputs).masked_fill(self.to_remember(inputs), BLANK)

    def to_remember(self, inputs: Tensor) -> Tensor:
        """Return where the pairs are."""
        steps = torch.arange(inputs.shape[1], device=inputs.device)
        return (steps < 2 * self.num_pairs).expand_as(inputs)

    @property
    def accepted(self) -> str:  # noqa: D102
        pairs = f"{self.num_pairs} pairs of a letter {span(self.keys)} and one {span(self.values)}"
        return f"{pairs}, no first letter twice, and after them these first letters among blanks"

    def accepts(self, symbols: Tensor) -> bool:  # noqa: D102
        text, first_query = symbols.tolist(), 2 * self.num_pairs
        keys, values = set(text[0:first_query:2]), text[1:first_query:2]
        is_complete = len(keys) == len(values) == self.num_pairs
        are_pairs = keys <= set(self.keys) and set(values) <= set(self.values)
        return is_complete and are_pairs and set(text[first_query:]) <= {*keys, BLANK}


@dataclass(frozen=True)
class Parity(SelectiveTask):
    """Say at every step whether the number of ones up to it is odd: one bit of state to be kept.

    The letter a stands for 0 and for even, b for 1 and for odd. Every step is scored, not the last
    one alone: what is learned from the short beginnings of sequences helps with their later steps,
    and `accuracy_by_position` shows from which step on the count is lost.

    No linear recurrence of finite precision whose eigenvalues all are real and not negative solves
    it at every length (Grazzi et al. 2024, theorem 1). One with an eigenvalue of -1 where a one is
    read, and of 1 where a zero is, does.

    Args:
        length: steps of a sequence, T.

    """

    length: int

    bits = LETTERS[:2]

    @property
    def max_length(self) -> int:  # noqa: D102
        return self.length

    @property
    def chance_accuracy(self) -> float:
        """1 at the first step, where the bit itself is the answer, and 1/2 at all others."""
        return (1 + (self.length - 1) / 2) / self.length

    def sample_inputs(self, count: int, generator: Generator) -> Tensor:  # noqa: D102
        return random_integers(self.bits, (count, self.length), generator)

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the parity of the ones so far at every bit."""
        parities = self.to_remember(inputs).cumsum(1) % 2
        return (parities + self.bits.start).where(inputs != BLANK, BLANK)

    def to_remember(self, inputs: Tensor) -> Tensor:
        """Return where the ones are, each of which changes the answer."""
        return inputs == self.bits[1]

    @property
    def accepted(self) -> str:  # noqa: D102
        return "letters a and b"

    def accepts(self, symbols: Tensor) -> bool:  # noqa: D102
        return set(symbols.tolist()) <= set(self.bits)


def selective_task(name: MemoryTaskName, length: int, num_items: int) -> SelectiveTask:
    """Return a task by its name, with `num_items` symbols or pairs where it has such.

    Raises:
        ValueError: the task is none of these.

    """
    match name:
        case "selective_copying":
            return SelectiveCopying(length, num_items)
        case "induction_heads":
            return InductionHeads(length)
        case "associative_recall":
            return AssociativeRecall(length, num_items)
        case "parity":
            return Parity(length)
        case _:
            raise ValueError(f"name={name}: allowed: {', '.join(SELECTIVE_TASKS)}")


def random_places(count: int, size: int, chosen: int, generator: Generator) -> Tensor:
    """Choose `chosen` of the integers below `size`, in random order: (count, chosen) int64."""
    return torch.rand((count, size), generator=generator, device=generator.device).topk(chosen)[1]


def span(letters: range) -> str:
    """Return such as `from a to n`."""
    return f"from {ALPHABET[letters[0]]} to {ALPHABET[letters[-1]]}"

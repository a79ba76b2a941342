"""Networks that repeat what they read, as other programs ask them: texts in, echoes out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from datasets.characters import ALPHABET, BLANK, FIRST_LETTER, Vocabulary
from datasets.choices import SELECTIVE_TASKS
from datasets.memory_tasks import Copy, echo
from datasets.selective_tasks import SelectiveTask, selective_task
from experiments.rnn.texts import ServedTexts
from harness.serving.served_model import InvalidInputError, Row


class Question(NamedTuple):
    """A text to be repeated, or to be recalled from."""

    symbols: Tensor
    """(T,) int64."""
    delay: int
    """Steps between a letter and its echo; 0 where there is none."""


class ServedEcho(ServedTexts[Question]):
    """A text in, with a delay where these vary; its echo, its copy, or what it asks for out.

    Its metadata has the `configuration` that the network was trained with.
    """

    batch_size = 100

    def __init__(self, module: nn.Module, metadata: Mapping[str, Any]):
        super().__init__(module, metadata)
        self.vocabulary = Vocabulary()
        self.config = metadata["configuration"]

    def read(self, row: Row) -> Question:
        """Return text and delay; InvalidInputError if the network was not trained on such."""
        symbols = self.encode(row)
        if self.config["task"] == "copy":
            task = self.copy_task()
            alphabet = range(FIRST_LETTER, FIRST_LETTER + task.alphabet_size)
            if len(symbols) != task.num_symbols or not set(symbols.tolist()) <= set(alphabet):
                letters = f"a to {ALPHABET[alphabet[-1]]}"
                raise InvalidInputError(f"{task.num_symbols} letters from {letters} can be copied")
            return Question(symbols, 0)
        if self.config["task"] in SELECTIVE_TASKS:
            selective = self.selective_task()
            if not selective.accepts(symbols):
                raise InvalidInputError(f"this model can be asked about {selective.accepted}")
            return Question(symbols, 0)
        if self.config["task"] == "echo":
            return Question(symbols, self.config["delay"])
        delay, largest = row["delay"], self.config["max_delay"]
        if delay not in range(largest + 1):
            known = f"this model knows those from 0 to {largest}"
            raise InvalidInputError(f"delay={delay:g}: {known}")
        return Question(symbols, int(delay))

    def copy_task(self) -> Copy:
        """Return the task of copying that the network was trained on."""
        return Copy(self.config["blank_length"])

    def selective_task(self) -> SelectiveTask:
        """Return the task that the network was trained on, for texts of any length."""
        names = "task", "sequence_length", "num_items"
        name, length, num_items = (self.config.get(each, 0) for each in names)
        return selective_task(name, length, num_items)

    def answer(self, samples: Sequence[Question], params: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the echo or the copy of each text, or what was recalled at its steps."""
        predict = self.copies if self.config["task"] == "copy" else self.echoes
        for symbols in predict(samples):
            yield {"echo": self.vocabulary.decode(symbols)}

    def copies(self, samples: Sequence[Question]) -> Iterator[Tensor]:
        """Yield the copy, (10,) int64, of each text."""
        task = self.copy_task()
        inputs = task.build_inputs(torch.stack([sample.symbols for sample in samples]))
        yield from self.outputs(inputs)[:, -task.num_symbols :].argmax(-1)

    def echoes(self, samples: Sequence[Question]) -> Iterator[Tensor]:
        """Yield what is predicted for each text, (T,) int64, blank where nothing is asked."""
        texts = nn.utils.rnn.pad_sequence([each.symbols for each in samples], batch_first=True)
        delays = torch.tensor([each.delay for each in samples])
        # Blanks behind a text are read after it. At least one: after a delay, the exported network
        # takes two symbols or more.
        inputs = nn.functional.pad(texts, (0, 1), value=BLANK)
        if self.config["task"] == "variable_echo":
            inputs = torch.cat([delays.unsqueeze(1), inputs], dim=1)
        predicted = self.outputs(inputs)[:, : texts.shape[1]].argmax(-1)
        is_selective = self.config["task"] in SELECTIVE_TASKS
        asked = self.selective_task().answers(texts) if is_selective else echo(texts, delays)
        predicted[asked == BLANK] = BLANK  # not scored in training, so of no meaning
        for row, sample in zip(predicted, samples, strict=True):
            yield row[: len(sample.symbols)]

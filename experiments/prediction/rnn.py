"""Texts in: echoes, copies, or what follows.

What is asked of a network is the task that it was trained on. One that echoes gives back the
letters of a text, so many steps late; one that copies, its ten letters; one that has read a text
goes on with it.
"""

from collections.abc import Iterator
from typing import Annotated, cast

import torch
from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass
from torch import Tensor

from datasets.characters import BLANK, Copy, Vocabulary, echo
from datasets.errors import DataError
from experiments import rnn
from experiments.harness.config import STRICT, Count, CountOrNone, NotNegative
from experiments.harness.errors import UserError
from experiments.harness.prediction import Prediction, Question, Row
from experiments.harness.trained import Trained
from experiments.rnn import RNNConfig
from models.recurrent import RecurrentNetwork, continuation


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TextQuestion(Question):
    """Ask a recurrent network to echo, to copy or to go on with texts."""

    delay: CountOrNone = 0
    """variable_echo: steps by which to answer late."""
    num_characters: Count = 300
    """next_character: how much to write."""
    temperature: NotNegative = 0.8
    """next_character: how boldly to write (0: always the most probable character)."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """next_character: of the characters that are drawn."""


def answer(question: TextQuestion, trained: Trained) -> Iterator[Row]:
    """Yield what is answered to each text."""
    config = cast("RNNConfig", trained.config)
    if config.reads_text:
        for prompt in question.inputs:
            yield {"input": prompt, "continuation": "".join(go_on(question, trained, prompt))}
        return
    for text in question.inputs:
        symbols = encode(text)
        asked, first = ask(question, config, text, symbols)
        said = trained(asked.unsqueeze(0))[0].argmax(-1)[first:]
        if config.task in ("echo", "variable_echo"):
            delay = config.delay if config.task == "echo" else question.delay
            wanted = echo(symbols.unsqueeze(0), torch.tensor([delay]))[0]
            said[wanted == BLANK] = BLANK  # not asked for in training: what comes was never learnt
        yield {"input": text, "answer": Vocabulary().decode(said)}


def ask(
    question: TextQuestion, config: RNNConfig, text: str, symbols: Tensor
) -> tuple[Tensor, int]:
    """Return what the network is to read, (T,), and the step from which on it answers.

    Raises:
        UserError: the task is not defined for this text, or not with this delay.

    """
    if config.task == "variable_echo":
        if question.delay > config.max_delay:
            raise UserError(
                f"delay={question.delay}: this model knows those up to {config.max_delay}"
            )
        return torch.cat([torch.tensor([question.delay]), symbols]), 0
    if question.delay not in (0, config.delay) or (question.delay and config.task != "echo"):
        late = f"; it answers {config.delay} steps late" if config.task == "echo" else ""
        raise UserError(
            f"delay={question.delay}: this model was trained on task={config.task}{late}"
        )
    if config.task == "echo":
        return symbols, 0
    copy = Copy(config.wait)
    last = copy.num_kinds
    if len(symbols) != copy.num_shown or not ((symbols > BLANK) & (symbols <= last)).all():
        letters = f"a to {Vocabulary().decode(torch.tensor([last]))}"
        raise UserError(f"inputs={text}: {copy.num_shown} letters from {letters} can be copied")
    return copy.ask_for(symbols.unsqueeze(0))[0], -copy.num_shown


def write(question: TextQuestion, trained: Trained) -> Iterator[str] | None:
    """Yield prompts and what follows them, character by character; None of other tasks."""
    if not cast("RNNConfig", trained.config).reads_text:
        return None
    return written(question, trained)


def written(question: TextQuestion, trained: Trained) -> Iterator[str]:
    """Yield each prompt and what follows it."""
    for number, prompt in enumerate(question.inputs):
        yield ("\n" if number else "") + prompt
        yield from go_on(question, trained, prompt)


def go_on(question: TextQuestion, trained: Trained, prompt: str) -> Iterator[str]:
    """Yield what follows a prompt, character by character."""
    config = cast("RNNConfig", trained.config)
    network = cast("RecurrentNetwork", trained.into(rnn.build(config), prefix="network."))
    generator = torch.Generator().manual_seed(question.seed)
    temperatures = torch.tensor([question.temperature])
    symbols = continuation(network, encode(prompt), temperatures, generator)
    for _, symbol in zip(range(question.num_characters), symbols, strict=False):
        yield Vocabulary().decode(symbol[0])


def encode(text: str) -> Tensor:
    """Return the integers of a text, (T,).

    Raises:
        UserError: it is empty, or has a character outside the alphabet.

    """
    if not text:
        raise UserError("inputs: an empty text; at least one character is needed")
    try:
        return Vocabulary().encode(text)
    except DataError as error:
        raise UserError(f"inputs={text}: {error}") from None


PREDICTION = Prediction(TextQuestion, answer, write)

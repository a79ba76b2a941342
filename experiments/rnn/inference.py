"""Texts in, echoes of their letters or copies of ten letters out, as the network was trained."""

from collections.abc import Iterator
from typing import cast

import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

import experiments
from datasets.characters import ALPHABET, BLANK, FIRST_LETTER, Vocabulary
from datasets.errors import DataError
from datasets.memory_tasks import Copy, echo
from experiments.rnn.config import RNNConfig
from experiments.rnn.network import export_network
from harness.config import STRICT
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, config_of, predict_each
from harness.tracking.models import LoadedModel


def export(config: RNNConfig, trained: Trained) -> ModelExport:
    """Return the network: integers (B, T), where delays vary after the delay, to logits."""
    symbols, delays = trained.data.validation.inputs[:2], trained.data.validation.delays[:2]
    if config.task == "variable_echo":
        symbols = torch.cat([delays.unsqueeze(1), symbols], dim=1)  # (2, 1 + T)
    return export_network(trained.model, symbols)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EchoRequest(PredictRequest):
    """Have a recurrent network echo or copy texts."""

    delay: NonNegativeInt = 0
    """variable_echo: steps between a letter and its echo."""


def predict(request: EchoRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield the echo or the copy of each text."""
    config = cast("RNNConfig", config_of(model, experiments.find(model.metadata["entry_point"])))
    delay = delay_of(request, config)

    def answer(text: str) -> Row:
        symbols = encode(text)
        if config.task == "copy":
            task = copy_task(config, symbols)
            logits = model(task.build_inputs(symbols.unsqueeze(0)))[0, -task.num_symbols :]
            return {"prediction": Vocabulary().decode(logits.argmax(-1))}
        predicted = echoed(model, symbols, delay, varies=config.task == "variable_echo")
        return {"prediction": Vocabulary().decode(predicted)}

    return predict_each(request.inputs, answer)


def echoed(model: LoadedModel, symbols: Tensor, delay: int, *, varies: bool) -> Tensor:
    """Return the predicted echo of symbols (T,), blank where there is nothing to echo."""
    inputs = symbols.unsqueeze(0)
    targets = echo(inputs, torch.tensor([delay]))[0]
    if varies:  # The exported model takes two symbols or more: one blank is added behind them.
        inputs = torch.tensor([[delay, *symbols.tolist(), BLANK]])
    predicted = model(inputs)[0, : len(symbols)].argmax(-1)
    predicted[targets == BLANK] = BLANK  # not scored in training, so of no meaning
    return predicted


def delay_of(request: EchoRequest, config: RNNConfig) -> int:
    """Return the delay of the echoes; a UserError if the model was not trained with it."""
    given = request.delay
    if config.task == "variable_echo":
        if given > config.max_delay:
            raise UserError(f"delay={given}: this model knows those up to {config.max_delay}")
        return given
    if given and config.task == "copy":
        raise UserError(f"delay={given}: has no effect here; this model was trained on task=copy")
    if given not in (0, config.delay):
        raise UserError(f"delay={given}: this model was trained with delay={config.delay}")
    return config.delay


def copy_task(config: RNNConfig, symbols: Tensor) -> Copy:
    """Return the task of copying symbols (T,); a UserError if it is not defined for them."""
    task = Copy(config.blank_length)
    alphabet = range(FIRST_LETTER, FIRST_LETTER + task.alphabet_size)
    if len(symbols) != task.num_symbols or not set(symbols.tolist()) <= set(alphabet):
        letters = f"a to {ALPHABET[alphabet[-1]]}"
        raise UserError(f"{task.num_symbols} letters from {letters} can be copied")
    return task


def encode(text: str) -> Tensor:
    """Return a text as integers (T,); a UserError if it is empty or has another character."""
    if not text:
        raise UserError("an empty text; at least one character is needed")
    try:
        return Vocabulary().encode(text)
    except DataError as error:
        raise UserError(str(error)) from None


INFERENCE = Inference(EchoRequest, predict)

"""Prompts in, continuations out: a network that has read a text generates more of its kind."""

import itertools
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import NonNegativeFloat, PositiveInt
from pydantic.dataclasses import dataclass

from datasets.characters import Vocabulary
from experiments.rnn.inference import encode
from experiments.rnn.network import export_network
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.lesson import EXPERIMENT
from harness.config import STRICT, OnlyIf, Seed
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, config_of, predict_each
from harness.tracking.models import LoadedModel
from models.recurrent import continuation

DRAWN = OnlyIf("temperature above 0", lambda request: request.temperature > 0)


def export(config: RNNTextConfig, trained: Trained) -> ModelExport:
    """Return the network: integers (B, T) to logits of the next character (B, T, 27)."""
    words = Vocabulary().encode("the quick brown fox jumps over the lazy dog ")
    share = trained.data.dropped_share
    return export_network(trained.model, words.view(2, -1), dropped_character_share=share)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ContinuationRequest(PredictRequest):
    """Have a recurrent network continue texts."""

    num_characters: PositiveInt = 300
    """Characters to generate."""
    temperature: NonNegativeFloat = 0.8
    """Divisor of the logits: the lower, the less is left to chance (0: the most probable)."""
    seed: Annotated[Seed, DRAWN] = 0
    """Seed of the characters that are drawn."""


def predict(request: ContinuationRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield the continuation of each text."""

    def answer(prompt: str) -> Row:
        return {"continuation": "".join(characters(request, model, prompt))}

    return predict_each(request.inputs, answer)


def generate(request: ContinuationRequest, model: LoadedModel, prompt: str) -> Iterator[str]:
    """Yield a prompt and its continuation, character by character."""
    continuation = characters(request, model, prompt)
    first = next(continuation)  # which fails if the prompt cannot be read
    yield prompt
    yield first
    yield from continuation


def characters(request: ContinuationRequest, model: LoadedModel, prompt: str) -> Iterator[str]:
    """Yield the characters that continue a prompt."""
    network = EXPERIMENT.restore_model(config_of(model, EXPERIMENT), None, model.weights)
    generator = torch.Generator().manual_seed(request.seed)
    temperatures = torch.tensor([request.temperature])
    try:
        symbols = encode(prompt)
    except UserError as error:
        share = model.metadata.get("dropped_character_share", 0)
        trained = f"{100 * share:.1f} % of the text that it was trained on"
        raise UserError(f"{error}; this model knows no others, and {trained} was dropped") from None
    samples = continuation(network, symbols, temperatures, generator)
    for symbol in itertools.islice(samples, request.num_characters):
        yield Vocabulary().decode(symbol[0])


INFERENCE = Inference(ContinuationRequest, predict, generate)

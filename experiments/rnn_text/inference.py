"""Prompts in, continuations out: a network that has read a text generates more of its kind."""

from collections.abc import Iterator
from typing import Annotated, Any, cast

import torch
from pydantic import NonNegativeFloat, PositiveInt
from pydantic.dataclasses import dataclass

from experiments.rnn.network import export_network
from experiments.rnn_text.config import RNNTextConfig
from experiments.rnn_text.lesson import EXPERIMENT
from experiments.rnn_text.serving import ServedContinuation
from harness.config import STRICT, OnlyIf, Seed
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, predict_rows, refusals
from harness.tracking.models import LoadedModel

DRAWN = OnlyIf("temperature above 0", lambda request: request.temperature > 0)


def export(config: RNNTextConfig, trained: Trained) -> ModelExport:
    """Return the network: integers (B, T) to logits of the next symbol (B, T, S)."""
    data, read = trained.data, trained.data.train.symbols.long()
    symbols = read[torch.arange(40) % len(read)].view(2, -1)
    return export_network(
        trained.model,
        symbols,
        ServedContinuation,
        [{"text": data.vocabulary.decode(row)} for row in symbols],
        metadata={
            "alphabet": config.alphabet,
            "symbols": data.vocabulary.symbols,
            "network": EXPERIMENT.network_arguments(config, data),
            "dropped_character_share": data.dropped_share,
        },
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ContinuationRequest(PredictRequest):
    """Have a recurrent network continue texts."""

    num_characters: PositiveInt = 300
    """Characters to generate."""
    temperature: NonNegativeFloat = 0.8
    """Divisor of the logits: the lower, the less is left to chance (0: the most probable)."""
    seed: Annotated[Seed, DRAWN] = 0
    """Seed of the characters that are drawn."""

    def as_params(self) -> dict[str, Any]:
        """Return the options of a served model."""
        return {name: getattr(self, name) for name in ServedContinuation.params}


def predict(request: ContinuationRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield the continuation of each text."""
    rows = (({"input": text}, {"text": text}) for text in request.inputs)
    return predict_rows(rows, model.served, request.as_params())


def generate(request: ContinuationRequest, model: LoadedModel, prompt: str) -> Iterator[str]:
    """Yield a prompt and its continuation, character by character."""
    served = cast("ServedContinuation", model.served)
    with refusals():
        symbols = served.read({"text": prompt})
    yield prompt
    yield from served.characters(symbols, **request.as_params())


INFERENCE = Inference(ContinuationRequest, predict, generate)

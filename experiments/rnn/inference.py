"""Texts in, what the network remembers of them out, as it was trained."""

from collections.abc import Iterator
from typing import cast

import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

import experiments
from datasets.characters import ALPHABET, Vocabulary
from datasets.choices import SELECTIVE_TASKS
from experiments.rnn.config import RNNConfig
from experiments.rnn.network import export_network
from experiments.rnn.serving import ServedEcho
from harness.config import STRICT
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, config_of, predict_rows
from harness.tracking.models import LoadedModel


def export(config: RNNConfig, trained: Trained) -> ModelExport:
    """Return the network: integers (B, T), where delays vary after the delay, to logits."""
    symbols, delays = trained.data.validation.inputs[:2], trained.data.validation.delays[:2]
    rows: list[Row] = [{"text": "hello"}, {"text": "how are you"}]
    if config.task == "variable_echo":
        symbols = torch.cat([delays.unsqueeze(1), symbols], dim=1)  # (1 or 2, 1 + T)
        # Floating-point numbers: as integers, MLflow would make 1 of 1.5.
        pairs = zip(rows, delays.double().tolist(), strict=False)  # one may be all of a split
        rows = [row | {"delay": delay} for row, delay in pairs]
    if config.task == "copy":
        rows = [{"text": "abcdefghab"}, {"text": "hgfedcbahg"}]
    elif config.task in SELECTIVE_TASKS:
        rows = [{"text": Vocabulary().decode(row)} for row in symbols]
    return export_network(trained.model, symbols, ServedEcho, rows, metadata={"symbols": ALPHABET})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EchoRequest(PredictRequest):
    """Have a recurrent network echo or copy texts, or recall what was in them."""

    delay: NonNegativeInt = 0
    """variable_echo: steps between a letter and its echo."""


def predict(request: EchoRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield the echo or the copy of each text, or what was recalled at its steps."""
    config = cast("RNNConfig", config_of(model, experiments.find(model.metadata["entry_point"])))
    check_delay(request, config)
    rows = (({"input": text}, {"text": text, "delay": request.delay}) for text in request.inputs)
    return predict_rows(rows, model.served)


def check_delay(request: EchoRequest, config: RNNConfig) -> None:
    """Raise a UserError if a delay is given to a model that was not trained with it."""
    given = request.delay
    if config.task == "variable_echo":
        if given > config.max_delay:
            raise UserError(f"delay={given}: this model knows those up to {config.max_delay}")
    elif config.task == "echo":
        if given not in (0, config.delay):
            raise UserError(f"delay={given}: this model was trained with delay={config.delay}")
    elif given:
        where = f"this model was trained on task={config.task}"
        raise UserError(f"delay={given}: has no effect here; {where}")


INFERENCE = Inference(EchoRequest, predict)

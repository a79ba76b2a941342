"""Continuations of prompts, as `predict` prints them."""

import re
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from datasets.characters import Vocabulary
from experiments.rnn_text.inference import ContinuationRequest, generate, predict
from harness.errors import UserError
from harness.tracking.models import load
from models import recurrent
from tests.conftest import ROOT, network_of


@pytest.fixture
def uri(trained: Callable[..., str]) -> str:
    return trained("rnn_text", text=str(ROOT / "README.md"), length=20)


def row_of(uri: str, prompt: str, **options: Any) -> dict[str, Any]:
    (row,) = predict(ContinuationRequest(model=uri, inputs=(prompt,), **options), load(uri))
    return row


def test_a_prompt_is_continued(uri: str) -> None:
    options = {"num_characters": 30, "seed": 3}
    row = row_of(uri, "the ", **options)
    assert row_of(uri, "the ", **options) == row
    assert row_of(uri, "the ", **(options | {"seed": 4})) != row
    request = ContinuationRequest(model=uri, inputs=("the ",), num_characters=30, seed=3)
    pieces = list(generate(request, load(uri), "the "))
    assert len(pieces) == 31
    assert "".join(pieces) == f"the {row['continuation']}"
    # The exported model predicts from the whole text what the network does from its state.
    greedy = row_of(uri, "the ", temperature=0, num_characters=30)["continuation"]
    symbols = Vocabulary().encode("the " + greedy).double().numpy()[None]
    logits = np.asarray(mlflow.pyfunc.load_model(network_of(uri)).predict(symbols))[0]
    assert Vocabulary().decode(torch.from_numpy(logits.argmax(-1)[3:-1])) == greedy


def test_it_is_the_continuation_that_the_network_generates(uri: str) -> None:
    row = row_of(uri, "the ", num_characters=12, temperature=0.5)
    model = load(uri)
    network = recurrent.RecurrentNetwork(**model.metadata["network"])
    network.load_state_dict(model.weights)
    network.eval()
    generator, prompt = torch.Generator().manual_seed(0), Vocabulary().encode("the ")
    samples = recurrent.generate(network, prompt, 12, torch.tensor([0.5]), generator)
    assert Vocabulary().decode(samples[0]) == row["continuation"]


def test_what_cannot_be_continued_is_refused(uri: str) -> None:
    error = row_of(uri, "The")["error"]
    assert re.match(r"character 'T' .* \d+\.\d % of the text", error)
    with pytest.raises(UserError, match="temperature=-1"):
        ContinuationRequest(model=uri, inputs=("a",), temperature=-1)

"""A network that continues texts behind a real server, and what is refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from datasets.characters import UNKNOWN
from tests.conftest import network_of, serve
from tests.experiments.predict.test_serving import SERVE, check_refused, post

JSON = "application/json"
TEXT = "Größere Füße stören ähnlich übermäßig, sagte die Königin öfter.\n"


@pytest.fixture(scope="module")
def uri(trained: Callable[..., str], module_store: Path) -> str:
    (module_store / "umlauts.txt").write_text(60 * TEXT)
    return trained("rnn_text", text="umlauts.txt", alphabet="characters", length=20)


@pytest.fixture(scope="module")
def address(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server"), "/ping", *SERVE, uri) as address:
        yield address


def as_request(*texts: Any, **params: Any) -> str:
    records = [{"text": text} for text in texts]
    return json.dumps({"dataframe_records": records, "params": params})


def expected(uri: str, prompt: str, count: int) -> str:
    """Return the most probable continuation by the exported network, which has no state.

    It reads all that was written anew for each character.
    """
    network: Any = mlflow.pytorch.load_model(network_of(uri))
    symbols = "".join(sorted(set(TEXT))) + UNKNOWN
    written = [symbols.index(each) if each in symbols else len(symbols) - 1 for each in prompt]
    for _ in range(count):
        written.append(int(network(torch.tensor([2 * [*written, 0]]).view(2, -1))[0, -2].argmax()))
    return "".join(symbols[index] for index in written[len(prompt) :])


@pytest.mark.slow
def test_texts_are_continued_from_their_state(uri: str) -> None:
    model = mlflow.pyfunc.load_model(uri)
    prompts = ["Größe", "한 Z sagte", TEXT]
    table = pd.DataFrame({"text": prompts})
    found = model.predict(table, params={"num_characters": 12, "temperature": 0.0})
    assert found["continuation"].tolist() == [expected(uri, each, 12) for each in prompts]
    # Each row is continued as if it were the only one, and as its seed says.
    drawn = model.predict(table, params={"seed": 3})["continuation"].tolist()
    assert all(len(text) == 300 for text in drawn)
    assert model.predict(table[1:2], params={"seed": 3})["continuation"].tolist() == drawn[1:2]
    assert model.predict(table, params={"seed": 4})["continuation"].tolist() != drawn
    with pytest.raises(MlflowException, match="0 rows; a request has 1 to"):
        model.predict(table[:0])


def test_bytes_are_continued_by_whole_characters(
    trained: Callable[..., str], module_store: Path
) -> None:
    (module_store / "umlauts.txt").write_text(60 * TEXT)
    uri = trained("rnn_text", text="umlauts.txt", alphabet="bytes", length=20)
    model = mlflow.pyfunc.load_model(uri)
    table = pd.DataFrame({"text": ["Größe", "한"]})
    for text in model.predict(table, params={"num_characters": 50})["continuation"]:
        assert len(text) == 50
    assert len(model.metadata.metadata["symbols"]) == 256


@pytest.mark.slow
def test_a_server_continues_texts(uri: str, address: str) -> None:
    body = as_request("Größe", "x", temperature=0, num_characters=9)
    status, answer = post(address, body)
    assert status == 200, answer
    assert answer["predictions"] == [
        {"continuation": expected(uri, prompt, 9)} for prompt in ("Größe", "x")
    ]
    status, answer = post(address, "text\nGröße\n", "text/csv")
    assert status == 200
    assert len(answer["predictions"][0]["continuation"]) == 300


MALFORMED: dict[str, tuple[str, str, str]] = {
    "no JSON": (JSON, "{", "JSON"),
    "an empty body": (JSON, "", "JSON"),
    "no known key": (JSON, '{"text": "hello"}', "dataframe_split"),
    "a list": (JSON, '["hello"]', ""),
    "no rows": (JSON, as_request(), ""),
    "another column": (JSON, '{"dataframe_records": [{"prompt": "a"}]}', "missing inputs.*text"),
    "a number for a text": (JSON, as_request(3), "text"),
    "null": (JSON, as_request(None), "text"),
    "a list for a text": (JSON, as_request(["a", "b"]), ""),
    "an empty text": (JSON, as_request("a", ""), "row 2: an empty text"),
    "too much text": (JSON, as_request(*2 * [50_001 * "a"]), "100,002 characters in 2 rows"),
    "no characters": (JSON, as_request("a", num_characters=0), "num_characters=0: 1 to 20,000"),
    "too few": (JSON, as_request("a", num_characters=-5), "num_characters=-5: 1 to 20,000"),
    "too many": (JSON, as_request("a", num_characters=20_001), "num_characters=20001: 1 to 20,000"),
    "too many rows": (JSON, as_request(*101 * ["a"]), "num_characters=300: .* number of rows"),
    "half a one": (JSON, as_request("a", num_characters=2.5), "num_characters"),
    "a number as text": (JSON, as_request("a", num_characters="many"), "num_characters"),
    "a negative temperature": (JSON, as_request("a", temperature=-0.1), "temperature=-0.1"),
    "no temperature": (JSON, as_request("a", temperature=float("nan")), "temperature=nan"),
    "an infinite one": (JSON, as_request("a", temperature=float("inf")), "temperature=inf"),
    "a hot one": (JSON, as_request("a", temperature="hot"), "temperature"),
    "a negative seed": (JSON, as_request("a", seed=-1), "seed=-1: 0 to 4294967295"),
    "a huge seed": (JSON, as_request("a", seed=2**64), "seed"),
    "a list of options": (
        JSON,
        '{"dataframe_records": [{"text": "a"}], "params": [1]}',
        "dictionary",
    ),
    "arrays": (JSON, '{"inputs": [[1, 2, 3]]}', ""),
    "another content type": ("text/plain", "hello", "content type|Unsupported|text/plain"),
    "CSV without the column": ("text/csv", "a,b\n1,2\n", "missing inputs"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_refused(what: str, address: str) -> None:
    content_type, body, reason = MALFORMED[what]
    check_refused(post(address, body, content_type), reason)

"""A network behind a real server: texts and delays as programs send them, and what is refused."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch

from datasets.characters import Vocabulary
from tests.conftest import network_of, serve
from tests.experiments.predict.test_serving import SERVE, check_refused, post

JSON = "application/json"
MAX_DELAY = 3


@pytest.fixture(scope="module")
def uri(trained: Callable[..., str]) -> str:
    return trained("rnn", task="variable_echo", max_delay=MAX_DELAY)


@pytest.fixture(scope="module")
def address(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server"), "/ping", *SERVE, uri) as address:
        yield address


def as_records(*rows: tuple[Any, Any]) -> str:
    records = [{"text": text, "delay": delay} for text, delay in rows]
    return json.dumps({"dataframe_records": records})


def expected(uri: str, text: str, delay: int) -> str:
    """Return the echo by the exported network, which takes arrays, of one text by itself."""
    network: Any = mlflow.pytorch.load_model(network_of(uri))
    symbols = [*Vocabulary().encode(text).tolist(), 0]
    predicted = network(torch.tensor([[delay, *symbols]]))[0].argmax(-1)
    letters = [
        " " if step < delay or text[step - delay] == " " else chr(96 + int(predicted[step]))
        for step in range(len(text))
    ]
    return "".join(letters).replace("`", " ")


ROWS = (("hello", 2), ("a", 3), ("the quick brown fox", 0), (40 * "ab cd", 1))


@pytest.mark.slow
def test_texts_of_different_lengths_and_delays_are_echoed_together(uri: str) -> None:
    model = mlflow.pyfunc.load_model(uri)
    table = pd.DataFrame(ROWS, columns=["text", "delay"]).astype({"delay": float})
    echoes = model.predict(table)["echo"].tolist()
    assert echoes == [expected(uri, *row) for row in ROWS]
    assert [column.type.name for column in model.metadata.signature.inputs] == ["string", "double"]
    many = pd.concat(250 * [table[:3]], ignore_index=True)
    assert model.predict(many)["echo"].tolist() == 250 * echoes[:3]


@pytest.mark.slow
def test_a_server_echoes_texts(uri: str, address: str) -> None:
    status, answer = post(address, as_records(*ROWS))
    assert status == 200, answer
    assert answer["predictions"] == [{"echo": expected(uri, *row)} for row in ROWS]
    status, answer = post(address, "text,delay\nhello,2\n", "text/csv")
    assert (status, answer["predictions"]) == (200, [{"echo": expected(uri, "hello", 2)}])


MALFORMED: dict[str, tuple[str, str, str]] = {
    "no JSON": (JSON, "{", "JSON"),
    "an empty body": (JSON, "", "JSON"),
    "no known key": (JSON, '{"text": "hello"}', "dataframe_split"),
    "a list": (JSON, '["hello"]', ""),
    "no rows": (JSON, as_records(), ""),
    "no text": (JSON, '{"dataframe_records": [{"delay": 1}]}', "missing inputs.*text"),
    "no delay": (JSON, '{"dataframe_records": [{"text": "hello"}]}', "missing inputs.*delay"),
    "a number for a text": (JSON, as_records((3, 1)), "text"),
    "null": (JSON, as_records((None, 1)), "text"),
    "a list for a text": (JSON, as_records((["a", "b"], 1)), ""),
    "an empty text": (JSON, as_records(("", 1)), "row 1: an empty text"),
    "a capital letter": (JSON, as_records(("Hello", 1)), "row 1: character 'H' at position 1"),
    "a digit": (JSON, as_records(("abc", 1), ("ab1", 1)), "row 2: character '1' at position 3"),
    "another script": (JSON, as_records(("가나", 1)), "row 1: character '가' at position 1"),
    "a line break": (JSON, as_records(("a\nb", 1)), r"row 1: character '\\n' at position 2"),
    "half a character": (JSON, as_records(("a\ud83d", 1)), "surrogates not allowed"),
    "a delay that is too long": (JSON, as_records(("abc", 4)), "row 1: delay=4: .* from 0 to 3"),
    "a negative delay": (JSON, as_records(("abc", -1)), "row 1: delay=-1: .* from 0 to 3"),
    "a delay between two": (JSON, as_records(("abc", 1.5)), r"row 1: delay=1\.5: .* 0 to 3"),
    "a delay as text": (JSON, as_records(("abc", "two")), "delay"),
    "no delay for one": (JSON, as_records(("abc", 1), ("abc", None)), "row 2: delay=nan"),
    "a huge delay": (JSON, as_records(("abc", 2**63)), "delay"),
    "too much text": (JSON, as_records(*2 * [(50_001 * "a", 1)]), "100,002 characters in 2 rows"),
    "much padding": (JSON, as_records((50_001 * "a", 1), ("a", 1)), "100,002 characters in 2 rows"),
    "arrays": (JSON, '{"inputs": [[1, 2, 3]]}', ""),
    "another content type": ("text/plain", "hello", "content type|Unsupported|text/plain"),
    "CSV without the columns": ("text/csv", "a,b\n1,2\n", "missing inputs"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_refused(what: str, address: str) -> None:
    content_type, body, reason = MALFORMED[what]
    check_refused(post(address, body, content_type), reason)

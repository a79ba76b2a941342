"""Models behind a real server, with a real client over HTTP."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.conftest import network_of, serve
from tests.experiments.predict.test_refusals import REQUESTS

pytestmark = pytest.mark.slow

SHAPELESS = {
    "moe": ["[[1, 2, 3]]", '[["a", "b"]]', "3"],
    "cnn": ["[[[[0.5]]]]", "[[1, 2]]"],
    "rnn": ["[[1, 2], [3]]"],
    "seq_classification": ['"XX"', "[]"],
}
"""Inputs that MLflow refuses, because they do not match the signature."""


SERVE = ("models", "serve", "--env-manager", "local", "-m")


def post(address: str, body: str, content_type: str = "application/json") -> tuple[int, Any]:
    """Send a request; return its status and what came back."""
    headers = {"Content-Type": content_type}
    request = urllib.request.Request(f"{address}/invocations", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        content = error.read().decode()
        is_json = content.startswith("{")
        return error.code, json.loads(content) if is_json else {"message": content}


def check_refused(reply: tuple[int, Any], reason: str) -> None:
    """Check that a reply has a status 4xx, and a reason (a pattern) for which it was refused."""
    status, answer = reply
    assert 400 <= status < 500, (status, str(answer)[:300])
    assert len(answer["message"]) > 10
    assert re.search(reason, answer["message"], re.S), answer["message"][-500:]


@pytest.mark.parametrize("name", SHAPELESS)
def test_a_server_predicts_batches_and_refuses_invalid_inputs(
    name: str, trained: Callable[..., str], tmp_path: Path
) -> None:
    uri, requests = network_of(trained(name)), REQUESTS[name]
    model, good = mlflow.pyfunc.load_model(uri), json.loads(requests.valid)
    with serve(tmp_path, "/ping", *SERVE, uri) as address:
        for batch in (good, good[:1], 7 * good):
            status, answer = post(address, json.dumps({"inputs": batch}))
            assert status == 200, answer
            expected = model.predict(np.array(batch, dtype=np.float64))
            np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-4, atol=1e-5)
        for inputs, reason in requests.invalid.items():
            status, answer = post(address, f'{{"inputs": {inputs}}}')
            assert status == 400, (inputs[:80], answer)
            assert re.match(f"RuntimeError: invalid input: .*{reason}", last_line(answer))
        shapeless = [f'{{"inputs": {inputs}}}' for inputs in SHAPELESS[name]]
        for body in [*shapeless, "{", json.dumps({"x": 1})]:
            status, answer = post(address, body)
            assert status == 400, (body, answer)
            assert len(answer["message"]) > 10
        status, answer = post(address, "x,y\n1,2\n", "text/csv")
        assert status == 400
        assert "TensorSpec only supports numpy types" in answer["message"]


def last_line(answer: dict[str, str]) -> str:
    """Return where the answer to a refused request gives the reason."""
    return answer["stack_trace"].rstrip().rpartition("\n")[2]


def test_mlflow_predicts_from_a_file(trained: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("x,y\n0.5,-1.2\n3,2\n")
    uri = trained("moe")
    files = ["-i", "points.csv", "-t", "csv", "-o", "answers.json"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "predict",
            "-m",
            uri,
            *files,
            "--env-manager",
            "local",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "answers.json").read_text())["predictions"]
    points = pd.DataFrame({"x": [0.5, 3], "y": [-1.2, 2]})
    expected = mlflow.pyfunc.load_model(uri).predict(points).to_dict("records")
    assert answers == expected

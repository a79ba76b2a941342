"""Models behind a real server, with a real client over HTTP."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from tests.conftest import serve

pytestmark = pytest.mark.slow

REQUESTS: dict[str, tuple[Any, list[Any]]] = {
    "moe": ([[0.5, -1.2], [3, 2], [0, 0]], [[[1, 2, 3]], [["a", "b"]], 3]),
    "cnn": (np.full((2, 3, 32, 32), 0.25).tolist(), [[[[[0.5]]]], [[1, 2]]]),
    "rnn": ([[8, 5, 12, 12, 15]], [[[1, 2, 99]], [[1, 2], [3]]]),
    "seq_classification": ([[0, 1, 2, 3], [3, 2, -1, -1]], [[[0, 1, 99]], [[-1, -1]], "XX"]),
}
"""Of each architecture: valid inputs of its models, and invalid ones."""


SERVE = ("models", "serve", "--env-manager", "local", "-m")


def post(address: str, body: str) -> tuple[int, Any]:
    """Send a request; return its status and what came back."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_server_predicts_batches_and_refuses_invalid_inputs(
    name: str, trained: Callable[..., str], tmp_path: Path
) -> None:
    uri = trained(name)
    good, bad = REQUESTS[name]
    model = mlflow.pyfunc.load_model(uri)
    kind = model.metadata.signature.inputs.inputs[0].type
    with serve(tmp_path, "/ping", *SERVE, uri) as address:
        for batch in (good, good[:1], 7 * good):
            status, answer = post(address, json.dumps({"inputs": batch}))
            assert status == 200, answer
            expected = model.predict(np.array(batch, dtype=kind))
            np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-4, atol=1e-5)
        for body in [json.dumps({"inputs": each}) for each in bad] + ["{", json.dumps({"x": 1})]:
            status, answer = post(address, body)
            assert status == 400, (body, answer)
            assert len(answer["message"]) > 10


def test_mlflow_predicts_from_a_file(trained: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "points.json").write_text(json.dumps({"inputs": [[0.5, -1.2], [3, 2]]}))
    uri = trained("moe")
    options = ["-m", uri, "-i", "points.json", "-o", "answers.json", "--env-manager", "local"]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "models", "predict", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads((tmp_path / "answers.json").read_text())["predictions"]
    points = np.array([[0.5, -1.2], [3, 2]], dtype=np.float32)
    expected = mlflow.pyfunc.load_model(uri).predict(points)
    np.testing.assert_allclose(answers, expected, rtol=1e-5)

"""A network behind a real server: photographs as people send them, and what is refused."""

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.pixels import read_pixels
from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import EXPERIMENT
from harness.run_experiment import run_experiment
from tests.conftest import serve
from tests.datasets.test_image_folders import write_classes
from tests.experiments.calibrated import temperature_of
from tests.experiments.predict.test_serving import SERVE, check_refused, post

CLASSES = ("여우", "lynx", "red panda")
JSON = "application/json"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, module_store: Path) -> str:
    """Train on photographs of three classes of unequal size."""
    counts = dict(zip(CLASSES, (60, 30, 40), strict=True))
    folder = write_classes(tmp_path_factory.mktemp("photographs"), counts)
    config = CNNConfig(
        data=str(folder),
        data_dir=str(folder.parent / "cache"),
        image_size=32,
        width=4,
        num_epochs=1,
        class_weights="balanced",
    )
    run = run_experiment(EXPERIMENT, config)
    assert {"test/roc_area", "test/balanced_accuracy"} <= set(run.metrics)
    client = mlflow.MlflowClient()
    pictures = {file.path for file in client.list_artifacts(run.run_id, "figures")}
    assert {"figures/roc.png", "figures/gradcam.png", "figures/confusion.png"} <= pictures
    return f"runs:/{run.run_id}/model"


@pytest.fixture(scope="module")
def address(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server"), "/ping", *SERVE, uri) as address:
        yield address


def photograph(seed: int, file_format: str = "JPEG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((640, 480)).convert(mode).save(file, file_format)
    return file.getvalue()


def huge() -> bytes:
    """Return the small file of very many pixels."""
    file = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(file, "PNG")
    return file.getvalue()


def as_records(*contents: bytes) -> str:
    rows = [{"image": base64.b64encode(content).decode()} for content in contents]
    return json.dumps({"dataframe_records": rows})


def expected(uri: str, content: bytes) -> dict[str, float]:
    """Return the probabilities of the exported network, which takes arrays."""
    network: Any = mlflow.pytorch.load_model(uri)
    pixels = torch.from_numpy(read_pixels(content, 32, "crop")).permute(2, 0, 1)[None] / 255
    values = (network(pixels) / temperature_of(uri)).softmax(-1)[0].tolist()
    return dict(zip(sorted(CLASSES), values, strict=True))


@pytest.mark.slow
def test_photographs_of_every_kind_are_classified(uri: str, address: str) -> None:
    contents = [
        photograph(0),
        photograph(1, "PNG"),
        photograph(2, "PNG", "L"),
        photograph(3, "PNG", "RGBA"),
        photograph(4, "JPEG", "CMYK"),
        photograph(5, "WEBP"),
    ]
    status, answer = post(address, as_records(*contents))
    assert status == 200, answer
    for row, content in zip(answer["predictions"], contents, strict=True):
        probabilities = expected(uri, content)
        assert row["probabilities"] == pytest.approx(probabilities, rel=1e-4)
        assert row["class"] == max(probabilities, key=probabilities.__getitem__)
        assert row["probability"] == pytest.approx(max(probabilities.values()), rel=1e-4)
    split = {
        "columns": ["image"],
        "data": [[base64.b64encode(content).decode()] for content in contents[:2]],
    }
    status, again = post(address, json.dumps({"dataframe_split": split}))
    assert (status, again["predictions"]) == (200, answer["predictions"][:2])


@pytest.mark.slow
def test_requests_at_once_are_all_answered(address: str) -> None:
    body = as_records(photograph(0))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(address, body), range(100)))
    assert {status for status, _ in answers} == {200}
    assert len({json.dumps(answer) for _, answer in answers}) == 1


GOOD = base64.b64encode(photograph(0)).decode()
MALFORMED: dict[str, tuple[str, str, str]] = {
    "no JSON": (JSON, "{", "JSON"),
    "an empty body": (JSON, "", "JSON"),
    "no known key": (JSON, '{"image": "x"}', "dataframe_split"),
    "a list": (JSON, "[1, 2]", ""),
    "no rows": (JSON, as_records(), ""),
    "too many rows": (JSON, as_records(*129 * [b"x"]), "129 rows; a request has 1 to 128"),
    "another column": (JSON, '{"dataframe_records": [{"picture": "x"}]}', "missing inputs"),
    "a number": (JSON, '{"dataframe_records": [{"image": 3}]}', ""),
    "null": (JSON, '{"dataframe_records": [{"image": null}]}', ""),
    "an array of pixels": (JSON, '{"inputs": [[[0.5]]]}', ""),
    "a nested list": (JSON, '{"dataframe_records": [{"image": [1, 2]}]}', ""),
    "no base64": (JSON, '{"dataframe_records": [{"image": "a photograph!"}]}', ""),
    "half of base64": (JSON, '{"dataframe_records": [{"image": "abcde"}]}', ""),
    "text": (JSON, as_records(b"a photograph"), r"row 1: image: not an image \(12 bytes\)"),
    "an empty file": (JSON, as_records(b""), "row 1: image: empty file"),
    "an incomplete file": (JSON, as_records(photograph(0)[:500]), "row 1: image: [Tt]runcated"),
    "too many pixels": (JSON, as_records(huge()), "12000 x 12000 pixels; at most 89,478,485"),
    "the second of two": (JSON, as_records(photograph(0), b"x"), "row 2: image: not an image"),
    "a PDF": (JSON, as_records(b"%PDF-1.4\n%"), "row 1: image: not an image"),
    "another content type": ("image/jpeg", "x", "content type|Unsupported|image/jpeg"),
    "CSV without the column": ("text/csv", "a,b\n1,2\n", "missing inputs"),
    "CSV that is no file": ("text/csv", "image\nx\n", ""),
    "a parameter": (JSON, '{"params": {"size": 3}, "dataframe_records": []}', ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_refused(what: str, address: str) -> None:
    content_type, body, reason = MALFORMED[what]
    check_refused(post(address, body, content_type), reason)

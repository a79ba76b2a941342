"""Every page in a real browser: it answers as the model does, and asks no other machine."""

import io
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from playwright.sync_api import Page, expect, sync_playwright

import experiments
from datasets.synthetic_photographs import draw
from harness.run_experiment import train_and_evaluate
from harness.training.train import train
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
]

TIMEOUT_MILLISECONDS = 120_000
"""Other tests may have the cores."""

TRAINED: dict[str, dict[str, Any]] = {
    "moe": {"num_experts": 3, "num_epochs": 3, "num_train": 2_000},
    "cnn": {"data": "synthetic", "image_size": 32, "width": 4, "num_epochs": 1, "batch_size": 100},
    "rnn": {"task": "variable_echo", "num_epochs": 1, "num_train": 1280, "num_validation": 50},
    "rnn_text": {"hidden_size": 8, "num_epochs": 1, "batch_size": 20},
}
"""What the store has; for sequences it has nothing."""
ONE_DELAY = {"task": "echo", "num_epochs": 1, "num_train": 640, "num_validation": 50}
"""A later network of rnn, which knows one delay only."""


@pytest.fixture(scope="module")
def models(module_store: Path) -> dict[str, Any]:
    """Train small models; return them as MLflow loads them, which knows nothing of the pages."""
    loaded = {}
    for name, values in TRAINED.items():
        experiment = experiments.find(name)
        run = train_and_evaluate(experiment, experiment.config_class(**values), read_test=False)
        loaded[name] = mlflow.pyfunc.load_model(f"runs:/{run.run_id}/model")
    rnn = experiments.find("rnn")
    train_and_evaluate(rnn, rnn.config_class(**ONE_DELAY), read_test=False)
    return loaded


@pytest.fixture(scope="module")
def address(models: dict[str, Any], module_store: Path) -> Iterator[str]:
    """Start `python -m playground` in the folder of the store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = module_store / "playground.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "playground", f"--server.port={port}", "--server.headless=true"],
            stdout=output,
            stderr=output,
            cwd=module_store,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    found, deadline = f"http://localhost:{port}", time.monotonic() + 100
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{found}/_stcore/health", timeout=1):
                    break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    """Open a browser; every request that it made in all of these tests was to the server."""
    requests: list[str] = []
    with sync_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MILLISECONDS)
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 1800}, base_url=address)
        page.set_default_timeout(TIMEOUT_MILLISECONDS)
        page.on("request", lambda request: requests.append(request.url))
        yield page
        chromium.close()
    elsewhere = {url for url in requests if not url.startswith((address, "data:", "blob:"))}
    assert len(requests) > 20
    assert not elsewhere


def says(page: Page, *texts: str) -> None:
    """Wait for a paragraph with all of these texts, on a page without warnings and errors."""
    paragraph = page.get_by_test_id("stMarkdownContainer")
    for text in texts:
        paragraph = paragraph.filter(has_text=text)
    expect(paragraph.first).to_be_visible()
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def number(page: Page, label: str) -> float:
    return float(page.get_by_label(label, exact=True).input_value())


X, Y = "x of the point (or click)", "y of the point"


def test_the_mixture_tells_who_decides_at_a_point(page: Page, models: dict[str, Any]) -> None:
    def check() -> str:
        point = pd.DataFrame({"x": [number(page, X)], "y": [number(page, Y)]})
        (answer,) = models["moe"].predict(point).to_dict("records")
        weights = answer["expert_weights"]
        most = max(weights, key=weights.__getitem__).removeprefix("expert_")
        # The page shows how the experts' probabilities mix, which is before the temperature.
        calibrated = answer["probabilities"]["1"]
        temperature = models["moe"].metadata.metadata["calibration"]["temperature"]
        logit = temperature * math.log(calibrated / (1 - calibrated))
        chance = f"P(class 1) = {1 / (1 + math.exp(-logit)):.3f}"
        says(page, f"class {answer['class']}", chance, f"Expert {most} counts most")
        return chance

    page.goto("/moe")
    check()
    page.get_by_label(X, exact=True).fill("-2.3")
    page.get_by_label(X, exact=True).press("Enter")
    check()
    page.locator("[data-testid=stVegaLiteChart] canvas").click(position={"x": 250, "y": 150})
    expect(page.get_by_label(X, exact=True)).not_to_have_value("-2.30")
    soft = check()
    page.get_by_text("hard: the most probable expert alone").click()
    decision = page.get_by_text(re.compile(r"The model says"))
    alone = re.compile(r"P\(class 1\) = (\d\.\d+)\..*alone, it says P\(class 1\) = \1\.")
    expect(decision).to_have_text(alone)
    page.get_by_text("soft: all experts").click()
    expect(decision).to_contain_text(soft)
    page.get_by_role("slider", name="After epoch").press("ArrowLeft")
    expect(decision).not_to_contain_text(soft)


def test_a_photograph_is_classified_and_explained(
    page: Page, models: dict[str, Any], tmp_path: Path
) -> None:
    file = io.BytesIO()
    draw("dog", np.random.default_rng(7), size=100).save(file, "PNG")
    page.goto("/cnn")
    says(page, "The network says")
    page.locator("input[type=file]").set_input_files(
        {"name": "dog.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    content = pd.DataFrame({"image": [file.getvalue()]})
    (answer,) = models["cnn"].predict(content).to_dict("records")
    says(page, f"says {answer['class']},", f"{answer['probability']:.3f}")
    expect(page.get_by_test_id("stImage")).to_have_count(3)  # photograph, evidence, stages


def test_echoes_are_those_of_the_model(page: Page, models: dict[str, Any]) -> None:
    page.goto("/rnn")
    says(page, "letters are echoed")
    # Though another network is newer, the page opens with one whose delay can be chosen.
    expect(page.get_by_role("slider", name="Delay (steps)")).to_be_visible()
    letters = page.get_by_label("Type letters")
    letters.fill("hello world")
    letters.press("Enter")
    text, delay = "hello world", 3
    request = pd.DataFrame({"text": [text], "delay": [float(delay)]})
    echoed = models["rnn"].predict(request)["echo"][0]
    target = " " * delay + text[:-delay]
    pairs = [(a, b) for a, b in zip(target, echoed, strict=True) if a != " "]
    correct = sum(a == b for a, b in pairs)
    says(page, f"{correct} of {len(pairs)} letters are echoed correctly")


def test_a_text_is_continued_as_by_the_model(page: Page, models: dict[str, Any]) -> None:
    page.goto("/rnn_text")
    expect(page.get_by_text("bits on a character")).to_be_visible()
    prompt = page.get_by_label("Prompt")
    prompt.fill("in the ")
    prompt.press("Control+Enter")
    params = {"num_characters": 200, "temperature": 0.8, "seed": 0}
    answer = models["rnn_text"].predict(pd.DataFrame({"text": ["in the "]}), params=params)
    expect(page.locator("p[style*=monospace]")).to_have_text(
        f"in the {answer['continuation'][0]}".strip(), use_inner_text=True
    )
    chances = page.locator("p[style*=monospace] span").evaluate_all(
        "spans => spans.map(span => parseFloat(span.title))"
    )
    assert len(chances) == 200
    assert all(0 < chance <= 1 for chance in chances[:20])
    marked = page.locator("p[style*=monospace] span[style*=border]")
    place = page.get_by_role("slider", name="Which character of the continuation?")
    place.press("ArrowRight")
    expect(marked).to_have_text(answer["continuation"][0][1], use_inner_text=True)
    prompt.fill("go on " * 100)
    prompt.press("Control+Enter")
    expect(page.locator("p[style*=monospace]")).to_contain_text("\N{HORIZONTAL ELLIPSIS}go on")
    page.get_by_role("slider", name="Temperature").press("Home")
    expect(page.get_by_text("bits on a character")).to_contain_text(" 0.00 bits")


def test_without_a_model_one_is_trained_on_the_spot(page: Page, models: dict[str, Any]) -> None:
    page.goto("/seq_classification")
    expect(page.get_by_text("There is no model for this page yet")).to_be_visible()
    page.get_by_role("button", name="Train, about").click()
    sequence = page.get_by_label("Sequence (edit it)")
    text = "BabXcdabcdabcdabcdabcdYabcdE"
    sequence.fill(text)
    sequence.press("Enter")
    experiment = experiments.find("seq_classification")
    config = experiment.config_class(level="normal", num_epochs=12)
    trained = train(experiment, config)
    inputs = torch.tensor([["BEabcdXY".index(symbol) for symbol in text]])
    with torch.inference_mode():
        chances = trained.model(inputs, torch.tensor([len(text)])).softmax(-1)[0]
    name = trained.data.classes[int(chances.argmax())]
    says(page, f"class {name}", f"{chances.max():.3f}")
    sequence.fill("")
    sequence.press("Enter")
    expect(page.get_by_text("Type a sequence, or choose an example.")).to_be_visible()
    command = page.get_by_test_id("stCode").inner_text()
    assert re.sub(r"\s+", " ", command).strip() == config.as_command()

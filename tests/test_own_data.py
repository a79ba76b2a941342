"""docs/your-own-data.md, from file to answer: every command, as a user types it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, serve
from tests.experiments.predict.test_serving import SERVE

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/your-own-data.md").read_text()
SECTIONS = {
    title: re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    for title, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])
    if "```" in text
}


def run(words: str, folder: Path) -> str:
    """Run a command in the shell, from a folder with `docs` in it; return what it prints."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(blocks: Sequence[str], prefix: str) -> list[str]:
    return [line for block in blocks for line in block.splitlines() if line.startswith(prefix)]


def test_the_examples_are_small() -> None:
    assert len(SECTIONS) == 5
    for file in (ROOT / "docs/examples").iterdir():
        assert file.stat().st_size < 100_000, file


@pytest.mark.parametrize("title", SECTIONS)
def test_an_example_goes_from_file_to_answer(title: str, store: Path, tmp_path: Path) -> None:
    (store / "docs").symlink_to(ROOT / "docs")
    train, predict = commands(SECTIONS[title], "python -m")
    run_id = re.findall(r"^Run (\w+);", run(train, store), re.M)[0]
    answer = run(predict.replace("RUN_ID", run_id), store)
    assert len(answer.splitlines()) >= 1
    for curl in commands(SECTIONS[title], "curl"):
        with serve(tmp_path, "/ping", *SERVE, f"runs:/{run_id}/model") as address:
            reply = run(curl.replace("http://127.0.0.1:5000", address), store)
        (prediction,) = json.loads(reply)["predictions"]
        assert {"class", "continuation"} & set(prediction), reply

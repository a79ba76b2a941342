"""What every command does, whichever it is: in any terminal, and without a display."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.command_line import run_command
from tests.conftest import ROOT
from tests.datasets.test_photographs import write_folder

NAME = "고양이 🐱 ł.jpg"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", NAME),
        ("cp1252", r"\uace0\uc591\uc774 \U0001f431 \u0142.jpg"),
        ("ascii", r"\uace0\uc591\uc774 \U0001f431 \u0142.jpg"),
        ("cp949", "고양이 \\U0001f431 ł.jpg"),
    ],
)
def test_letters_that_a_terminal_lacks_are_escaped(
    encoding: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("MPLBACKEND", "agg")
    run_command(lambda: print(NAME, os.fsdecode(b"\xff")))
    terminal.flush()
    content = terminal.buffer
    assert isinstance(content, io.BytesIO)
    assert content.getvalue().decode(encoding) == rf"{printed} \udcff" + "\n"


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_korean_file_name_ends_no_command(tmp_path: Path, terminal: dict[str, str]) -> None:
    folder = write_folder(tmp_path / "사진")
    (folder / "train" / "cats" / NAME).write_text("a cat")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    words = ["--data", str(folder), "--data-dir", str(tmp_path / "캐시"), "--image-size", "16"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.data", *words],
        cwd=ROOT,
        env=kept | {"MPLBACKEND": "module://no_such_package.backend"} | terminal,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"skipped: 1" in done.stdout
    assert b"ot an image" in done.stdout
    assert b"Traceback" not in done.stderr


def test_a_backend_that_does_not_exist_is_not_used() -> None:
    """Matplotlib itself refuses it when it is imported."""
    script = """
from harness.command_line import run_command

def draw():
    from matplotlib import pyplot
    from harness.figures import style
    style.canvas()[0].savefig("/dev/null", format="png")
    pyplot.subplots()[0].savefig("/dev/null", format="png")
    print("drawn")

run_command(draw)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"MPLBACKEND": "module://no_such_package.backend"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "drawn\n", done.stderr

"""Warnings of this project reach the user of a command, whatever libraries set up."""

import subprocess
import sys

SCRIPT = """
from harness.command_line import run_command

def command():
    import harness.tracking.export, logging  # imports mlflow.pytorch
    logging.getLogger("datasets.anything").warning("photo.jpg: skipped")

run_command(command)
"""


def test_a_warning_is_printed_after_mlflow_has_set_up_its_logging() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stderr.splitlines() == ["photo.jpg: skipped"], done.stderr


EXPORT = """
import io

import torch

import harness.tracking.export
from models.s6 import S6

cell = S6(4, 6).eval().requires_grad_(False)
steps, state = torch.zeros(1, 3, 4), torch.zeros(1, *cell.state_shape)
torch.export.save(torch.export.export(cell, (steps, state)), io.BytesIO())
"""


def test_a_cell_with_a_scan_is_exported_without_a_warning() -> None:
    done = subprocess.run([sys.executable, "-c", EXPORT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

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

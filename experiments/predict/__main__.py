"""`python -m experiments.predict MODEL INPUT...`: which parameters there are depends on the model.

A command line without a model is answered before anything heavy is imported.
"""

import importlib
import sys
from collections.abc import Sequence

from experiments.predict.config import PredictConfig
from harness import signals
from harness.command_line import parse, run_command
from harness.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """Load the model, then read the rest of the command line as its architecture says."""
    if not arguments or arguments[0].startswith("-"):
        parse(PredictConfig, arguments)
        raise UserError("the model comes first: predict MODEL INPUT... [options]")
    command = importlib.import_module("experiments.predict.command")
    with signals.interruptible():
        command.main(arguments)


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(sys.argv[1:]))

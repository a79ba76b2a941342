"""Load a model, ask it as its architecture is asked, and print its predictions.

What a model needs, such as the size of photographs or the names of classes, is stored with it.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

import experiments
from harness.command_line import errors_as_typed, parse
from harness.errors import UserError
from harness.inference.inference import Inference, Row, predict_each
from harness.inference.output import as_text
from harness.tracking import models
from harness.tracking.models import LoadedModel
from harness.wording import plural


def main(arguments: Sequence[str]) -> None:
    """Print the predictions that a command line asks for; its first word is the model.

    Raises:
        UserError: the model does not exist, or an input could not be predicted; where there are
            several inputs, each of those has a line on stderr before.

    """
    model = models.load(arguments[0])
    inference = inference_of(model)
    with errors_as_typed(inference.request_class):
        # A blank in front keeps argparse from taking a point, such as -1,2, for an option.
        words = [f" {word}" if re.match(r"-[^-]\S*,\S*$", word) else word for word in arguments]
        request = parse(inference.request_class, words)
        generate = inference.generate
        if generate is None or request.json or request.csv:
            predictions = inference.predict(request, model)
            rows = list(tqdm(predictions, unit="input", disable=None, leave=False))
            print(as_text(request, rows), end="")
        else:

            def print_text(prompt: str) -> Row:
                for piece in generate(request, model, prompt):
                    print(piece, end="", flush=True)
                print()
                return {}

            rows = list(predict_each(request.inputs, print_text))
    failed = [f"inputs={row['input']}: {row['error']}" for row in rows if "error" in row]
    if failed and len(rows) == 1:
        raise UserError(failed[0])
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    if failed:
        raise UserError(f"{len(failed)} of {plural(len(rows), 'input')} failed")


def inference_of(model: LoadedModel) -> Inference[Any]:
    """Return how models of this architecture predict."""
    experiment = experiments.find(model.metadata["entry_point"])
    inference: Inference[Any] = experiment.companion("inference").INFERENCE
    return inference

"""Load a model, ask it as its architecture is asked, and print its predictions.

What a model needs, such as the size of photographs or the names of classes, is stored with it.
"""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

import experiments
from harness.command_line import errors_as_typed, parse
from harness.errors import UserError
from harness.inference.inference import Inference, Row
from harness.inference.request import PredictRequest
from harness.tracking import models
from harness.tracking.models import LoadedModel


def main(arguments: Sequence[str]) -> None:
    """Print the predictions that a command line asks for; its first word is the model.

    A UserError says which model does not exist, or which inputs it could not predict.
    """
    model = models.load(arguments[0])
    inference = inference_of(model)
    with errors_as_typed(inference.request_class):
        # A blank in front keeps argparse from taking a point, such as -1,2, for an option.
        words = [f" {word}" if re.match(r"-[\d.]+,", word) else word for word in arguments]
        request = parse(inference.request_class, words)
        pieces = None if request.json or request.csv else inference.generate(request, model)
        if pieces is not None:
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
            return
        rows = list(
            tqdm(inference.predict(request, model), unit="input", disable=None, leave=False)
        )
        print(as_text(request, rows))
        if failed := [row for row in rows if "error" in row]:
            count = f" ({len(failed)} of {len(rows)} inputs failed)" if len(rows) > 1 else ""
            raise UserError(f"inputs={failed[0]['input']}: {failed[0]['error']}{count}")


def inference_of(model: LoadedModel) -> Inference[Any]:
    """Return how models of this architecture predict."""
    experiment = experiments.find(model.metadata["entry_point"])
    inference: Inference[Any] = experiment.companion("inference").INFERENCE
    return inference


def as_text(request: PredictRequest, rows: Sequence[Row]) -> str:
    """Return predictions as the request wants them printed: a table, CSV or JSON."""
    if request.json:  # a terminal's own escapes of letters that it lacks may be no JSON
        is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        return json.dumps(rows, ensure_ascii=not is_unicode, indent=1)
    table = pd.DataFrame(rows)
    if request.csv:
        return str(table.to_csv(index=False, float_format="%.6g")).rstrip("\n")
    return str(table.to_string(index=False, float_format="{:.4f}".format, na_rep=""))

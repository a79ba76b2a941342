"""Ask a trained model.

    python -m experiments.predict models:/cnn@champion photo.jpg holiday/ --explain
    python -m experiments.predict models:/moe@champion 0.5,-1.2 points.csv --json
    python -m experiments.predict runs:/RUN_ID/model "in the beginning " --num-characters 500

The model comes first. What it needs to be asked, such as the size of photographs or the names of
classes, has travelled with it.
"""

import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pandas as pd
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from experiments.harness import signals, trained
from experiments.harness.config import STRICT, parse
from experiments.harness.errors import UserError
from experiments.harness.launch import run_command
from experiments.harness.prediction import Prediction, Question, Row


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictConfig(Question):
    """Ask a trained model; `predict MODEL --help` tells what more can be asked of one."""

    entry_point: ClassVar[str] = "predict"
    tiny: ClassVar[Mapping[str, Any]] = {"model": "models:/moe@champion", "inputs": ("0,0",)}


def main(arguments: Sequence[str]) -> None:
    """Answer what the command line asks.

    Raises:
        UserError: no such model, inputs that are none for it, or some that had no answer.

    """
    if not arguments or arguments[0].startswith("-"):
        parse(PredictConfig, arguments)
        raise UserError("the model comes first: predict MODEL INPUT... [options]")
    model = trained.load(arguments[0])
    prediction = prediction_of(model)
    question = parse(prediction.question_class, [_no_option(word) for word in arguments])
    if not (question.json or question.csv):
        pieces = prediction.write(question, model)
        if pieces is not None:
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
            return
    bar = tqdm(prediction.answer(question, model), unit="answer", disable=None, leave=False)
    rows = list(bar)
    print(as_text(question, rows))
    failed = [row for row in rows if "error" in row]
    if failed:
        raise UserError(
            f"inputs={failed[0]['input']}: {failed[0]['error']}"
            + (f" ({len(failed)} of {len(rows)} inputs had no answer)" if len(rows) > 1 else "")
        )


def prediction_of(model: trained.Trained) -> Prediction[Any]:
    """Return how models of this architecture answer."""
    module = importlib.import_module(f"experiments.prediction.{model.metadata['architecture']}")
    prediction: Prediction[Any] = module.PREDICTION
    return prediction


def as_text(question: Question, rows: Sequence[Row]) -> str:
    """Return answers as the question wants them printed."""
    if question.json:
        return json.dumps(rows, ensure_ascii=False, indent=1)
    table = pd.DataFrame(rows)
    if question.csv:
        text = table.to_csv(index=False, float_format="%.6g")
    else:
        text = table.to_string(index=False, float_format="{:.4f}".format, na_rep="")
    return str(text).rstrip("\n")


def _no_option(word: str) -> str:
    """Return a word so that argparse does not take a point, such as -1,2, for an option."""
    return f" {word}" if re.match(r"-[\d.]+,", word) else word


if __name__ == "__main__":
    signals.listen()
    run_command(lambda: main(sys.argv[1:]))

"""Predictions as they are printed: JSON, CSV or a table."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.inference.inference import Row
from harness.inference.request import PredictRequest
from harness.tracking.run import printable


def as_text(request: PredictRequest, rows: Sequence[Row]) -> str:
    """Return predictions as the request wants them printed: JSON, CSV or a table.

    The table leaves out the inputs that failed, the others have a column `error`.
    """
    if request.json:  # a terminal's own escapes of letters that it lacks may be no JSON
        is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        return json.dumps(rows, ensure_ascii=not is_unicode, indent=1) + "\n"
    # pandas refuses the bytes of a file name that are no UTF-8.
    rows = [{name: printable(_as_words(value)) for name, value in row.items()} for row in rows]
    if request.csv:
        return str(pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))
    table = pd.DataFrame([row for row in rows if "error" not in row])
    if table.empty:
        return ""
    return str(table.to_string(index=False, float_format="{:.4f}".format, na_rep="")) + "\n"


def _as_words(value: Any) -> Any:
    """Return a set of classes as one says it: cats or dogs."""
    return " or ".join(value) if isinstance(value, list) else value

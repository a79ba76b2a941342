"""What the MLflow UI shows first: a saved view of each MLflow experiment, and links to it.

The view "Results" lists the runs by the metric that studies of the architecture compare, with what
is tuned first; in the chart view it has the learning curves. It is a tag of the MLflow experiment,
as the button *Views* of the UI writes it.
"""

import json
import time
from typing import Any
from urllib.parse import urlencode

import mlflow
from mlflow.tracking import MlflowClient

from harness.experiment import AnyExperiment
from harness.search_space import SearchSpace
from harness.tracking.locations import redact_password
from harness.tracking.races import again_after_race
from harness.training.history import best_name

KEY = "results"
TAG = f"mlflow.sharedViewState.{KEY}"
LOCAL_ADDRESS = "http://localhost:5000"
"""Where `mlflow ui` listens, unless it is told otherwise."""
NUM_PARAMETERS = 3
"""Columns of parameters that find room."""
IMAGES = "images/learning"
"""Key of the images over epochs, of every experiment; its first part names a section of charts."""
TRAINING = {"workflowType": "machine_learning"}
"""Else MLflow begins with its pages for language models."""


def save_view(run_id: str, experiment: AnyExperiment) -> None:
    """Save the view for the MLflow experiment of a run, unless it has one: users may change it."""
    client = MlflowClient()
    experiment_id = client.get_run(run_id).info.experiment_id
    if TAG not in client.get_experiment(experiment_id).tags:
        now = round(1000 * time.time())
        view = {"name": "Results", "createdAt": now, "updatedAt": now}
        state = json.dumps(state_of_view(experiment))
        value = json.dumps({**view, "state": state})
        again_after_race(lambda: client.set_experiment_tag(experiment_id, TAG, value))


def state_of_view(experiment: AnyExperiment) -> dict[str, Any]:
    """Return columns, sorting and charts, by the names that MLflow 3.17 reads."""
    try:
        space = experiment.companion("space").SPACE
    except LookupError:  # nothing that is worth tuning is known
        space = SearchSpace({}, experiment.monitor, experiment.maximise)
    objective = best_name(space.metric)
    metrics = [*dict.fromkeys([objective, "best/val_accuracy", "test/accuracy"])]
    kinds = {"metrics": metrics, "params": [*space.parameters][:NUM_PARAMETERS]}
    kinds["tags"] = ["data", "seed"]
    columns = [f"{kind}.`{name}`" for kind, names in kinds.items() for name in names]
    name = "attributes.`Run Name`"
    return {
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": not space.maximise,
        "selectedColumns": columns,
        "columnOrder": ["0", name, *columns, "duration", "runDateAndNestInfo"],
        "columnWidths": {name: 260, **{f"metrics.`{metric}`": 140 for metric in metrics}},
        "chartsSearchFilter": "^val/(loss|accuracy)$",  # images are shown whatever it is
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True} for name in ("val", "images")
        ],
        "isAccordionReordered": True,  # else sections stand in the order of the alphabet
        "compareRunCharts": [
            {
                "type": "IMAGE",
                "uuid": IMAGES,
                "metricSectionId": "images",
                "imageKeys": [IMAGES],
                "step": 0,
                "showRunParams": False,  # dozens of them would leave the image no room
            }
        ],
    }


def runs_url(experiment_id: str) -> str:
    """Return the address of an MLflow experiment in the UI: its view, if it has one."""
    query = TRAINING
    if TAG in MlflowClient().get_experiment(experiment_id).tags:
        query = {**query, "viewStateShareKey": KEY, "compareRunsMode": "TABLE"}
    return f"{address()}/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def run_url(run_id: str) -> str:
    """Return the address of a run in the UI."""
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    return f"{address()}/#/experiments/{experiment_id}/runs/{run_id}?{urlencode(TRAINING)}"


def shown_at(run_id: str) -> str:
    """Say where a run can be seen; where no server runs yet, how to start it."""
    start = "" if mlflow.get_tracking_uri().startswith("http") else " (`python -m experiments.ui`)"
    return f"the MLflow UI shows it{start}:\n  {run_url(run_id)}"


def address() -> str:
    """Return where the UI is: at the tracking server, or where `mlflow ui` starts it."""
    uri = mlflow.get_tracking_uri()
    return redact_password(uri).rstrip("/") if uri.startswith("http") else LOCAL_ADDRESS

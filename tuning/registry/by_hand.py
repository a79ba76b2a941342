"""A run's model, or an ensemble's, as a version of a registered model: registered by hand."""

import json

from mlflow.entities.model_registry import ModelVersion

import experiments
from harness.errors import UserError
from harness.inference.inference import config_of
from harness.tracking import models
from harness.tracking.models import ENSEMBLE
from harness.tracking.run import data_set_of, find_finished, model_of
from harness.training.history import best_name
from tuning.registry import versions


def register_run(run_id: str, name: str = "") -> ModelVersion:
    """Register the model of a finished run as a new version, the challenger.

    Its metrics are those of the run, which is where its test split was read.

    Args:
        run_id: of a run that has a model.
        name: of the registered model (empty: that of the architecture).

    Raises:
        UserError: there is no such run, or it is not finished, or has no model.

    """
    run = find_finished(run_id, "run")
    if (model_id := model_of(run_id)) is None:
        several = "one of several seeds needs `python -m experiments.ensemble` first"
        raise UserError(f"run={run_id}: that run has no model; {several}")
    model = models.load(f"runs:/{run_id}/model")
    experiment = experiments.find(model.metadata["entry_point"])
    config, data = config_of(model, experiment), data_set_of(run)
    tags, metric, metrics = versions.origin(run, config), experiment.monitor, run.data.metrics
    if members := run.data.tags.get(ENSEMBLE):
        metric = "val/accuracy"
        # The run of several seeds has the means over its members, too, under other names.
        metrics = {k.replace("/ensemble_", "/"): v for k, v in metrics.items() if "/ensemble_" in k}
        tags |= {ENSEMBLE: members, "command": f"python -m experiments.ensemble {members}"}
    if (value := metrics.get(best_name(metric))) is None:
        raise UserError(f"run={run_id}: that run has no {best_name(metric)} to be compared by")
    tested = {k: repr(v) for k, v in metrics.items() if k.startswith("test/")}
    if tested:
        tags |= {"tested": "once, in the run that logged the model", **tested}
    tags |= {
        "metric": metric,
        "metric_mean": repr(value),
        "metric_std": repr(0.0),
        "metric_by_seed": json.dumps({config.seed: value}),
        "data": data.name,
        "data_fingerprint": f"{config.seed}:{data.fingerprint}",
    }
    return versions.create(name, model_id, tags)

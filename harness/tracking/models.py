"""Models that were logged, loaded by their URI, with what they were trained as."""

import contextlib
import dataclasses
import functools
import io
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlflow.pyfunc
import mlflow.pytorch
import torch
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from torch import Tensor, nn

from harness.errors import UserError
from harness.serving.served_model import REFUSAL, ServedModel
from harness.tracking.failures import failure_of, first_line
from harness.tracking.locations import redact_password
from harness.tracking.store import local_database, require_artifacts, store_lock
from harness.wording import nearest

ENSEMBLE = "ensemble"
"""Tag of runs and versions whose model is one of several networks: the ids of their runs."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A logged model, and its metadata."""

    uri: str
    folder: str
    """A local copy of its files."""
    metadata: Mapping[str, Any]
    """`architecture`, `entry_point`, `configuration`, and what inputs and outputs stand for."""

    @functools.cached_property
    def module(self) -> nn.Module:
        """The exported network, on the CPU."""
        network: nn.Module = mlflow.pytorch.load_model(self.folder)
        return network

    @functools.cached_property
    def served(self) -> ServedModel[Any]:
        """The model of raw inputs, with the code that was logged with it; a UserError without."""
        loaded = mlflow.pyfunc.load_model(self.folder).get_raw_model()
        if not hasattr(loaded, "answer"):
            raise UserError(f"model={self.uri}: takes arrays only, no raw inputs; train it again")
        return loaded  # type: ignore[no-any-return]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights, by their names in the model that was trained."""
        prefix = self.metadata.get("weights_prefix", "")
        weights = self.module.state_dict()
        return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs; a UserError where it refuses the inputs."""
        try:
            return self.module(inputs)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if not str(error).startswith(REFUSAL):
                raise
            raise UserError(str(error)) from None


def load(uri: str) -> LoadedModel:
    """Load a model by a URI such as models:/cnn@champion, runs:/RUN_ID/model or a folder.

    Raises:
        UserError: there is none, or it is none of this suite's, or the store was moved.

    """
    try:
        # Without the progress bars of copying a few small files from one folder to another.
        with store_lock(), contextlib.redirect_stderr(io.StringIO()):
            folder = mlflow.artifacts.download_artifacts(artifact_uri=uri)
            metadata = Model.load(folder).metadata
    except Exception as error:  # each kind of artifact store raises its own
        if isinstance(error, UserError) or failure_of(error):
            raise
        if uri.startswith(("runs:/", "models:/")):
            for experiment in MlflowClient().search_experiments():
                require_artifacts(experiment.artifact_location)
        reason, store = first_line(error), ""
        if uri.startswith(("runs:/", "models:/")):
            store = f" from {redact_password(mlflow.get_tracking_uri())}"
        raise UserError(f"model={uri}: cannot be loaded{store} ({reason}){_hint(uri)}") from None
    if not metadata or "entry_point" not in metadata:
        raise UserError(f"model={uri}: does not say what it was trained as; train it again")
    return LoadedModel(uri, folder, metadata)


class KnownModel(NamedTuple):
    """A model of the store, and what it was trained as."""

    uri: str
    title: str
    """What people call it: the name of its run, or that it is champion."""
    run_id: str
    parameters: Mapping[str, str]
    """The configuration, with every value as text."""


def known_models(entry_points: Collection[str], max_runs: int = 100) -> list[KnownModel]:
    """Return the champions of the registry, then the models of the latest finished runs.

    Those are single networks: ensembles have no inside to be looked into.
    """
    database = local_database()
    if database is not None and not database.exists():
        return []  # to look for models is no reason to make a store
    with store_lock():
        client = MlflowClient()
        names = [m.name for m in client.search_registered_models() if "champion" in m.aliases]
        champions = [client.get_model_version_by_alias(name, "champion") for name in names]
        places = [place.experiment_id for place in client.search_experiments()]
        finished = "attributes.status = 'FINISHED' AND tags.entry_point = "
        runs = [
            run
            for name in entry_points
            for run in client.search_runs(places, f"{finished}'{name}'", max_results=max_runs)
            if run.outputs.model_outputs and ENSEMBLE not in run.data.tags
        ]
    found = []
    for version in champions:
        if version.tags.get("entry_point") in entry_points and ENSEMBLE not in version.tags:
            configuration = json.loads(version.tags["configuration"])
            parameters = {name: str(value) for name, value in configuration.items()}
            uri, title = f"models:/{version.name}@champion", f"champion {version.name}"
            found.append(KnownModel(uri, title, version.tags["run_id"], parameters))
    for run in sorted(runs, key=lambda run: run.info.start_time, reverse=True):
        run_id, title = run.info.run_id, f"{run.info.run_name} ({run.info.run_id[:6]})"
        found.append(KnownModel(f"runs:/{run_id}/model", title, run_id, run.data.params))
    return found


def _hint(uri: str) -> str:
    """Name the models that the user may have meant."""
    if run := re.fullmatch(r"(?:runs:/)?([0-9a-f]{32})/?", uri):
        return f"; did you mean runs:/{run[1]}/model?"
    if not uri.startswith("models:/"):
        return "" if ":" in uri or Path(uri).exists() else "; there is no such folder"
    models = MlflowClient().search_registered_models()
    known = [f"models:/{model.name}@{alias}" for model in models for alias in model.aliases]
    if not known:
        return "; no model is registered yet, but those of runs are runs:/RUN_ID/model"
    return nearest(uri, known, otherwise=f"; there are {', '.join(sorted(known))}")

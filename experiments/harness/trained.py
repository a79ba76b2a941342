"""Models that were logged, found again by their URI, with what they were trained as."""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient
from torch import Tensor, nn

from experiments.harness.config import TrainingConfig, construct, nearest
from experiments.harness.errors import UserError
from experiments.harness.experiment import find
from experiments.harness.tracking import store_lock


class Trained(NamedTuple):
    """A logged model, and what travels with it."""

    uri: str
    module: nn.Module
    """The exported model, on the CPU."""
    metadata: Mapping[str, Any]
    """`architecture`, `entry_point`, `configuration`, and what inputs and outputs mean."""

    @property
    def config(self) -> TrainingConfig:
        """The configuration that it was trained with."""
        experiment = find(self.metadata["entry_point"])
        config: TrainingConfig = construct(experiment.config_class, self.metadata["configuration"])
        return config

    def into(self, network: nn.Module, prefix: str = "") -> nn.Module:
        """Put the weights into a network that was built anew; what was exported cannot be opened.

        Args:
            network: as it was before training.
            prefix: what the names of its weights begin with in the exported model.

        """
        weights = {k.removeprefix(prefix): v for k, v in self.module.state_dict().items()}
        network.load_state_dict(weights)
        return network.eval()

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs."""
        outputs: Tensor = self.module(inputs)
        return outputs


def load(uri: str) -> Trained:
    """Load a model that this suite has logged.

    Args:
        uri: any that MLflow knows, such as models:/cnn@champion, runs:/RUN_ID/model or a folder.

    Raises:
        UserError: there is none, or it is none of this suite's.

    """
    try:
        with store_lock(), _quiet():
            folder = mlflow.artifacts.download_artifacts(artifact_uri=uri)
            metadata = Model.load(folder).metadata
    except (MlflowException, OSError, ValueError) as error:
        reason = str(getattr(error, "message", error)).split("\n")[0].rstrip(".")
        raise UserError(f"model={uri}: cannot be loaded ({reason}){_hint(uri)}") from None
    if not metadata or "entry_point" not in metadata:
        raise UserError(f"model={uri}: does not say what it was trained as; train it again")
    module: nn.Module = mlflow.pytorch.load_model(folder)
    return Trained(uri, module, metadata)


def _hint(uri: str) -> str:
    """Name the models that the user may have meant."""
    if not uri.startswith("models:/"):
        return "" if ":" in uri or Path(uri).exists() else "; there is no such folder"
    known = [
        f"models:/{model.name}@{alias}"
        for model in MlflowClient().search_registered_models()
        for alias in model.aliases
    ]
    if not known:
        return "; no model is registered yet, but those of runs are runs:/RUN_ID/model"
    return nearest(uri, known, otherwise=f"; there are {', '.join(sorted(known))}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the progress bars of copying a few small files from one folder to another."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield

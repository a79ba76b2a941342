"""Models as torch.export archives, which load and predict without any of this project's code."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from torch import nn


def log_model(
    model: nn.Module,
    example: np.ndarray,
    varying: Sequence[int] = (0,),
    metadata: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Log a model to the active run, as `model`.

    Args:
        model: on any device and in any mode; it is exported from the CPU in evaluation mode.
        example: input of at least two samples.
        varying: dimensions of input and output that may later have any size; the first, 0, is the
            batch.
        metadata: what travels with the model, in its file MLmodel; such as JSON holds.

    """
    # In any other memory layout torch would not know a weight for a whole one.
    model = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()
    with torch.inference_mode():
        output = model(torch.from_numpy(example)).numpy()
    Model.log(
        artifact_path=None,
        name="model",
        flavor=_PortableFlavor,
        flavor_name="pytorch",
        pytorch_model=model,
        signature=ModelSignature(_schema(example, varying), _schema(output, varying)),
        input_example=example,
        pip_requirements=_requirements(),
        metadata=json.loads(json.dumps(metadata)),  # YAML would give tuples a tag of Python
    )


class _PortableFlavor:
    """mlflow.pytorch, but its models also serve on a machine that has a GPU.

    A torch.export archive stays on the device it was exported from, while MLflow's generic
    loader moves to a GPU wherever it finds one.
    """

    @staticmethod
    def save_model(path: str, mlflow_model: Model, **options: Any) -> None:
        mlflow.pytorch.save_model(
            path=path, mlflow_model=mlflow_model, serialization_format="pt2", **options
        )
        mlflow_model.flavors["python_function"]["config"] = {"device": "cpu"}
        mlflow_model.save(str(Path(path) / "MLmodel"))


def _schema(array: np.ndarray, varying: Sequence[int]) -> Schema:
    shape = (-1 if dimension in varying else size for dimension, size in enumerate(array.shape))
    return Schema([TensorSpec(array.dtype, tuple(shape))])


def _requirements() -> list[str]:
    """Name what loading a model needs; to infer it, MLflow would load it in another process."""
    torch_version = torch.__version__.split("+")[0]
    return [f"mlflow=={mlflow.__version__}", f"torch=={torch_version}", f"numpy=={np.__version__}"]

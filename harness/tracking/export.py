"""Models as torch.export archives, which load and predict without any of this project's code."""

import copy
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from harness.experiment import ModelExport

NEEDED = ("mlflow", "torch", "numpy")


def log_model(exported: ModelExport, metadata: Mapping[str, Any]) -> None:
    """Log a model to the active run, as `model`, with JSON-serialisable metadata in MLmodel.

    It may be on any device and in any mode: it is exported from the CPU in evaluation mode.
    """
    example, dims = exported.example_input, exported.dynamic_dims
    # In any other memory layout torch would not take a weight for a whole one.
    model = copy.deepcopy(exported.module).cpu().to(memory_format=torch.contiguous_format).eval()
    model.requires_grad_(False)  # torch.export would warn of inputs of a scan that have gradients
    with torch.inference_mode():
        output = model(torch.from_numpy(example)).numpy()
    Model.log(
        artifact_path=None,
        name="model",
        flavor=_PortableFlavor,
        flavor_name="pytorch",
        pytorch_model=model,
        signature=ModelSignature(_schema(example, dims), _schema(output, dims)),
        input_example=example,
        # To infer what loading needs, MLflow would load the model in another process.
        pip_requirements=[f"{package}=={version(package).split('+')[0]}" for package in NEEDED],
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


def _schema(array: np.ndarray, dynamic_dims: Sequence[int]) -> Schema:
    shape = (-1 if dim in dynamic_dims else size for dim, size in enumerate(array.shape))
    return Schema([TensorSpec(array.dtype, tuple(shape))])

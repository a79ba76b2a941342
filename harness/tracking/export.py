"""Models as torch.export archives, which load and predict without any of this project's code."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec

from harness.experiment import ModelExport


def log_model(exported: ModelExport, metadata: Mapping[str, Any]) -> None:
    """Log a model to the active run, as `model`.

    Args:
        exported: its module may be on any device and in any mode: it is exported from the CPU in
            evaluation mode. The example has at least two samples.
        metadata: what the file MLmodel says of it; JSON-serialisable.

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


def _schema(array: np.ndarray, dynamic_dims: Sequence[int]) -> Schema:
    shape = (-1 if dim in dynamic_dims else size for dim, size in enumerate(array.shape))
    return Schema([TensorSpec(array.dtype, tuple(shape))])


def _requirements() -> list[str]:
    """Name what loading a model needs; to infer it, MLflow would load it in another process."""
    torch_version = torch.__version__.split("+")[0]
    return [f"mlflow=={mlflow.__version__}", f"torch=={torch_version}", f"numpy=={np.__version__}"]

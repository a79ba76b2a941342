"""Models as torch.export archives, which load and predict without any of this project's code."""

import copy
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Schema, TensorSpec
from torch import nn


def log_model(model: nn.Module, example: np.ndarray) -> None:
    """Log a model to the active run, as `model`.

    Args:
        model: on any device and in any mode; it is exported from the CPU in evaluation mode.
        example: input of at least two samples; its first dimension is the batch, which may
            later have any size.

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
        signature=ModelSignature(_any_batch(example), _any_batch(output)),
        input_example=example,
        pip_requirements=_requirements(),
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


def _any_batch(array: np.ndarray) -> Schema:
    return Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]))])


def _requirements() -> list[str]:
    """Name what loading a model needs; to infer it, MLflow would load it in another process."""
    torch_version = torch.__version__.split("+")[0]
    return [f"mlflow=={mlflow.__version__}", f"torch=={torch_version}", f"numpy=={np.__version__}"]

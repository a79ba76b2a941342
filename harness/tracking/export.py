"""Models as they are logged, which load and predict without this project and without pickle.

Each is a torch.export archive of its network, and a served model around it.

What a model refuses is part of the archive, so that it holds wherever the model is loaded.
"""

import copy
import json
import logging
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import torch
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, Schema, TensorSpec
from torch import Tensor, nn

from harness.errors import UserError
from harness.experiment import ModelExport
from harness.serving.served_model import REFUSAL, ServedModel, load
from harness.serving.vendoring import copy_code
from harness.training.config import TrainingConfig

NEEDED = ("mlflow", "torch", "numpy")
"""Packages that every logged model needs."""
NETWORK = "data/network"
"""Where a logged model has its exported network, a model of its own, which takes arrays."""

# It says so of each scan, which here has no further inputs, and serialises it as it should.
logging.getLogger("torch._export.serde.serialize").addFilter(
    lambda record: "empty list" not in record.getMessage()
)


class CheckedModel(nn.Module):
    """A model as a function of any numbers, which refuses those that it cannot answer.

    Its signature is float64, as the numbers of JSON and of numpy are: of narrower types, MLflow
    would make 1 of 1.5 and infinity of 1e39 before the model sees them.
    """

    def __init__(self, exported: ModelExport):
        super().__init__()
        # In any other memory layout torch would not take a weight for a whole one.
        model = copy.deepcopy(exported.module).cpu().to(memory_format=torch.contiguous_format)
        # torch.export would warn of inputs of a scan that have gradients.
        self.model = model.eval().requires_grad_(False)
        self.dtype = torch.from_numpy(exported.example_input).dtype
        self.input_range, self.max_numbers = exported.input_range, exported.max_numbers

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs of any dtype to outputs, all of them finite."""
        count = torch.scalar_tensor(inputs.numel())
        refuse(count > self.max_numbers, f"more than {self.max_numbers:,} numbers in one request")
        if self.input_range is not None:
            low, high = self.input_range
            is_in_range = (low <= inputs) & (inputs <= high)  # NaN is not
            refuse(~is_in_range, f"a number outside of [{low:.7g}, {high:.7g}], or NaN")
        numbers = torch.empty_like(inputs, dtype=self.dtype).copy_(inputs)
        if not self.dtype.is_floating_point:
            refuse(numbers != inputs, "a number that is not an integer")
        outputs: Tensor = self.model(numbers)
        refuse(torch.scalar_tensor(outputs.numel()) == 0, "nothing to predict")
        refuse(~outputs.isfinite(), "numbers too large for a finite prediction")
        return outputs


def refuse(condition: Tensor, what: str) -> None:
    """Raise a RuntimeError where a condition holds for any number, also after export."""
    torch._assert_async(~condition.any(), REFUSAL + what)


def metadata_of(exported: ModelExport, config: TrainingConfig) -> dict[str, Any]:
    """Return what is stored with a model: what it was trained as, and what its inputs stand for."""
    metadata = {
        "architecture": config.family,
        "entry_point": config.entry_point,
        "configuration": config.as_parameters(),
        "weights_prefix": f"model.{exported.weights_prefix}",
        **exported.metadata,
    }
    # YAML would give tuples a tag of Python.
    return json.loads(json.dumps(metadata))  # type: ignore[no-any-return]


def served_model(exported: ModelExport, config: TrainingConfig) -> ServedModel[Any]:
    """Return the model of raw inputs as it would be loaded if it were logged."""
    if exported.served_class is None:
        raise UserError(f"{config.entry_point}: its models take arrays only, no raw inputs")
    return exported.served_class(CheckedModel(exported), metadata_of(exported, config))


def log_model(exported: ModelExport, config: TrainingConfig) -> None:
    """Log a model that was trained as `config` says to the active run, as `model`.

    It may be on any device and in any mode: it is exported from the CPU in evaluation mode.
    """
    Model.log(
        artifact_path=None,
        name="model",
        flavor=_Flavors,
        exported=exported,
        metadata=metadata_of(exported, config),
        # It is validated when it is saved, and read again here would take seconds.
        validate_serving_input=False,
    )


class _Flavors:
    """Two ways to load one model, neither of which needs this project's code, nor pickle.

    `mlflow.pytorch` loads the exported network, a function of one tensor. `mlflow.pyfunc`, and with
    it `mlflow models serve`, loads the `ServedModel` around it, which takes raw inputs; its code is
    copied into the model. A model without one is served as a function of arrays.
    """

    @staticmethod
    def save_model(
        path: str,
        mlflow_model: Model,
        exported: ModelExport,
        **_: object,
    ) -> None:
        if exported.served_class is None:
            _save_network(path, mlflow_model, exported)
            return
        with tempfile.TemporaryDirectory() as folder:
            network, code = Path(folder) / Path(NETWORK).name, Path(folder) / "code"
            _save_network(str(network), Model(metadata=mlflow_model.metadata), exported)
            package = copy_code(exported.served_class, code)
            served = load(exported.served_class, str(network))
            example = pd.DataFrame(exported.raw_example)
            signature = infer_signature(
                example, served.predict(example), params=dict(served.params) or None
            )
            signature.inputs = Schema(
                [
                    ColSpec(served.input_types.get(column.name, column.type), column.name)
                    for column in signature.inputs
                ]
            )
            mlflow_model.flavors["pytorch"] = {
                **Model.load(str(network)).flavors["pytorch"],
                "model_data": f"{NETWORK}/data",
            }
            mlflow.pyfunc.save_model(
                path=path,
                mlflow_model=mlflow_model,
                loader_module=package,
                data_path=str(network),
                code_paths=[str(code / package)],
                signature=signature,
                input_example=example,
                pip_requirements=_requirements(*NEEDED, *served.needed),
            )


def _save_network(path: str, mlflow_model: Model, exported: ModelExport) -> None:
    """Save the exported network, as a model of its own that takes arrays."""
    model, example = CheckedModel(exported), exported.example_input.astype(np.float64)
    for dim in exported.dynamic_dims:  # torch.export takes a size of one for a fixed one
        example = example.repeat(2, axis=dim) if example.shape[dim] == 1 else example
    mlflow.pytorch.save_model(
        path=path,
        mlflow_model=mlflow_model,
        serialization_format="pt2",
        pytorch_model=model,
        signature=_signature(model, example, exported.dynamic_dims),
        input_example=example,
        pip_requirements=_requirements(*NEEDED),
    )
    # A torch.export archive stays on the device that it was exported from, while MLflow's generic
    # loader moves to a GPU wherever it finds one.
    mlflow_model.flavors["python_function"]["config"] = {"device": "cpu"}
    mlflow_model.save(str(Path(path) / "MLmodel"))


def _requirements(*packages: str) -> list[str]:
    """Return what loading needs; to infer it, MLflow would load the model in another process."""
    return [f"{package}=={version(package).split('+')[0]}" for package in packages]


@torch.inference_mode()
def _signature(
    model: nn.Module, example: np.ndarray, dynamic_dims: Sequence[int]
) -> ModelSignature:
    """Return the signature; an output's dimension is dynamic (-1) if it follows the input's."""
    smaller = tuple(
        slice(size - 1 if dim in dynamic_dims else size) for dim, size in enumerate(example.shape)
    )
    arrays = example, model(torch.from_numpy(example)).numpy()
    others = example[smaller], model(torch.from_numpy(example[smaller])).numpy()
    schemas = []
    for array, other in zip(arrays, others, strict=True):
        sizes = zip(array.shape, other.shape, strict=True)
        shape = tuple(size if size == other_size else -1 for size, other_size in sizes)
        schemas.append(Schema([TensorSpec(array.dtype, shape)]))
    return ModelSignature(*schemas)

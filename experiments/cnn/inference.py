"""Photographs in, classes out, with class activation maps.

An input is a photograph, in any format that PIL reads, or a folder, of which every file is taken.
"""

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic.dataclasses import dataclass

from datasets.augmentation import to_float
from experiments.cnn import figures
from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import EXPERIMENT
from experiments.cnn.serving import ServedClassifier, read_photograph
from harness.config import STRICT, only_if
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import (
    ClassifyRequest,
    Inference,
    Row,
    predict_rows,
)
from harness.serving.served_model import ServedModel
from harness.tracking.models import LoadedModel
from models.cnn import ImageClassifier
from models.inspection.convolutional import class_activation_maps


def export(config: CNNConfig, trained: Trained) -> ModelExport:
    """Return the network: images (B, 3, S, S) in [0, 1] to logits (B, K)."""
    example_input = to_float(trained.data.validation.images[:2]).contiguous().numpy()
    metadata = {
        "classes": trained.data.classes,
        "image_size": config.pixels,
        "resize": config.resize,
    }
    return ModelExport(
        module=trained.model,
        example_input=example_input,
        input_range=(0, 1),
        max_numbers=ServedClassifier.max_rows * example_input[0].size,
        metadata=metadata,
        served_class=ServedClassifier,
        raw_example=[{"image": as_png(image)} for image in trained.data.validation.images[:2]],
    )


def as_png(image: torch.Tensor) -> bytes:
    """Return the content of a file with an image, (3, S, S) uint8."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographRequest(ClassifyRequest):
    """Classify photographs with a convolutional network."""

    explain: bool = False
    """Also draw the class activation maps (Grad-CAM) of each photograph."""
    explain_dir: Annotated[str, only_if(explain=True)] = "grad-cam"
    """Folder for those figures."""


def predict(request: PhotographRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability of each photograph, or the reason why there are none."""
    explainer = Explainer(model, Path(request.explain_dir)) if request.explain else None
    for row in predict_rows(photographs(request.inputs), model.served, request.as_params()):
        if "error" not in row:
            probabilities = np.array(list(row.pop("probabilities").values()))
            if explainer is not None:
                row["explanation"] = explainer.draw(row["input"], probabilities)
        yield row


def photographs(inputs: Sequence[str]) -> Iterator[tuple[Row, Row | UserError]]:
    """Yield the content of each photograph with its file, or why there is none."""
    for file in (file for text in inputs for file in files_of(text)):
        try:
            if not file.is_file():
                raise UserError("a folder without files" if file.is_dir() else "no such photograph")
            yield {"input": str(file)}, {"image": file.read_bytes()}
        except OSError as error:
            yield {"input": str(file)}, UserError(str(error.strerror))
        except UserError as error:
            yield {"input": str(file)}, error


def files_of(text: str) -> list[Path]:
    """Return the file that an input names, or those of a folder, which is itself one without."""
    try:
        path = Path(text).expanduser()
        files = sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    except (OSError, RuntimeError):  # too long a name, or the home folder of no user
        return [Path(text)]
    return files or [path]


def restore_network(model: LoadedModel | ServedModel[Any]) -> ImageClassifier:
    """Return the network as it was before it was exported; a UserError for an ensemble."""
    if members := model.metadata.get("members"):
        single = f"runs:/{members[0]['run_id']}/model"
        raise UserError(f"explain=True: explains single networks; ask a member, such as {single}")
    config = CNNConfig(**model.metadata["configuration"])
    network = EXPERIMENT.network(config, len(model.metadata["classes"])).eval()
    network.load_state_dict(model.weights)
    return network


def explain(network: ImageClassifier, photo: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the class activation maps (K, H, W) of a photograph (S, S, 3) uint8."""
    image = to_float(torch.from_numpy(photo).permute(2, 0, 1).unsqueeze(0))
    maps = class_activation_maps(network, image, network.stages[-1], num_classes)
    return maps[0].numpy()


class Explainer:
    """Draws class activation maps, with the network as it was before it was exported."""

    def __init__(self, model: LoadedModel, folder: Path):
        self.classes, self.folder = model.metadata["classes"], folder
        self.metadata = model.metadata
        self.network = restore_network(model)
        self.used: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"explain_dir={folder}: {error.strerror}") from None

    def draw(self, file: str, probabilities: np.ndarray) -> str:
        """Draw one photograph; return the path of the figure, which no other of them has."""
        stem, number = Path(file).stem, 1
        path = self.folder / f"{stem}.png"
        while path in self.used:
            number += 1
            path = self.folder / f"{stem}-{number}.png"
        self.used.add(path)
        photo = read_photograph(Path(file).read_bytes(), self.metadata)
        maps = explain(self.network, photo, len(self.classes))
        figures.explained(photo, maps, probabilities, self.classes).savefig(path)
        return str(path)


INFERENCE = Inference(PhotographRequest, predict)

"""Photographs in, cats or dogs out, with the class activation maps of both.

An input is a photograph, in any format that PIL reads, or a folder, of which every file is taken.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from datasets import images
from datasets.augmentation import to_float
from datasets.images import UnreadableImage
from experiments.cnn import figures
from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import EXPERIMENT
from harness.config import STRICT, only_if
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import (
    Inference,
    PredictRequest,
    Row,
    predict_in_batches,
)
from harness.tracking.models import LoadedModel
from models.inspection.convolutional import class_activation_maps

BATCH_SIZE = 64  # photographs that are classified together
Photograph = tuple[str, np.ndarray]
"""Its file, and its pixels, (S, S, 3) uint8."""


def export(config: CNNConfig, trained: Trained) -> ModelExport:
    """Return the network: images (B, 3, S, S) in [0, 1] to logits (B, K)."""
    example_input = to_float(trained.data.validation.images[:2]).contiguous().numpy()
    metadata = {"classes": trained.data.classes, "image_size": config.image_size}
    return ModelExport(
        module=trained.model,
        example_input=example_input,
        input_range=(0, 1),
        max_numbers=2 * BATCH_SIZE * example_input[0].size,
        metadata=metadata,
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographRequest(PredictRequest):
    """Classify photographs with a convolutional network."""

    explain: bool = False
    """Also draw the class activation maps (Grad-CAM) of each photograph."""
    explain_dir: Annotated[str, only_if(explain=True)] = "grad-cam"
    """Folder for those figures."""


def predict(request: PhotographRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability of each photograph, or the reason why there are none."""
    explainer = Explainer(model, Path(request.explain_dir)) if request.explain else None

    def classify(photos: Sequence[Photograph]) -> Iterator[Row]:
        outputs = model(to_batch([photo for _, photo in photos])).softmax(-1).numpy()  # (N, K)
        for (file, photo), probabilities in zip(photos, outputs, strict=True):
            label = int(probabilities.argmax())
            row = {"class": model.metadata["classes"][label]}
            row["probability"] = float(probabilities[label])
            if explainer is not None:
                row["explanation"] = explainer.draw(file, photo, probabilities)
            yield row

    photos = decode(request.inputs, model.metadata["image_size"])
    return predict_in_batches(photos, classify, BATCH_SIZE)


def decode(inputs: Sequence[str], size: int) -> Iterator[tuple[Row, Photograph | UserError]]:
    """Yield each photograph, (size, size, 3) uint8, with its file, or why there is none."""
    files = [pair for text in inputs for pair in files_of(text)]
    photos = images.read_all(Path(), [file for file, problem in files if not problem], size)
    for file, problem in files:
        photo = UnreadableImage(problem) if problem else next(photos)
        if isinstance(photo, UnreadableImage):
            yield {"input": file}, UserError(str(photo))
        else:
            yield {"input": file}, (file, photo)


def files_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the photograph that an input names, or those of a folder, each with `why_unusable`."""
    try:
        path = Path(text).expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError):  # too long a name, or the home folder of no user
        path, is_folder = Path(text), False
    if not is_folder:
        yield str(path), why_unusable(path)
        return
    files = sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    if not files:
        yield text, "a folder without files"
    for file in files:
        yield str(file), why_unusable(file)


def why_unusable(file: Path) -> str:
    """Return why a file cannot be opened; nothing if it can."""
    try:
        if not file.is_file():
            return "no such photograph"
        file.open("rb").close()
    except OSError as error:
        return str(error.strerror)
    return ""


def to_batch(photos: Sequence[np.ndarray]) -> torch.Tensor:
    """Return photographs (S, S, 3) uint8 as a batch, (N, 3, S, S) float32 in [0, 1]."""
    return to_float(torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2))


class Explainer:
    """Draws class activation maps, with the network as it was before it was exported."""

    def __init__(self, model: LoadedModel, folder: Path):
        self.classes, self.folder = model.metadata["classes"], folder
        config = CNNConfig(**model.metadata["configuration"])
        self.network = EXPERIMENT.network(config, len(self.classes)).eval()
        self.network.load_state_dict(model.weights)
        self.used: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise UserError(f"explain_dir={folder}: {error.strerror}") from None

    def draw(self, file: str, photo: np.ndarray, probabilities: np.ndarray) -> str:
        """Draw one photograph; return the path of the figure, which no other of them has."""
        network, stem, number = self.network, Path(file).stem, 1
        path = self.folder / f"{stem}.png"
        while path in self.used:
            number += 1
            path = self.folder / f"{stem}-{number}.png"
        self.used.add(path)
        image, last_stage = to_batch([photo]), network.stages[-1]
        maps = class_activation_maps(network, image, last_stage, len(self.classes))[0].numpy()
        figures.explained(photo, maps, probabilities, self.classes).savefig(path)
        return str(path)


INFERENCE = Inference(PhotographRequest, predict)

"""Photographs in, cats or dogs out, with the class activation maps of both.

An input is a photograph, in any format that PIL reads, or a folder, of which every file is taken.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from datasets import images
from datasets.augmentation import to_float
from datasets.choices import CLASSES
from datasets.images import UnreadableImage
from experiments.cnn import figures
from experiments.cnn.config import CNNConfig
from experiments.cnn.lesson import EXPERIMENT
from harness.config import STRICT, only_if
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, config_of
from harness.tracking.models import LoadedModel
from models.inspection.convolutional import class_activation_maps

BATCH_SIZE = 64  # photographs that are classified together


def export(config: CNNConfig, trained: Trained) -> ModelExport:
    """Return the network: images (B, 3, S, S) in [0, 1] to logits (B, K)."""
    example_input = to_float(trained.data.validation.images[:2]).contiguous().numpy()
    metadata = {"classes": CLASSES, "image_size": config.image_size}
    return ModelExport(module=trained.model, example_input=example_input, metadata=metadata)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographRequest(PredictRequest):
    """Classify photographs with a convolutional network."""

    explain: bool = False
    """Also draw the class activation maps (Grad-CAM) of each photograph."""
    explain_dir: Annotated[str, only_if(explain=True)] = "grad-cam"
    """Folder for those figures."""


def predict(request: PhotographRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability of each photograph, or the reason why there are none."""
    files = [file for text in request.inputs for file in files_of(text)]
    explainer = Explainer(model, Path(request.explain_dir)) if request.explain else None
    decoded = zip(files, decode(files, model.metadata["image_size"]), strict=True)
    while batch := list(islice(decoded, BATCH_SIZE)):
        photos = [photo for _, photo in batch if isinstance(photo, np.ndarray)]
        results = iter(model(to_batch(photos)).softmax(-1).numpy() if photos else ())
        for file, photo in batch:
            if isinstance(photo, UnreadableImage):
                yield {"input": file, "error": str(photo)}
                continue
            probabilities = next(results)  # (K,)
            label = int(probabilities.argmax())
            row = {"input": file, "class": model.metadata["classes"][label]}
            row["probability"] = float(probabilities[label])
            if explainer is not None:
                row["explanation"] = explainer.draw(file, photo, probabilities)
            yield row


def files_of(text: str) -> list[str]:
    """Return the photograph that an input names, or a folder's files; a UserError without any."""
    path = Path(text).expanduser()
    if not path.is_dir():
        return [str(path)]
    files = sorted(str(f) for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    if not files:
        raise UserError(f"inputs={text}: a folder without files")
    return files


def decode(files: Sequence[str], size: int) -> Iterator[np.ndarray | UnreadableImage]:
    """Yield each photograph, (size, size, 3) uint8, or why there is none."""
    existing = {file for file in files if Path(file).is_file()}
    photos = images.read_all(Path(), [file for file in files if file in existing], size)
    for file in files:
        yield next(photos) if file in existing else UnreadableImage("no such photograph")


def to_batch(photos: Sequence[np.ndarray]) -> torch.Tensor:
    """Return photographs (S, S, 3) uint8 as a batch, (N, 3, S, S) float32 in [0, 1]."""
    return to_float(torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2))


class Explainer:
    """Draws class activation maps, with the network as it was before it was exported."""

    def __init__(self, model: LoadedModel, folder: Path):
        self.network = EXPERIMENT.restore_model(config_of(model, EXPERIMENT), None, model.weights)
        self.classes, self.folder = model.metadata["classes"], folder
        self.used: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)

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

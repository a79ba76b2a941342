"""Photographs in, cats or dogs out, with the class activation maps of both.

An input is a photograph, in any format that PIL reads, or a folder, of which every file is taken.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

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
from harness.config import STRICT
from harness.errors import UserError
from harness.experiment import ModelExport, Trained
from harness.inference.inference import Inference, PredictRequest, Row, config_of
from harness.tracking.models import LoadedModel
from models.inspection.convolutional import class_activation_maps

BATCH_SIZE = 64
"""Photographs that are classified together."""


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
    explain_dir: str = "grad-cam"
    """Folder for those figures."""


def predict(request: PhotographRequest, model: LoadedModel) -> Iterator[Row]:
    """Yield class and probability of each photograph, or the reason why there are none."""
    files = [file for text in request.inputs for file in files_of(text)]
    explainer = Explainer(model, request.explain_dir) if request.explain else None
    decoded = zip(files, decode(files, model.metadata["image_size"]), strict=True)
    while batch := list(islice(decoded, BATCH_SIZE)):
        photos = [photo for _, photo in batch if isinstance(photo, np.ndarray)]
        results = iter(classify(model, photos))
        for file, photo in batch:
            if isinstance(photo, UnreadableImage):
                yield {"input": file, "error": str(photo)}
                continue
            probabilities = next(results)
            label = int(probabilities.argmax())
            row = {"input": file, "class": model.metadata["classes"][label]}
            row["probability"] = float(probabilities[label])
            if explainer is not None:
                row["explanation"] = explainer.draw(file, photo, probabilities)
            yield row


def files_of(text: str) -> list[str]:
    """Return the photograph that an input names, or the files in that folder.

    Raises:
        UserError: the folder has no files.

    """
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


def classify(model: LoadedModel, photos: Sequence[np.ndarray]) -> np.ndarray:
    """Return the probabilities of the classes, (N, K), for photographs (S, S, 3) uint8."""
    if not photos:
        return np.empty((0, len(model.metadata["classes"])))
    return model(to_batch(photos)).softmax(-1).numpy()


def to_batch(photos: Sequence[np.ndarray]) -> torch.Tensor:
    """Return photographs (S, S, 3) uint8 as a batch, (N, 3, S, S) float32 in [0, 1]."""
    return to_float(torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2))


class Explainer:
    """Draws class activation maps, with the network as it was before it was exported.

    Args:
        model: the exported model.
        folder: for the figures.

    """

    def __init__(self, model: LoadedModel, folder: str):
        config = config_of(model, EXPERIMENT)
        self._network = EXPERIMENT.restore_model(config, None, model.weights)
        self._classes = model.metadata["classes"]
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._used: set[str] = set()

    def draw(self, file: str, photo: np.ndarray, probabilities: np.ndarray) -> str:
        """Draw one photograph; return the path of the figure."""
        last_stage = self._network.stages[-1]
        maps = class_activation_maps(
            self._network, to_batch([photo]), last_stage, len(self._classes)
        )
        figure = figures.explained(photo, maps[0].numpy(), probabilities, self._classes)
        path = self._folder / f"{self._unused_name(Path(file).stem)}.png"
        figure.savefig(path)
        return str(path)

    def _unused_name(self, stem: str) -> str:
        """Return a name that no other photograph of this request has."""
        number, name = 1, stem
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        return name


INFERENCE = Inference(PhotographRequest, predict)

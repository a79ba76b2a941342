"""Photographs in, cats and dogs out, and what in a photograph spoke for each.

An input is a photograph, in any format that PIL reads, or a folder, of which every file is taken.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from datasets import images
from datasets.augmentation import as_float
from datasets.images import UnreadableImage
from experiments.harness.config import STRICT
from experiments.harness.errors import UserError
from experiments.harness.prediction import Prediction, Question, Row
from experiments.harness.trained import Trained
from models.cnn import PhotographClassifier

AT_ONCE = 64
"""Photographs that the network is shown together."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PhotographQuestion(Question):
    """Ask a convolutional network what photographs show."""

    explain: bool = False
    """Also draw where in each photograph the evidence for each class lies (Grad-CAM)."""
    explain_dir: str = "grad-cam"
    """Folder for those pictures."""


def answer(question: PhotographQuestion, trained: Trained) -> Iterator[Row]:
    """Yield class and probability for each photograph; for a file that is none, the reason."""
    files = [file for text in question.inputs for file in files_of(text)]
    explainer = Explainer(trained, question.explain_dir) if question.explain else None
    named = zip(files, pictures_of(files, trained.metadata["image_size"]), strict=True)
    while some := list(islice(named, AT_ONCE)):
        shown = [picture for _, picture in some if isinstance(picture, np.ndarray)]
        answers = iter(classify(trained, shown))
        for file, picture in some:
            if isinstance(picture, UnreadableImage):
                yield {"input": file, "error": str(picture)}
                continue
            probabilities = next(answers)
            label = int(probabilities.argmax())
            row = {"input": file, "class": trained.metadata["classes"][label]}
            row["probability"] = float(probabilities[label])
            if explainer is not None:
                row["explanation"] = explainer.draw(file, picture, probabilities)
            yield row


def pictures_of(files: Sequence[str], size: int) -> Iterator[np.ndarray | UnreadableImage]:
    """Yield each photograph, (size, size, 3) uint8, or why there is none."""
    there = {file for file in files if Path(file).is_file()}
    pictures = images.read_all(Path(), [file for file in files if file in there], size)
    for file in files:
        yield next(pictures) if file in there else UnreadableImage("no such photograph")


def classify(trained: Trained, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return the classes' probabilities, (N, 2), for photographs (S, S, 3) uint8."""
    if not pictures:
        return np.empty((0, len(trained.metadata["classes"])))
    return trained(as_float(as_batch(pictures))).softmax(-1).numpy()


def as_batch(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """Return photographs (S, S, 3), uint8, as (N, 3, S, S)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


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


class Explainer:
    """Draws where the evidence lies, with the network as it was before it was exported.

    Args:
        trained: the model.
        folder: for the pictures.

    """

    def __init__(self, trained: Trained, folder: str):
        from experiments import cnn

        network = cnn.build(cast("cnn.CNNConfig", trained.config))
        self._network = cast("PhotographClassifier", trained.into(network))
        self._classes = trained.metadata["classes"]
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._drawn: set[str] = set()

    def draw(self, file: str, picture: np.ndarray, probabilities: np.ndarray) -> str:
        """Draw one photograph; return the path of the picture."""
        from experiments import cnn
        from experiments.figures import cnn as figures

        heat = cnn.evidence(self._network, as_batch([picture]))[0]
        figure = figures.explained(picture, heat, probabilities, self._classes)
        path = self._folder / f"{self._new_name(Path(file).stem)}.png"
        figure.savefig(path)
        return str(path)

    def _new_name(self, stem: str) -> str:
        """Return a name that no other photograph of this call has."""
        number, name = 1, stem
        while name in self._drawn:
            number += 1
            name = f"{stem}-{number}"
        self._drawn.add(name)
        return name


PREDICTION = Prediction(PhotographQuestion, answer)

"""The network as other programs ask it: files of photographs in, classes out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from datasets.pixels import UnreadableImage, read_pixels
from harness.serving.served_model import (
    CLASSIFIER_PARAMS,
    InvalidInputError,
    Row,
    ServedModel,
    classified,
)


def read_photograph(content: bytes, metadata: Mapping[str, Any]) -> np.ndarray:
    """Return a photograph as (S, S, 3) uint8, as those were that a model was trained on."""
    return read_pixels(content, metadata["image_size"], metadata.get("resize", "squish"))


class ServedClassifier(ServedModel[np.ndarray]):
    """The content of image files in; class and probability of each class out.

    Its metadata has `classes`, `image_size` and `resize`. A sample is (S, S, 3) uint8.
    """

    params = CLASSIFIER_PARAMS
    max_rows = 128
    batch_size = 32
    reads_in_threads = True
    needed = ("pillow",)

    def read(self, row: Row) -> np.ndarray:
        """Decode a photograph, as training does."""
        content = row["image"]
        if not isinstance(content, bytes):
            kind = type(content).__name__
            raise InvalidInputError(f"image: {kind}; the content of an image file is needed")
        try:
            return read_photograph(content, self.metadata)
        except UnreadableImage as error:
            raise InvalidInputError(f"image: {error} ({len(content):,} bytes)") from None

    def answer(self, samples: Sequence[np.ndarray], params: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the prediction of each photograph."""
        images = torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2)
        yield from classified(self.metadata, self.outputs(images.float() / 255), params)

"""The lesson's photographs: TensorFlow's `cats_and_dogs_filtered`, or a substitute for it."""

from functools import partial
from pathlib import Path

from datasets import archives, synthetic_photographs
from datasets.errors import DataError

URL = "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip"
SIZE_BYTES = 68_606_236
SYNTHETIC_TRAIN_PER_CLASS, SYNTHETIC_VALIDATION_PER_CLASS = 400, 200


def download(cache: Path) -> Path:
    """Return the archive, which is downloaded once: 2,000 training photographs and 1,000 others.

    Raises:
        DataError: it cannot be downloaded.

    """
    path = cache / "cats_and_dogs_filtered.zip"
    try:
        archives.download(URL, path, SIZE_BYTES)
    except DataError as error:
        others = "data=PATH reads your own zip or folder, data=synthetic generates a substitute"
        raise DataError(f"{error}; {others}") from error
    return path


def synthetic(cache: Path) -> Path:
    """Return a folder of generated photographs, which are made once."""
    train, validation = SYNTHETIC_TRAIN_PER_CLASS, SYNTHETIC_VALIDATION_PER_CLASS
    write = partial(
        synthetic_photographs.write, train_per_class=train, validation_per_class=validation
    )
    folder = cache / f"synthetic-{train}-{validation}-v{synthetic_photographs.VERSION}"
    archives.make_once(folder, write)
    return folder

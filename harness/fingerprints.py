"""Fingerprints of data: what has another content has another one."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from harness.training.batches import GeneratedSamples

DIGITS = 12
"""Hexadecimal digits of a fingerprint, 48 bits."""


class DataSet(NamedTuple):
    """Which data a model is trained and evaluated on."""

    name: str
    fingerprint: str
    """Of the content; empty where it is not known."""

    def differs(self, other: "DataSet") -> bool:
        """Return whether it is known to be another data set, or another content of that name."""
        return any(a != b for a, b in zip(self, other, strict=True) if a and b)

    @property
    def tags(self) -> dict[str, str]:
        """As runs and versions of models are tagged."""
        return {"data": self.name, "data_fingerprint": self.fingerprint}

    def __str__(self) -> str:
        name = self.name or "unknown data"
        return f"{name} ({self.fingerprint})" if self.fingerprint else name


def of_split(split: Any) -> str:
    """Return a hash of all tensors of a split, a named tuple, with their types and shapes.

    Of `GeneratedSamples`, which have no end, it is that of the first batch.
    """
    if isinstance(split, GeneratedSamples):
        split = next(iter(split.batches(1)))
    arrays = (part.cpu().numpy() for part in split if isinstance(part, Tensor))
    return _hash((f"{array.dtype} {array.shape}", np.ascontiguousarray(array)) for array in arrays)


def of_splits(fingerprints: Mapping[str, str]) -> str:
    """Return one fingerprint for those of several splits, by their names."""
    return _hash((name, of.encode()) for name, of in sorted(fingerprints.items()))


def _hash(parts: Iterable[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for heading, content in parts:
        digest.update(f"{heading}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:DIGITS]

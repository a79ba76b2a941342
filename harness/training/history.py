"""What was measured while training, epoch by epoch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class History:
    """The metrics of each epoch; epochs are counted from 1."""

    rows: list[dict[str, float]] = field(default_factory=list)
    """The logged scalars of each epoch."""
    raw: list[dict[str, Tensor]] = field(default_factory=list)
    """The metrics of each epoch as the loss shapes them, before `summarise`."""
    best_epoch: int = 0
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """The weights that were evaluated after some epochs, where an experiment asks for them."""

    @property
    def is_validated(self) -> bool:
        """Whether there was a validation split, so that the best epoch is known; else the last."""
        return not self.rows or "val/loss" in self.rows[-1]

    @property
    def best(self) -> dict[str, float]:
        """The scalars of the best epoch by validation."""
        return self.rows[self.best_epoch - 1]

    def column(self, name: str) -> np.ndarray:
        """Return one scalar over the epochs, (epochs,) float64."""
        return np.array([row[name] for row in self.rows])

    def by_split(self, name: str) -> dict[str, np.ndarray]:
        """Return one scalar over the epochs in training and in validation, (epochs,) each."""
        names = {"training": f"train/{name}", "validation": f"val/{name}"}
        if not self.is_validated:
            del names["validation"]
        return {split: self.column(column) for split, column in names.items()}

    def as_curves(self) -> dict[str, Any]:
        """Return what `harness.figures.training.curves` draws of any training."""
        return {
            "losses": self.by_split("loss"),
            "accuracies": self.by_split("accuracy"),
            "learning_rate": self.column("learning_rate"),
            "best_epoch": self.best_epoch if self.is_validated else 0,  # none is marked
        }

    def stacked(self, name: str) -> np.ndarray:
        """Return one unsummarised metric over the epochs, (epochs, ...)."""
        return torch.stack([metrics[name] for metrics in self.raw]).numpy()

    def milestones(self, count: int = 4) -> list[int]:
        """Return up to `count` epochs from the first to the best, early ones more densely."""
        return sorted({round(epoch) for epoch in np.geomspace(1, self.best_epoch, count)})

    def best_metrics(self) -> dict[str, float]:
        """Return what is logged of the best epoch: `best/val_...` and `best/epoch`."""
        kept = {best_name(k): v for k, v in self.best.items() if k.startswith("val/")}
        return {**kept, "best/epoch": self.best_epoch}


def best_name(metric: str) -> str:
    """Return the name of a metric at the best epoch: `best/val_accuracy` of `val/accuracy`."""
    return f"best/{metric.replace('/', '_')}"

"""The points of a run: generated in the plane, or rows of a table."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from datasets.errors import DataError
from datasets.points import Points
from datasets.tables import load_table
from datasets.toy_datasets import toy_dataset
from experiments.moe.config import MoEConfig
from harness.errors import UserError
from harness.experiment import Splits


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointSplits(Splits[Points]):
    """Splits of points, whose features are standardised, and what they stand for."""

    features: tuple[str, ...]
    """Names of the D features."""
    classes: tuple[str, ...]
    """Names of the classes."""
    mean: Tensor
    """(D,) of the features as they were measured."""
    std: Tensor
    """(D,) likewise."""

    @property
    def num_logits(self) -> int:
        """Logits of an expert: one of two classes, otherwise one for each."""
        return 1 if len(self.classes) == 2 else len(self.classes)


def generated_points(config: MoEConfig) -> PointSplits:
    """Generate independent draws for each split, of points whose classes are known exactly."""
    dataset = toy_dataset(config.data)
    return PointSplits(
        name=config.data,
        train=dataset.generate(config.num_train, config.seed, "train"),
        validation=dataset.generate(config.num_validation, config.seed, "validation"),
        load_test=lambda: dataset.generate(config.num_test, config.seed, "test"),
        features=("x", "y"),
        classes=("0", "1"),
        mean=torch.zeros(2),
        std=torch.ones(2),
    )


def table_points(config: MoEConfig) -> PointSplits:
    """Read a table; a UserError if there is none."""
    try:
        seed = config.seed if config.split == "stratified" else None
        table = load_table(config.data, config.label_column, seed)
    except DataError as error:
        reason = str(error).removeprefix(f"{config.data}: ")  # which a disk's error names, too
        raise UserError(f"data={config.data}: {reason}") from None
    if config.num_experts > (rows := len(table.train.labels)):
        raise UserError(
            f"num_experts={config.num_experts}: more than the {rows} training rows of "
            f"{config.data}; at most that many"
        )
    return PointSplits(
        name=Path(config.data).stem,
        train=table.train,
        validation=table.validation,
        load_test=lambda: table.test,
        features=table.features,
        classes=table.classes,
        mean=table.mean,
        std=table.std,
        counts=table.counts,
        skipped=table.skipped,
        fingerprints=table.fingerprints,
    )


def require_every_class(config: MoEConfig, data: PointSplits) -> None:
    """Raise a UserError if a split lacks a class."""
    for split in ("train", "validation"):
        present = set(getattr(data, split).labels.long().tolist())
        for number, name in enumerate(data.classes):
            if number not in present:
                asked = f"num_{split}={getattr(config, f'num_{split}')}"
                raise UserError(f"{asked}: no point of class {name} is among them; more are needed")

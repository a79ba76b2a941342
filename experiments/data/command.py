"""Photographs: downloaded, generated or one's own, decoded once, and counted."""

import pandas as pd

from datasets import photographs
from datasets.errors import DataError, DiskError
from datasets.photographs import PhotographDataset
from experiments.data.config import DataConfig, PhotographsConfig
from harness import signals
from harness.errors import UserError


def load_photographs(config: PhotographsConfig) -> PhotographDataset:
    """Load the photographs that a configuration asks for; a UserError if there are none."""
    try:
        return photographs.load(config.data, config.data_dir, config.pixels, config.resize)
    except DataError as error:
        remedy = "; data_dir names another folder for what is downloaded and decoded"
        hint = remedy if isinstance(error, DiskError) else ""
        raise UserError(f"data={config.data}: {error}{hint}") from error


def main(config: DataConfig) -> None:
    """Load the photographs and print their number by split and class, and where they are."""
    with signals.interruptible():
        dataset = load_photographs(config)
    print(pd.DataFrame(dataset.counts).rename_axis("class"))
    height, width = dataset.train.images.shape[-2:]
    print(f"\n{width} x {height} pixels, RGB, fingerprint {dataset.fingerprint}")
    print(f"read from {dataset.folder}")
    print(f"skipped: {len(dataset.skipped) or 'none'}")
    for name, reason in dataset.skipped:
        print(f"  {name!r}: {reason}")

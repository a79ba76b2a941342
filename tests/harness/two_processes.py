"""What `test_data_parallel.py` lets torchrun start: `two_processes.py FILE NAME...` trains them."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

import experiments
from harness.experiment import AnyExperiment
from harness.torchrun import rank
from harness.training.data_parallel import ALONE, Processes, joined
from harness.training.train import train
from tests.harness.small import FitALine, SmallConfig

RANDOM = ("dropout", "balance_loss_weight", "longest_ngram")
"""Parts of the names of parameters whose effect is that of each process alone."""


def subjects() -> dict[str, tuple[AnyExperiment, Any]]:
    """Return every experiment with its tiny values, on batches that do not halve."""
    found: dict[str, tuple[AnyExperiment, Any]] = {
        "line": (FitALine(), SmallConfig(batch_size=3, num_epochs=4))
    }
    for name in experiments.names():
        experiment = experiments.find(name)
        config_class = experiment.config_class
        names = [field.name for field in fields(config_class)]
        off: dict[str, Any] = {name: 0 for name in names if any(part in name for part in RANDOM)}
        if "optimizer" in names:  # Muon steps as far where a gradient is nothing but rounding error
            off["optimizer"] = "adamw"
        off["learning_rate"] = 1e-3  # at larger ones, rounding errors grow from step to step
        off["precision"] = "fp32"  # bf16 rounds sums over other batches otherwise
        values = {**config_class.tiny, "num_epochs": 2, "batch_size": 7, **off}
        found[name] = (experiment, config_class.effective(**values))
    return found


def rows(names: list[str], processes: Processes = ALONE) -> dict[str, list[dict[str, float]]]:
    """Return the losses of each epoch of experiments, and a sum of the weights at its end."""
    found = {}
    for name in names:
        experiment, config = subjects()[name]
        trained = train(experiment, config, processes=processes)
        weights = sum(each.double().sum() for each in trained.model.state_dict().values())
        found[name] = [
            {key: row[key] for key in ("train/loss", "val/loss")} | {"weights": float(weights)}
            for row in trained.history.rows
        ]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined(SmallConfig(device="cpu")) as together:
        Path(f"{sys.argv[1]}.{rank()}").write_text(json.dumps(rows(sys.argv[2:], together)))

"""A space over the small experiment, and trials that misbehave as real ones can."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import nn

from harness.config import STRICT
from harness.errors import UserError
from harness.experiment import Splits
from harness.search_space import Range, choice
from harness.training.memory import NotEnoughMemoryError
from harness.training.metrics import DivergedError
from tests.harness import small
from tuning.space import Space


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LineConfig(small.SmallConfig):
    """Fit a line, or do something else instead."""

    entry_point: ClassVar[str] = "line"
    tiny: ClassVar[Mapping[str, Any]] = {}

    behaviour: Literal["fit", "bug", "diverge", "mistake", "die once", "memory", "size"] = "fit"
    """What training does."""
    data: str = ""
    """File of x and y (empty: a line)."""


class MisbehavingLine(small.FitALine):
    """Does what the configuration says as soon as it is to train."""

    config_class = LineConfig

    def load_data(self, config: small.SmallConfig) -> Splits[small.Line]:
        """Return a line, or what a file holds, in an order that depends on the seed."""
        assert isinstance(config, LineConfig)
        if not (path := Path(config.data)).is_file():
            if config.data:
                raise UserError(f"data={path}: there is no such file")
            return super().load_data(config)
        points = torch.from_numpy(np.loadtxt(path, np.float32)).roll(config.seed, 0)
        split = small.Line(points[:, :1], points[:, 1])
        return Splits(name=path.stem, train=split, validation=split, load_test=lambda: split)

    def build_model(self, config: small.SmallConfig, data: Any) -> nn.Module:
        """Misbehave, or return the model."""
        assert isinstance(config, LineConfig)
        match config.behaviour:
            case "bug":
                raise KeyError("a bug")
            case "diverge":
                raise DivergedError("the loss became nan")
            case "memory":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 TB")
            case "size":
                raise NotEnoughMemoryError("batch_size=4: training would take at least 4 TB")
            case "mistake":
                raise UserError("data=nothing.zip: no such file")
            case "die once" if not Path("died").exists():
                Path("died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().build_model(config, data)


EXPERIMENT = MisbehavingLine()
SPACE = Space(
    experiment=EXPERIMENT,
    parameters={"learning_rate": Range(1e-4, 0.5, log=True), "batch_size": choice(2, 4, 10)},
    metric="val/loss",
    maximise=False,
    fixed={"num_epochs": 4},
)

"""A space over the small experiment, and trials that misbehave as real ones can."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from experiments.harness.config import STRICT
from experiments.harness.device import Hardware
from experiments.harness.errors import UserError
from experiments.harness.experiment import Experiment, Learnt
from experiments.harness.loop import Callback
from experiments.harness.metrics import DivergedError
from experiments.harness.tracking import Run
from tests.harness import small
from tuning.space import Space, choice, numbers


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LineConfig(small.SmallConfig):
    """Fit a line, or do something else instead."""

    entry_point: ClassVar[str] = "line"
    tiny: ClassVar[Mapping[str, Any]] = {}

    behaviour: Literal["fit", "bug", "diverge", "mistake", "die once", "memory"] = "fit"
    """What training does."""


def learn(
    config: LineConfig,
    hardware: Hardware,
    run: Run | None = None,
    callbacks: Sequence[Callback] = (),
) -> Learnt:
    """Do what the configuration says."""
    match config.behaviour:
        case "bug":
            raise KeyError("a bug")
        case "diverge":
            raise DivergedError("the loss became nan")
        case "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 TB")
        case "mistake":
            raise UserError("data=nothing.zip: no such file")
        case "die once" if not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if run is not None:
        x, y = small.line()
        run.log_dataset("line", "validation", x.numpy(), y.numpy())
    return small.learn(config, hardware, run, callbacks)


EXPERIMENT = Experiment(LineConfig, learn, small.judge)
SPACE = Space(
    EXPERIMENT,
    {"learning_rate": numbers(1e-4, 0.5, log=True), "batch_size": choice(2, 4, 10)},
    metric="val/loss",
    maximise=False,
    fixed={"num_epochs": 4},
)

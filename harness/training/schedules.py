"""Learning-rate decay: one choice for every experiment, made of torch.optim.lr_scheduler."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from harness.config import TrainingConfig

WARMUP_FRACTION = {"one_cycle": 0.3}
"""What `lr_warmup_fraction=auto` stands for; 0 for the schedules that are not named."""


class Schedule:
    """The learning rate from the first optimiser step to the last.

    constant      the highest learning rate throughout
    step          times `lr_decay_factor` every `lr_decay_epochs` epochs
    exponential   by a constant factor per step, down to `lr_final_fraction` of the highest
    cosine        down to the same fraction along half a cosine (Loshchilov & Hutter 2017)
    one_cycle     up and down again along half cosines (Smith & Topin 2018), over 0.3 of the steps
                  unless `lr_warmup_fraction` is another; with 0, down alone
    plateau       times `lr_decay_factor` after `lr_decay_epochs` epochs without improvement

    All but one_cycle can be preceded by a linear warm-up; the decay then fills the remaining steps.
    """

    def __init__(self, optimizer: Optimizer, config: TrainingConfig, steps_per_epoch: int):
        self.optimizer = optimizer
        total = config.num_epochs * steps_per_epoch
        fraction = config.lr_warmup_fraction
        if fraction == "auto":
            fraction = WARMUP_FRACTION.get(config.lr_schedule, 0.0)
        is_cycle = config.lr_schedule == "one_cycle"
        warmup = 0 if is_cycle else round(fraction * total)
        self._plateau: ReduceLROnPlateau | None = None
        self._per_step: list[LRScheduler] = []
        if config.lr_schedule == "plateau":
            self._plateau = ReduceLROnPlateau(
                optimizer,
                factor=config.lr_decay_factor,
                # torch decays at the first epoch beyond its patience.
                patience=config.lr_decay_epochs - 1,
            )
        if config.lr_schedule == "plateau" and warmup:
            self._per_step = [_warm_up(optimizer, warmup)]
        elif is_cycle and fraction > 0:
            self._per_step = [_one_cycle(optimizer, max(total, 2), fraction)]
        elif config.lr_schedule not in ("constant", "plateau") or warmup:
            decay = _decay(optimizer, config, total - warmup, steps_per_epoch)
            if warmup:
                decay = SequentialLR(
                    optimizer, [_warm_up(optimizer, warmup), decay], milestones=[warmup]
                )
            self._per_step = [decay]
        self._steps_left = total

    def step(self) -> None:
        """Move on by one optimiser step."""
        self._steps_left -= 1
        if self._steps_left > 0:  # the rate after the last step would be used by nobody
            for scheduler in self._per_step:
                scheduler.step()

    def end_epoch(self, validation_loss: float) -> None:
        """Tell the plateau schedule how the epoch went."""
        if self._plateau is not None:
            self._plateau.step(validation_loss)

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"steps_left": self._steps_left, "parts": [p.state_dict() for p in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where `state_dict` was taken."""
        self._steps_left = state["steps_left"]
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)

    @property
    def _parts(self) -> list[LRScheduler | ReduceLROnPlateau]:
        return [*self._per_step, *([self._plateau] if self._plateau else [])]


def _warm_up(optimizer: Optimizer, steps: int) -> LRScheduler:
    return LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)


def _one_cycle(optimizer: Optimizer, steps: int, rising_fraction: float) -> LRScheduler:
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        # torch divides by zero where the rise is one step long.
        pct_start=max(rising_fraction, 2 / steps),
        cycle_momentum=False,
    )


ONE_CYCLE_FINAL_FRACTION = 1 / 25 / 1e4
"""Of the highest learning rate: torch's default for the end of one cycle."""


def _decay(
    optimizer: Optimizer, config: TrainingConfig, steps: int, steps_per_epoch: int
) -> LRScheduler:
    last = max(steps - 1, 1)  # the last of `steps` steps has the final rate
    highest = optimizer.param_groups[0]["lr"]
    match config.lr_schedule:
        case "step":
            return StepLR(
                optimizer, config.lr_decay_epochs * steps_per_epoch, config.lr_decay_factor
            )
        case "exponential":
            return ExponentialLR(optimizer, config.lr_final_fraction ** (1 / last))
        case "cosine":
            return CosineAnnealingLR(optimizer, last, eta_min=config.lr_final_fraction * highest)
        case "one_cycle":
            return CosineAnnealingLR(optimizer, last, eta_min=ONE_CYCLE_FINAL_FRACTION * highest)
        case _:
            return ExponentialLR(optimizer, gamma=1.0)

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

from experiments.harness.config import TrainingConfig


class Schedule:
    """The learning rate from the first optimiser step to the last.

    constant      the highest learning rate throughout
    step          times `lr_decay_factor` every `lr_decay_epochs` epochs
    exponential   by a constant factor per step, down to `lr_final_fraction` of the highest
    cosine        down to the same fraction along half a cosine (Loshchilov & Hutter 2017)
    one_cycle     up and down again (Smith & Topin 2018); rises over 0.3 of the steps unless
                  `lr_warmup_fraction` says otherwise
    plateau       times `lr_decay_factor` after `lr_decay_epochs` epochs without improvement

    All but one_cycle can be preceded by a linear warm-up; the decay then fills the remaining steps.
    """

    def __init__(self, optimizer: Optimizer, config: TrainingConfig, steps_per_epoch: int):
        self.optimizer = optimizer
        total = config.num_epochs * steps_per_epoch
        warmup = round(config.lr_warmup_fraction * total)
        self._plateau: ReduceLROnPlateau | None = None
        self._per_step: list[LRScheduler] = []
        if config.lr_schedule == "plateau":
            if warmup:
                self._per_step = [_warm_up(optimizer, warmup)]
            self._plateau = ReduceLROnPlateau(
                optimizer,
                factor=config.lr_decay_factor,
                # torch decays at the first epoch beyond its patience.
                patience=config.lr_decay_epochs - 1,
            )
        elif config.lr_schedule == "one_cycle":
            total_steps = max(total, 2)
            self._per_step = [
                OneCycleLR(
                    optimizer,
                    max_lr=[group["lr"] for group in optimizer.param_groups],
                    total_steps=total_steps,
                    # torch divides by zero where the rise is one step long.
                    pct_start=max(config.lr_warmup_fraction or 0.3, 2 / total_steps),
                    cycle_momentum=False,
                )
            ]
        elif config.lr_schedule != "constant" or warmup:
            decay = _decay(optimizer, config, max(total - warmup, 1), steps_per_epoch)
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
        """Go on where `state_dict` was taken."""
        self._steps_left = state["steps_left"]
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)

    @property
    def _parts(self) -> list[LRScheduler | ReduceLROnPlateau]:
        return [*self._per_step, *([self._plateau] if self._plateau else [])]


def _warm_up(optimizer: Optimizer, steps: int) -> LRScheduler:
    return LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)


def _decay(
    optimizer: Optimizer, config: TrainingConfig, steps: int, steps_per_epoch: int
) -> LRScheduler:
    match config.lr_schedule:
        case "step":
            return StepLR(
                optimizer, config.lr_decay_epochs * steps_per_epoch, config.lr_decay_factor
            )
        case "exponential":
            return ExponentialLR(optimizer, config.lr_final_fraction ** (1 / steps))
        case "cosine":
            highest = optimizer.param_groups[0]["lr"]
            return CosineAnnealingLR(optimizer, steps, eta_min=config.lr_final_fraction * highest)
        case _:
            return ExponentialLR(optimizer, gamma=1.0)

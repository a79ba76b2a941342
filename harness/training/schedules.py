"""Learning-rate decay: one choice for every experiment, made of torch.optim.lr_scheduler."""

from typing import Any

from torch.optim import Optimizer, lr_scheduler

from harness.training.config import TrainingConfig

ONE_CYCLE_FINAL_FRACTION = 1 / 25 / 1e4
"""Of the highest learning rate: torch's default for the end of one cycle."""


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
        kind, total = config.lr_schedule, config.num_epochs * steps_per_epoch
        fraction = config.lr_warmup_fraction
        if fraction == "auto":
            fraction = 0.3 if kind == "one_cycle" else 0.0
        warmup = 0 if kind == "one_cycle" else round(fraction * total)
        self._steps_left = total
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        if kind == "plateau":
            patience = config.lr_decay_epochs - 1  # torch decays at the first epoch beyond it
            factor = config.lr_decay_factor
            self._plateau = lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience)
        decay = _decay(optimizer, config, total - warmup, steps_per_epoch, fraction)
        if warmup:
            rise = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
            decay = lr_scheduler.SequentialLR(optimizer, [rise, decay], [warmup]) if decay else rise
        self._per_step = decay

    def step(self) -> None:
        """Move on by one optimiser step."""
        self._steps_left -= 1
        if self._per_step and self._steps_left > 0:  # nobody uses the rate after the last step
            self._per_step.step()

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
    def _parts(self) -> list[Any]:
        return [part for part in (self._per_step, self._plateau) if part is not None]


def _decay(
    optimizer: Optimizer, config: TrainingConfig, steps: int, steps_per_epoch: int, rise: float
) -> lr_scheduler.LRScheduler | None:
    """Return what changes the rate at each of `steps` steps, of which one cycle rises for some."""
    last = max(steps - 1, 1)  # the last of `steps` steps has the final rate
    highest, final = optimizer.param_groups[0]["lr"], config.lr_final_fraction
    match config.lr_schedule:
        case "step":
            num_steps = config.lr_decay_epochs * steps_per_epoch
            return lr_scheduler.StepLR(optimizer, num_steps, config.lr_decay_factor)
        case "exponential":
            return lr_scheduler.ExponentialLR(optimizer, final ** (1 / last))
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, last, final * highest)
        case "one_cycle" if round(rise * steps) > 0:
            rates, steps = [group["lr"] for group in optimizer.param_groups], max(steps, 2)
            rise = max(rise, 2 / steps)  # torch divides by zero where the rise is one step long
            return lr_scheduler.OneCycleLR(
                optimizer, rates, steps, pct_start=rise, cycle_momentum=False
            )
        case "one_cycle":
            final = ONE_CYCLE_FINAL_FRACTION
            return lr_scheduler.CosineAnnealingLR(optimizer, last, final * highest)
        case "constant":
            return lr_scheduler.ExponentialLR(optimizer, gamma=1.0)
    return None  # plateau: it changes from epoch to epoch
